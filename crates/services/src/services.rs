//! The handle on all instances: leases for requests, and the end of service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use insula_isolation::Registry;
use insula_spec::{Config, InstanceName, ServiceName};
use insula_store::Store;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::boot::{self, StartError};
use crate::census::Full;
use crate::counts::ServiceCounts;
use crate::directory::Entry;
use crate::disk;
use crate::heritage::{Held, Holds};
use crate::keeper::{self, Keeper, Message};
use crate::lease::{Lease, LeaseError};
use crate::shared::{Phase, Shared, Site};
use crate::status::Observed;

/// When to try again after a wait that was too short.
const RETRY: Duration = Duration::from_secs(1);
/// How long the last captured output may take to be stored at shutdown.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// All services and their instances. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Services {
    pub(crate) shared: Arc<Shared>,
}

/// What a keeper is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    /// To have the instance up, if one more may be.
    Run,
    /// Anything else.
    Rest,
}

/// Why no keeper was started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotRoused {
    /// There is no such instance, or no more keeper is started.
    Gone,
    /// As many are up as may be.
    Full(Full),
}

impl From<NotRoused> for LeaseError {
    fn from(why: NotRoused) -> Self {
        match why {
            NotRoused::Gone => Self::ShuttingDown,
            NotRoused::Full(Full { key, limit }) => Self::TooMany { key, limit, retry_after: RETRY },
        }
    }
}

/// What a request finds.
enum Door {
    /// Open.
    In(Lease),
    /// Closed; the keeper will answer.
    Wait(oneshot::Receiver<Result<Lease, LeaseError>>),
}

