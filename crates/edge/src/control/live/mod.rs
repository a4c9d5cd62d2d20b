//! The operations, done by services and store.

mod alerts;
pub(super) mod convert;
mod find;
mod metrics;
mod request;
mod usage;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use insula_api::{
    Alerts, Detail, Footprint, FoundEvents, FoundLogs, FoundRequests, Health, HostIds, LogLine, Output,
    Processes, RequestWhy, Summary, Timestamp, Usage, Usages, Why,
};
use insula_services::{Inspect, Overview, Services};
use insula_spec::config::MetricsAccess;
use insula_spec::{Config, IdRange, InstanceName, Tenant};
use insula_store::{Cursor, EventQuery, Heads, LogFilter, LogQuery, LogRow, RequestQuery, Store};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::action::Action;
use super::error::ControlError;
use super::operations::{LogPage, Operations};
use super::url::{apex_url, instance_url};
use super::why::{self, Case};
use crate::observe::Observe;
use crate::public::RequestId;

/// How long one instance may take to say what it uses before the list goes on without.
const USAGE_TIMEOUT: Duration = Duration::from_millis(500);

/// Newest events that an explanation may rest on.
const EVENTS: usize = 50;

/// Newest notable requests that an explanation may rest on.
const REQUESTS: usize = 20;

/// Newest lines of standard error that an explanation may show.
const STDERR_LINES: usize = 20;

/// What the daemon is, beside its rooms.
#[derive(Debug, Clone)]
pub struct Place {
    /// Version of the program.
    pub version: String,
    /// How many workers this home has had.
    pub epoch: u64,
    /// When this worker was ready.
    pub since: Timestamp,
    /// Domain under which services are reached.
    pub domain: String,
    /// Port of the public listener.
    pub port: u16,
}

/// Tells what the daemon holds ready and uses. It may block for a moment.
pub trait Gauge: Send + Sync + fmt::Debug + 'static {
    /// At this moment.
    fn read(&self) -> Footprint;
}

/// Services and store behind the control API.
#[derive(Debug)]
pub struct Live {
    pub(super) services: Services,
    pub(in crate::control) store: Store,
    pub(super) config: Arc<Config>,
    pub(super) place: Place,
    gauge: Arc<dyn Gauge>,
    observe: Arc<Observe>,
}

impl Live {
    /// Joins what the API speaks for.
    #[must_use]
    pub fn new(
        services: Services,
        store: Store,
        config: Arc<Config>,
        place: Place,
        watch: (Arc<dyn Gauge>, Arc<Observe>),
    ) -> Self {
        let (gauge, observe) = watch;
        Self { services, store, config, place, gauge, observe }
    }

    async fn footprint(&self) -> Footprint {
        let gauge = Arc::clone(&self.gauge);
        tokio::task::spawn_blocking(move || gauge.read()).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot tell what the daemon uses");
            Footprint::default()
        })
    }

    pub(super) fn url(&self, name: &InstanceName) -> String {
        instance_url(&self.place.domain, self.place.port, name)
    }

    /// One line of the list; `None` when nobody knows the instance.
    async fn summary(&self, name: &InstanceName) -> Result<Summary, ControlError> {
        Ok(self.detail(name).await?.summary)
    }

    async fn detail(&self, name: &InstanceName) -> Result<Detail, ControlError> {
        let inspect = self.services.inspect(name).await.map_err(|e| convert::error(name, e))?;
        let Inspect { overview, usage, ids, spec, disk, in_force } = inspect;
        let usage = usage
            .map(|u| Usage { memory_bytes: u.memory_bytes, cpu_micros: u.cpu_micros, pids: u.pids })
            .unwrap_or_default();
        let record = overview.record.as_deref();
        Ok(Detail {
            command: spec.runner_words().into_iter().chain(spec.command.iter().cloned()).collect(),
            floor: spec.floor(),
            network: spec.network,
            limits: spec.limits,
            in_force: in_force.as_ref().map(convert::in_force),
            notes: convert::notes(&self.config, &name.service),
            disk_bound: disk.as_ref().map(usage::bound),
            workdir: Some(spec.workdir.clone()),
            data_dir: Some(spec.tenant_dir(&name.id)),
            mounts: spec.mounts.clone(),
            ids: ids.map(|r| HostIds { base: r.base, count: IdRange::LEN, workload: r.workload() }),
            placement: record.map(|r| r.placement.clone()),
            processes: record.map(|r| Processes {
                agent_pid: r.agent_pid,
                agent_start: r.agent_start,
                app_pid: r.app_pid,
                app_start: r.app_start,
                key: r.key.clone(),
            }),
            cgroups: record.map(|r| r.cgroups.clone()).unwrap_or_default(),
            idle_timeout_ms: spec.idle_timeout.map(convert::millis),
            summary: convert::summary(&overview, usage, self.url(name)),
        })
    }

    async fn stderr(&self, name: &InstanceName) -> Result<Vec<(SystemTime, String)>, ControlError> {
        let output = Some(insula_store::Output::Stderr);
        let query = LogQuery { tail: Some(STDERR_LINES), output, ..LogQuery::of(name.clone()) };
        let page = self.store.logs(query).await?;
        let line = |row: LogRow| (row.time, String::from_utf8_lossy(&row.bytes).into_owned());
        Ok(page.rows.into_iter().map(line).collect())
    }

    pub(in crate::control) fn known(&self, name: &InstanceName) -> Result<(), ControlError> {
        if !self.config.services.contains_key(&name.service) {
            return Err(ControlError::UnknownService(name.clone()));
        }
        match self.services.status(name) {
            Some(_) => Ok(()),
            None => Err(ControlError::UnknownInstance(name.clone())),
        }
    }
}

