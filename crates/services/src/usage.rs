//! What each tenant uses: now, and since this process counts.

use std::time::{Duration, SystemTime};

use insula_spec::{InstanceName, Tenant};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::disk::{self, DiskReading};
use crate::services::Services;

/// How long one instance may take to say what it uses before the list goes on without.
const ANSWER: Duration = Duration::from_millis(500);
/// How long counting directories may take in all; those that are left show what was counted last.
const COUNTING: Duration = Duration::from_secs(5);

/// What one tenant uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantUsage {
    /// Whose it is.
    pub name: InstanceName,
    /// What its directory holds; `None` where that was never counted.
    pub disk: Option<DiskReading>,
    /// The limit on it that is asked for, in bytes.
    pub disk_limit: Option<u64>,
    /// Memory now, in bytes; `None` when nothing runs or it cannot be known.
    pub memory_bytes: Option<u64>,
    /// CPU time since [`Services::since`], in microseconds. Of an instance that was running by then all of
    /// that run counts.
    pub cpu_micros: u64,
    /// How often it was started again after a failure, ever.
    pub restarts: u64,
    /// How often a request woke it, ever.
    pub wakes: u64,
    /// Requests and raw connections that it took, ever. Those since its last event are lost where this process is
    /// killed.
    pub requests: u64,
    /// Requests and connections inside at this moment.
    pub leases: u64,
}

impl Services {
    /// What tenants use, by name; of those of one service, or one alone, if asked. Directories are counted now
    /// as far as time allows.
    pub async fn usages(&self, of: Option<&Tenant>) -> Vec<TenantUsage> {
        let mut all = self.known(of);
        let mut asked = JoinSet::new();
        for (at, usage) in all.iter().enumerate() {
            let (services, name) = (self.clone(), usage.name.clone());
            asked.spawn(async move { (at, timeout(ANSWER, services.usage(&name)).await.ok().flatten()) });
        }
        for (at, now) in asked.join_all().await {
            if let (Some(usage), Some(now)) = (all.get_mut(at), now) {
                usage.memory_bytes = now.memory_bytes;
                usage.cpu_micros += now.cpu_micros.unwrap_or(0);
            }
        }
        disk::begin(&self.shared);
        let until = Instant::now() + COUNTING;
        for usage in &mut all {
            match timeout_at(until, self.shared.meter.read(&usage.name)).await {
                Ok(Some(reading)) => usage.disk = Some(reading),
                Ok(None) => {}
                Err(_) => break,
            }
        }
        all
    }

    /// Since when CPU time is counted.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.shared.since
    }

    fn known(&self, of: Option<&Tenant>) -> Vec<TenantUsage> {
        let plan = self.shared.plan();
        let map = self.shared.directory.read();
        let asked = map.iter().filter(|(name, _)| of.is_none_or(|tenant| tenant.covers(name)));
        let mut all: Vec<_> = asked
            .map(|(name, entry)| TenantUsage {
                name: name.clone(),
                disk: entry.disk.clone(),
                disk_limit: plan.specs.get(&name.service).and_then(|s| s.limits.disk).map(|size| size.0),
                memory_bytes: None,
                cpu_micros: entry.cpu_micros,
                restarts: entry.restarts,
                wakes: entry.wakes,
                requests: entry.requests + entry.run.as_ref().map_or(0, |run| run.uncounted()),
                leases: entry.run.as_ref().map_or(0, |run| run.gate.inside()),
            })
            .collect();
        drop(map);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}