impl Services {
    /// Takes over what still runs, removes what nobody knows, and wakes the declared instances that were up.
    /// Returns before the woken ones are ready.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn start(config: Arc<Config>, registry: Registry, store: Store) -> Result<Self, StartError> {
        let (services, _none) = Self::start_holding(config, registry, store, Vec::new()).await?;
        Ok(services)
    }

    /// The same, where an earlier worker still has streams to the instances of these names: those that are
    /// found running do not go to sleep while their [`Held`] or its lease lives.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn start_holding(
        config: Arc<Config>,
        registry: Registry,
        store: Store,
        names: Vec<InstanceName>,
    ) -> Result<(Self, Vec<Held>), StartError> {
        let services = Self { shared: Shared::new(config, registry, store) };
        let mut holds = Holds::new(names);
        boot::boot(&services, &mut holds).await?;
        if services.shared.plan().specs.values().any(|spec| spec.limits.disk.is_some()) {
            disk::begin(&services.shared);
        }
        Ok((services, holds.into_held()))
    }

    /// Waits until the instance takes requests, waking it if it sleeps, at most until `deadline` and never
    /// longer than the `request_timeout` of its service: the wake is part of the time to answer. Keep the
    /// lease until the last byte: idleness counts from its drop.
    ///
    /// # Errors
    /// When nobody knows the instance, it cannot be had in time, or not at all.
    pub async fn lease(&self, name: &InstanceName, deadline: Instant) -> Result<Lease, LeaseError> {
        let answer = match self.knock(name)? {
            Door::In(lease) => return Ok(lease),
            Door::Wait(answer) => answer,
        };
        let _waiting = self.shared.counts.of(&name.service).wait();
        match timeout_at(self.patience(name, deadline), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(LeaseError::ShuttingDown),
            Err(_) => Err(LeaseError::TimedOut { retry_after: RETRY }),
        }
    }

    /// Until when a request may wait.
    fn patience(&self, name: &InstanceName, deadline: Instant) -> Instant {
        let spec = self.shared.spec(&name.service);
        spec.map_or(deadline, |spec| deadline.min(Instant::now() + spec.request_timeout))
    }

    /// Of a running instance one look-up and one atomic operation; of any other one a message.
    fn knock(&self, name: &InstanceName) -> Result<Door, LeaseError> {
        let shared = &self.shared;
        let map = shared.directory.read();
        let entry = map.get(name).ok_or_else(|| self.stranger(name))?;
        if !shared.is_serving() {
            return Err(LeaseError::ShuttingDown);
        }
        if let Some(lease) = entry.run.as_ref().and_then(|run| run.lease(false)) {
            return Ok(Door::In(lease));
        }
        let (reply, answer) = oneshot::channel();
        if let Some(inbox) = &entry.keeper {
            post_lease(inbox, reply)?;
            return Ok(Door::Wait(answer));
        }
        may_wake(entry)?;
        drop(map);
        self.rouse(name, Errand::Run, |inbox| post_lease(inbox, reply))??;
        Ok(Door::Wait(answer))
    }

    fn stranger(&self, name: &InstanceName) -> LeaseError {
        if self.shared.spec(&name.service).is_some() {
            LeaseError::UnknownInstance
        } else {
            LeaseError::UnknownService
        }
    }

    /// Lets `post` send to the keeper, which is started if there is none.
    pub(crate) fn rouse<T>(
        &self,
        name: &InstanceName,
        errand: Errand,
        post: impl FnOnce(&mpsc::Sender<Message>) -> T,
    ) -> Result<T, NotRoused> {
        let shared = &self.shared;
        let plan = shared.plan();
        let spec = plan.specs.get(&name.service).ok_or(NotRoused::Gone)?;
        let mut map = shared.directory.write();
        if !shared.is_serving() {
            return Err(NotRoused::Gone);
        }
        let entry = map.get_mut(name).ok_or(NotRoused::Gone)?;
        if let Some(inbox) = &entry.keeper {
            return Ok(post(inbox));
        }
        let seat = match errand {
            Errand::Run => shared.census.admit(&name.service, &plan.config).map_err(NotRoused::Full)?,
            Errand::Rest => shared.census.count(&name.service),
        };
        let site = Site { shared: Arc::clone(shared), spec: Arc::clone(spec), name: name.clone() };
        let (sender, inbox) = keeper::inbox(spec.hold_queue);
        let keeper =
            Keeper::new(site, inbox, seat, &entry.status).retry_at(entry.retry_at).at_level(entry.level);
        let posted = post(&sender);
        entry.keeper = Some(sender);
        shared.keepers.spawn_on(keeper.run(), &shared.runtime);
        Ok(posted)
    }

    /// How often a request or the operator wanted one more instance up than `max_instances` allows.
    #[must_use]
    pub fn refused_by_limit(&self) -> u64 {
        self.shared.census.refused()
    }

    /// What happened since this process began, by service.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<ServiceName, ServiceCounts> {
        self.shared.counts.read()
    }

    /// A number that changes whenever the status of an instance does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.directory.watch()
    }

    /// Stops everything: no request is let in any more, those inside get `drain`, then each instance its own
    /// `stop_timeout`. What was up is wanted up at the next start.
    pub async fn shutdown(&self, drain: Duration) {
        self.end(Phase::Down { drain }).await;
        let pumps = &self.shared.pumps;
        pumps.close();
        if timeout(LAST_WORDS, pumps.wait()).await.is_err() {
            tracing::warn!(pumps = pumps.len(), "the last captured output could not be stored in time");
            self.shared.pumps_end.cancel();
            pumps.wait().await;
        }
    }

    /// Leaves everything running for the next process, which will find it by its records.
    pub async fn detach(&self) {
        self.end(Phase::Detached).await;
        self.shared.pumps_end.cancel();
        self.shared.pumps.close();
        self.shared.pumps.wait().await;
    }

    async fn end(&self, phase: Phase) {
        {
            // Under the lock no keeper is being started: each one that lives sees the new phase.
            let _map = self.shared.directory.write();
            self.shared.phase.send_replace(phase);
        }
        self.shared.keepers.close();
        self.shared.keepers.wait().await;
    }
}

fn post_lease(
    inbox: &mpsc::Sender<Message>,
    reply: oneshot::Sender<Result<Lease, LeaseError>>,
) -> Result<(), LeaseError> {
    let full = LeaseError::QueueFull { retry_after: RETRY };
    if !keeper::has_room(inbox) {
        return Err(full);
    }
    inbox.try_send(Message::Lease(reply)).map_err(|_| full)
}

/// Whether a request may wake an instance that has no keeper.
fn may_wake(entry: &Entry) -> Result<(), LeaseError> {
    match (entry.status.observed, entry.retry_at) {
        (Observed::Stopped, _) => Err(LeaseError::Stopped),
        (Observed::Failed, Some(at)) if Instant::now() < at => {
            let why = entry.status.why.clone().unwrap_or_default();
            Err(LeaseError::Failed { why, retry_after: at.duration_since(Instant::now()).max(RETRY) })
        }
        _ => Ok(()),
    }
}
