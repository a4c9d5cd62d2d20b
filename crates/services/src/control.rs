//! What the operator does: spawn, stop, restart, look.

use std::sync::Arc;

use insula_isolation::{DiskHold, InForce, Record, Usage};
use insula_spec::{IdRange, InstanceName, Level, ServiceName, ServiceSpec};
use insula_store::{Event, EventKind, EventQuery, EventRow, ReadError, WriteError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::census::Full;
use crate::directory::Entry;
use crate::disk;
use crate::disk::Fill;
use crate::keeper::Message;
use crate::services::{Errand, NotRoused, Services};
use crate::status::Status;

/// Why the operator's wish was not fulfilled.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ControlError {
    /// The configuration has no such service.
    #[error("there is no service `{0}`")]
    UnknownService(ServiceName),
    /// Nobody declared or spawned it.
    #[error("there is no instance `{0}`")]
    UnknownInstance(InstanceName),
    /// It did not start.
    #[error("the instance failed: {why}")]
    Failed {
        /// What happened.
        why: String,
        /// What to do about it, where whoever failed knows.
        hint: Option<String>,
    },
    /// Somebody stopped it before it was up.
    #[error("the instance was stopped before it was up")]
    Stopped,
    /// Its keeper has more messages than it can take.
    #[error("too many commands wait for `{0}`")]
    Busy(InstanceName),
    /// As many instances are up as may be.
    #[error("{limit} instances are up, which is the limit (`{key}`)")]
    TooMany {
        /// The key of the configuration that sets the limit.
        key: String,
        /// The limit.
        limit: usize,
    },
    /// It could not be written down.
    #[error("cannot record `{name}`")]
    Store {
        /// The instance.
        name: InstanceName,
        /// Why not.
        #[source]
        source: WriteError,
    },
    /// Its host ids cannot be told.
    #[error("cannot tell the host ids of `{name}`: {why}")]
    Ids {
        /// The instance.
        name: InstanceName,
        /// Why not.
        why: String,
    },
    /// Insula is going down.
    #[error("the server is shutting down")]
    ShuttingDown,
}

impl ControlError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownService(name) => format!("add `[service.{name}]` to `insula.toml`"),
            Self::UnknownInstance(name) => {
                format!("run `insula spawn {name}`, or declare it under `[instances]`")
            }
            Self::Failed { hint, .. } => hint
                .clone()
                .unwrap_or_else(|| "run `insula why NAME:ID` and `insula logs NAME:ID`".to_owned()),
            Self::Stopped => "run `insula spawn NAME:ID` again".to_owned(),
            Self::Busy(_) => "try again in a moment".to_owned(),
            Self::TooMany { key, .. } => {
                format!("stop another instance, or raise `{key}`; `insula ps` lists what is up")
            }
            Self::Store { source, .. } => source.hint(),
            Self::Ids { .. } => "run `insula doctor` to see how host ids are given here".to_owned(),
            Self::ShuttingDown => "start it again with `insula serve`".to_owned(),
        }
    }
}

impl From<NotRoused> for ControlError {
    fn from(why: NotRoused) -> Self {
        match why {
            NotRoused::Gone => Self::ShuttingDown,
            NotRoused::Full(Full { key, limit }) => Self::TooMany { key, limit },
        }
    }
}

/// One instance in a list.
#[derive(Debug, Clone)]
pub struct Overview {
    /// Its name.
    pub name: InstanceName,
    /// Where it is, where it is meant to be, since when and why.
    pub status: Status,
    /// The level resolved at its first deploy.
    pub level: Option<Level>,
    /// Its sandbox, while one stands.
    pub record: Option<Arc<Record>>,
    /// Whether it runs as another configuration said, and is to be started anew.
    pub outdated: bool,
    /// How often it was started again after a failure.
    pub restarts: u64,
    /// How often a request woke it.
    pub wakes: u64,
    /// Requests and connections inside at this moment.
    pub leases: u64,
    /// Bytes that its directory held when it was last counted.
    pub disk_bytes: Option<u64>,
    /// The bytes that it might hold then; `None` without a limit.
    pub disk_limit: Option<u64>,
    /// How full it was then; `None` without a limit.
    pub disk_fill: Option<Fill>,
}

impl Overview {
    fn of(name: &InstanceName, entry: &Entry) -> Self {
        Self {
            name: name.clone(),
            status: entry.status.clone(),
            level: entry.level,
            record: entry.record.clone(),
            outdated: entry.outdated && entry.record.is_some(),
            restarts: entry.restarts,
            wakes: entry.wakes,
            leases: entry.run.as_ref().map_or(0, |run| run.gate.inside()),
            disk_bytes: entry.disk.as_ref().map(|reading| reading.used),
            disk_limit: entry.disk.as_ref().and_then(|reading| reading.limit),
            disk_fill: entry.disk.as_ref().filter(|reading| reading.limit.is_some()).map(|r| r.fill),
        }
    }
}

/// One instance in detail.
#[derive(Debug, Clone)]
pub struct Inspect {
    /// What a list shows.
    pub overview: Overview,
    /// What it uses, while it runs and is not in the middle of an operation.
    pub usage: Option<Usage>,
    /// Its host ids, where each instance has its own.
    pub ids: Option<IdRange>,
    /// What was asked for.
    pub spec: Arc<ServiceSpec>,
    /// What bounds its directory, or would at its next start; `None` without a limit.
    pub disk: Option<DiskHold>,
    /// What the kernel says is in force, while it runs.
    pub in_force: Option<InForce>,
}