impl Operations for Live {
    async fn health(&self) -> Result<Health, ControlError> {
        Ok(Health {
            version: self.place.version.clone(),
            pid: std::process::id(),
            epoch: self.place.epoch,
            since: self.place.since,
            url: apex_url(&self.place.domain, self.place.port),
            config: self.config.path.display().to_string(),
            instances: convert::counts(self.services.list().iter().map(|o| o.status.observed)),
            footprint: self.footprint().await,
        })
    }

    async fn list(&self) -> Result<Vec<Summary>, ControlError> {
        let list = self.services.list();
        let mut asked = JoinSet::new();
        for (at, overview) in list.iter().enumerate().filter(|(_, o)| o.record.is_some()) {
            let (services, name) = (self.services.clone(), overview.name.clone());
            asked.spawn(
                async move { (at, timeout(USAGE_TIMEOUT, services.usage(&name)).await.ok().flatten()) },
            );
        }
        let summary = |o: &Overview| convert::summary(o, Usage::default(), self.url(&o.name));
        let mut all: Vec<_> = list.iter().map(summary).collect();
        for (at, usage) in asked.join_all().await {
            if let (Some(summary), Some(u)) = (all.get_mut(at), usage) {
                summary.usage =
                    Usage { memory_bytes: u.memory_bytes, cpu_micros: u.cpu_micros, pids: u.pids };
            }
        }
        Ok(all)
    }

    async fn inspect(&self, name: &InstanceName) -> Result<Detail, ControlError> {
        self.detail(name).await
    }

    async fn usage(&self, of: Option<Tenant>) -> Result<Usages, ControlError> {
        self.usages(of).await
    }

    async fn why(&self, name: &InstanceName) -> Result<Why, ControlError> {
        self.known(name)?;
        let spec = self.config.services.get(&name.service);
        let spec = spec.ok_or_else(|| ControlError::UnknownService(name.clone()))?;
        let status = self.services.status(name).ok_or_else(|| ControlError::UnknownInstance(name.clone()))?;
        let events = self.services.history(name, EVENTS).await?;
        let stderr = self.stderr(name).await?;
        let newest = RequestQuery { limit: Some(REQUESTS), ..RequestQuery::of(name.clone()) };
        let requests = self.store.requests(newest).await?;
        let (status, slow) = (convert::status(&status), self.config.observability.slow_request);
        Ok(why::explain(Case { name, spec, status, events, stderr, requests, slow }))
    }

    async fn why_request(&self, id: RequestId) -> Result<RequestWhy, ControlError> {
        self.explain_request(id).await
    }

    async fn requests(&self, query: RequestQuery) -> Result<FoundRequests, ControlError> {
        self.remembered(query).await
    }

    fn metrics_access(&self) -> MetricsAccess {
        self.config.observability.metrics
    }

    async fn metrics(&self) -> Result<String, ControlError> {
        self.metrics_page().await
    }

    async fn act(
        &self,
        name: &InstanceName,
        action: Action,
        limit: Option<Duration>,
    ) -> Result<Summary, ControlError> {
        let act = async {
            let done = match action {
                Action::Spawn => self.services.spawn(name).await,
                Action::Stop => self.services.stop(name).await,
                Action::Restart => self.services.restart(name).await,
            };
            done.map_err(|e| convert::error(name, e))
        };
        match limit {
            None => act.await.map(drop)?,
            Some(limit) => match timeout(limit, act).await {
                Ok(done) => done.map(drop)?,
                Err(_) => return Err(ControlError::TimedOut { name: name.clone(), action, timeout: limit }),
            },
        }
        self.summary(name).await
    }

    async fn logs(
        &self,
        name: &InstanceName,
        tail: Option<usize>,
        after: Option<u64>,
    ) -> Result<LogPage, ControlError> {
        self.known(name)?;
        let query = LogQuery { tail, after: after.map(Cursor), ..LogQuery::of(name.clone()) };
        let page = self.store.logs(query).await?;
        Ok(LogPage { lines: page.rows.into_iter().map(line).collect(), next: page.next.0 })
    }

    async fn find_logs(&self, filter: LogFilter) -> Result<FoundLogs, ControlError> {
        self.lines(filter).await
    }

    async fn find_events(&self, query: EventQuery) -> Result<FoundEvents, ControlError> {
        self.happenings(query).await
    }

    async fn alerts(&self) -> Result<Alerts, ControlError> {
        self.receivers().await
    }

    fn follow(&self) -> watch::Receiver<Heads> {
        self.store.follow()
    }
}

fn line(row: LogRow) -> LogLine {
    let output = match row.output {
        insula_store::Output::Stdout => Output::Stdout,
        insula_store::Output::Stderr => Output::Stderr,
    };
    LogLine::new(row.cursor.0, row.time.into(), output, row.bytes)
}
