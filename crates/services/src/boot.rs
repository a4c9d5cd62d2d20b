//! The beginning: what still runs is taken over, what nobody knows is removed, what should be up is woken.
//!
//! ```text
//! store.known() ─┬─ with a record ──adopt──► keeper takes over
//!                │                    └─gone─► written down; as if it had ended
//!                └─ without ──► an entry, nothing runs
//! [instances] ──remember──► wanted up and not running ──► woken
//! everything else of this home on this host ──► swept
//! ```

use std::sync::Arc;
use std::time::Duration;

use insula_isolation::{Adopted, Gone, Record};
use insula_spec::{Config, InstanceName};
use insula_store::{Change, ChangeError, Event, EventKind, InstanceRow, ReadError, Wanted, WriteError};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::directory::Entry;
use crate::fingerprint::{Kept, fingerprint};
use crate::heritage::Holds;
use crate::keeper::{self, Keeper, Message};
use crate::routing;
use crate::services::{Errand, Services};
use crate::shared::{Shared, Site};
use crate::status::{Observed, Status};

/// Most sandboxes adopted at once.
const ADOPTIONS: usize = 32;
/// How long a workload may take to end whose service is not configured any more.
const ORPHAN_GRACE: Duration = Duration::from_secs(10);

/// Why services did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be read.
    #[error("cannot read what is known of the instances")]
    Read(#[from] ReadError),
    /// The store cannot be written.
    #[error("cannot record the instances")]
    Write(#[from] WriteError),
    /// The store refused a change.
    #[error("cannot record what became of an instance")]
    Change(#[from] ChangeError),
}

impl StartError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Read(e) => e.hint(),
            Self::Write(e) => e.hint(),
            Self::Change(e) => e.hint(),
        }
    }
}

/// What became of a recorded sandbox.
struct Found {
    row: InstanceRow,
    kept: Kept,
    outcome: Result<Adopted, Gone>,
}

pub(crate) async fn boot(services: &Services, holds: &mut Holds) -> Result<(), StartError> {
    let shared = &services.shared;
    let plan = shared.plan();
    let rows = known(shared, &plan.config).await?;
    {
        let mut map = shared.directory.write();
        for row in rows.iter().filter(|row| plan.specs.contains_key(&row.name.service)) {
            let mut entry = entry(row);
            if row.wanted == Wanted::Up && !is_declared(&plan.config, &row.name) {
                // It was up when the last process ended; now it sleeps until somebody asks.
                entry.status.wanted = Wanted::Asleep;
            }
            map.insert(row.name.clone(), entry);
        }
    }
    for (name, policy) in shared.store.net_policies().await? {
        if let Some(entry) = shared.directory.write().get_mut(&name) {
            entry.net = Some(policy);
        }
    }
    routing::load(shared, &plan.config).await?;
    let mut standing = Vec::new();
    for found in find(shared, &rows).await? {
        standing.extend(take_over(shared, found, holds).await?);
    }
    sweep(shared, &standing).await?;
    wake(services);
    Ok(())
}

/// All known instances, those that the configuration declares included.
async fn known(shared: &Shared, config: &Config) -> Result<Vec<InstanceRow>, StartError> {
    let mut rows = shared.store.known().await?;
    for name in declared(config) {
        if rows.iter().all(|row| row.name != name) {
            let event = Event::new(EventKind::Remembered, "declared under `[instances]`");
            rows.push(shared.store.remember(&name, event).await?);
        }
    }
    Ok(rows)
}

pub(crate) fn declared(config: &Config) -> Vec<InstanceName> {
    let all = config.instances.iter();
    all.flat_map(|(service, ids)| ids.iter().map(|id| InstanceName::new(service.clone(), id.clone())))
        .collect()
}

pub(crate) fn is_declared(config: &Config, name: &InstanceName) -> bool {
    config.instances.get(&name.service).is_some_and(|ids| ids.contains(&name.id))
}

/// The entry of an instance of which nothing runs.
pub(crate) fn entry(row: &InstanceRow) -> Entry {
    let (observed, why) = match (&row.failed, row.wanted) {
        (_, Wanted::Stopped) => (Observed::Stopped, Some("stopped by the operator".to_owned())),
        (Some(why), _) => (Observed::Failed, Some(why.clone())),
        (None, Wanted::Up | Wanted::Asleep) => (Observed::Asleep, None),
    };
    let status = Status { observed, wanted: row.wanted, since: row.updated, why };
    Entry {
        level: row.level,
        restarts: row.restarts,
        wakes: row.wakes,
        requests: row.requests,
        ..Entry::new(status)
    }
}