impl Services {
    /// Starts an instance and waits until it accepts connections. One that nobody knew is known from now on;
    /// one that was stopped or had failed starts all the same.
    ///
    /// # Errors
    /// When the service is not configured, or the instance does not start.
    pub async fn spawn(&self, name: &InstanceName) -> Result<Status, ControlError> {
        self.make_known(name, "spawned by the operator").await?;
        self.ask(name, Errand::Run, Message::Spawn).await?
    }

    /// Starts an instance anew, after those inside were served, and waits until it accepts connections.
    ///
    /// # Errors
    /// When it is not known, or does not start.
    pub async fn restart(&self, name: &InstanceName) -> Result<Status, ControlError> {
        self.ask(name, Errand::Run, Message::Restart).await?
    }

    /// Starts an instance anew, as [`Self::restart`] does, and lets requests in only once it is healthy, where
    /// its service says how that is checked.
    ///
    /// # Errors
    /// When it is not known, or is not healthy until then.
    pub(crate) async fn replace_program(
        &self,
        name: &InstanceName,
        until: Instant,
    ) -> Result<Status, ControlError> {
        self.ask(name, Errand::Run, |reply| Message::Replace(reply, until)).await?
    }

    /// Stops an instance, after those inside were served, until somebody spawns it. Waits until it is gone.
    ///
    /// # Errors
    /// When it is not known.
    pub async fn stop(&self, name: &InstanceName) -> Result<Status, ControlError> {
        self.ask(name, Errand::Rest, Message::Stop).await
    }

    /// Where an instance is; `None` when nobody knows it.
    #[must_use]
    pub fn status(&self, name: &InstanceName) -> Option<Status> {
        self.shared.directory.read().get(name).map(|entry| entry.status.clone())
    }

    /// All known instances, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Overview> {
        let map = self.shared.directory.read();
        let mut list: Vec<_> = map.iter().map(|(name, entry)| Overview::of(name, entry)).collect();
        drop(map);
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// What an instance uses at this moment; `None` when nothing runs.
    pub async fn usage(&self, name: &InstanceName) -> Option<Usage> {
        let (reply, answer) = oneshot::channel();
        let sent = {
            let map = self.shared.directory.read();
            map.get(name)?.keeper.as_ref()?.try_send(Message::Usage(reply))
        };
        sent.ok()?;
        answer.await.ok().flatten()
    }

    /// One instance in detail.
    ///
    /// # Errors
    /// When it is not known, or its host ids cannot be read.
    pub async fn inspect(&self, name: &InstanceName) -> Result<Inspect, ControlError> {
        let unknown = || ControlError::UnknownInstance(name.clone());
        let spec = self.shared.spec(&name.service);
        let spec = spec.ok_or_else(|| ControlError::UnknownService(name.service.clone()))?;
        let overview = {
            let map = self.shared.directory.read();
            map.get(name).map(|entry| Overview::of(name, entry)).ok_or_else(unknown)?
        };
        let usage = self.usage(name).await;
        // A level that does not work here any more has no ids to show; why, the status says.
        let ids = match overview.level.map(|level| self.shared.registry.backend(level)) {
            Some(Ok(backend)) => self.shared.host_ids(name, backend.as_ref()).await,
            None | Some(Err(_)) => Ok(None),
        };
        let ids = ids.map_err(|e| ControlError::Ids { name: name.clone(), why: e.to_string() })?;
        let walled = overview.level.and_then(|level| self.shared.registry.backend(level).ok());
        let walled = walled.is_none_or(|backend| backend.bounds_disk());
        let (owned, known) = (Arc::clone(&spec), name.clone());
        let disk = tokio::task::spawn_blocking(move || disk::hold(&owned, &known, walled, ids)).await;
        let in_force = match overview.record.clone() {
            Some(record) => {
                tokio::task::spawn_blocking(move || insula_isolation::in_force(&record)).await.ok()
            }
            None => None,
        };
        // What cannot be read is not told: the rest is worth telling all the same.
        let in_force = in_force.and_then(Result::ok).flatten();
        Ok(Inspect { overview, usage, ids, spec, disk: disk.ok().flatten(), in_force })
    }

    /// The newest events of an instance, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn history(&self, name: &InstanceName, limit: usize) -> Result<Vec<EventRow>, ReadError> {
        let query = EventQuery {
            instance: Some(name.clone()),
            limit: Some(limit),
            newest_first: true,
            ..EventQuery::default()
        };
        self.shared.store.events(query).await
    }

    /// Remembers an instance that nobody knew.
    pub(crate) async fn make_known(&self, name: &InstanceName, why: &str) -> Result<(), ControlError> {
        if self.shared.spec(&name.service).is_none() {
            return Err(ControlError::UnknownService(name.service.clone()));
        }
        if self.status(name).is_some() {
            return Ok(());
        }
        let event = Event::new(EventKind::Remembered, why);
        let row = self.shared.store.remember(name, event).await;
        let row = row.map_err(|source| ControlError::Store { name: name.clone(), source })?;
        // Two operators may come here at once; the first entry stays.
        self.shared.directory.write().entry(name.clone()).or_insert_with(|| crate::boot::entry(&row));
        self.shared.directory.changed();
        Ok(())
    }

    /// Sends a message that carries its own way back, and waits for the answer.
    async fn ask<T>(
        &self,
        name: &InstanceName,
        errand: Errand,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, ControlError> {
        if self.status(name).is_none() {
            return Err(ControlError::UnknownInstance(name.clone()));
        }
        let (reply, answer) = oneshot::channel();
        let send = |inbox: &mpsc::Sender<Message>| inbox.try_send(message(reply));
        let sent = self.rouse(name, errand, send)?;
        sent.map_err(|_| ControlError::Busy(name.clone()))?;
        answer.await.map_err(|_| ControlError::ShuttingDown)
    }
}