/// Looks for every recorded sandbox, a bounded number at a time.
async fn find(shared: &Arc<Shared>, rows: &[InstanceRow]) -> Result<Vec<Found>, StartError> {
    let turns = Arc::new(Semaphore::new(ADOPTIONS));
    let mut searches = JoinSet::new();
    for row in rows {
        let Some(text) = &row.record else { continue };
        match serde_json::from_str::<Kept>(text) {
            Ok(kept) => {
                let (shared, row, turns) = (Arc::clone(shared), row.clone(), Arc::clone(&turns));
                searches.spawn(async move {
                    let _turn = turns.acquire_owned().await;
                    search(&shared, row, kept).await
                });
            }
            Err(error) => {
                let why = format!("its record cannot be read: {error}");
                lost(shared, &row.name, row.wanted, &why).await?;
            }
        }
    }
    let mut found = Vec::new();
    while let Some(search) = searches.join_next().await {
        match search {
            Ok(outcome) => found.push(outcome?),
            Err(error) => tracing::error!(%error, "a search for a recorded sandbox broke off"),
        }
    }
    Ok(found)
}

async fn search(shared: &Shared, row: InstanceRow, kept: Kept) -> Result<Found, StartError> {
    let record = &kept.record;
    let logs_from = shared.store.next_log_seq(&row.name, &record.key).await?;
    let outcome = match shared.registry.backend(record.level) {
        Ok(backend) => backend.adopt(record, logs_from).await,
        Err(error) => Err(Gone::NoAnswer(error.to_string())),
    };
    Ok(Found { row, kept, outcome })
}

/// Gives what was found to a keeper. The record is answered if it shall not be swept.
async fn take_over(
    shared: &Arc<Shared>,
    found: Found,
    holds: &mut Holds,
) -> Result<Option<Record>, StartError> {
    let Found { row, kept: Kept { record, launch }, outcome } = found;
    let adopted = match outcome {
        Ok(adopted) => adopted,
        Err(gone) => {
            lost(shared, &row.name, row.wanted, &gone.to_string()).await?;
            return Ok(None);
        }
    };
    let Some(spec) = shared.spec(&row.name.service) else {
        shared.keepers.spawn(end_orphan(Arc::clone(shared), row.name, adopted));
        return Ok(Some(record));
    };
    let (sender, inbox) = keeper::inbox(spec.hold_queue);
    let seat = shared.census.count(&row.name.service);
    let outdated = launch.is_some_and(|launch| launch != fingerprint(&spec));
    let site = Site { shared: Arc::clone(shared), spec, name: row.name.clone() };
    holds.claim(&row.name, &sender);
    let mut map = shared.directory.write();
    if let Some(entry) = map.get_mut(&row.name) {
        let keeper =
            Keeper::new(site, inbox, seat, &entry.status).at_level(Some(record.level)).adopt(adopted);
        entry.keeper = Some(sender);
        entry.record = Some(Arc::new(record.clone()));
        entry.outdated = outdated;
        shared.keepers.spawn(keeper.run());
    }
    Ok(Some(record))
}

/// Ends a workload whose service is not in the configuration any more.
async fn end_orphan(shared: Arc<Shared>, name: InstanceName, adopted: Adopted) {
    let exit = adopted.sandbox.stop(ORPHAN_GRACE).await;
    let event = Event::new(EventKind::Stopped, format!("its service is not configured any more; {exit}"));
    if let Err(error) = shared.store.transition(&name, Change::ended(), event).await {
        tracing::error!(instance = %name, %error, "cannot record that it was stopped");
    }
}

/// Writes down that a recorded sandbox is not there any more.
async fn lost(shared: &Shared, name: &InstanceName, wanted: Wanted, why: &str) -> Result<(), StartError> {
    let change = Change::ended().wanted(wanted);
    Ok(shared.store.transition(name, change, Event::new(EventKind::Lost, why)).await?)
}

async fn sweep(shared: &Shared, standing: &[Record]) -> Result<(), StartError> {
    let swept = shared.registry.sweep(standing).await;
    for failure in &swept.failed {
        tracing::warn!(%failure, "cannot remove a left-over");
    }
    if swept != insula_isolation::Swept::default() {
        let cause = format!(
            "{} processes, {} groups, {} directories",
            swept.processes, swept.cgroups, swept.run_dirs
        );
        let detail = serde_json::to_value(&swept).unwrap_or_default();
        shared.store.note(None, Event::new(EventKind::Swept, cause).detail(detail)).await?;
    }
    Ok(())
}

/// Wakes the declared instances that are wanted up and do not run. Others sleep until somebody asks.
fn wake(services: &Services) {
    let due: Vec<_> = {
        let map = services.shared.directory.read();
        let up = |name: &InstanceName| {
            map.get(name).is_some_and(|e| e.status.wanted == Wanted::Up && e.keeper.is_none())
        };
        declared(&services.shared.plan().config).into_iter().filter(up).collect()
    };
    for name in due {
        let (reply, _nobody_waits) = oneshot::channel();
        let sent = services.rouse(&name, Errand::Run, |inbox| inbox.try_send(Message::Spawn(reply)).is_ok());
        if sent != Ok(true) {
            tracing::warn!(instance = %name, ?sent, "could not be woken at start");
        }
    }
}
