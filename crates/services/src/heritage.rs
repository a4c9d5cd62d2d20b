//! What one worker leaves to the next: the open streams, and so the instances that must stay awake.
//!
//! ```text
//! old worker: detach ──► lingering(): one for each instance that still has leases
//!                            │ the name, to the next worker          │ ended()
//!                            ▼                                       ▼
//! new worker: start_holding(names) ──► Held ──lease()──► Lease ──drop, when the old one says so
//! ```
//! The hold of an inherited instance waits in its keeper's inbox before the keeper begins, so that however
//! short the idle time is, the instance does not go to sleep in between.

use std::collections::BTreeSet;
use std::sync::Arc;

use insula_spec::InstanceName;
use tokio::sync::{mpsc, oneshot};

use crate::keeper::{Message, has_room};
use crate::lease::{Lease, LeaseError, Run};
use crate::services::Services;

/// Leases that outlive the keeper of their instance.
#[derive(Debug)]
pub struct Lingering {
    name: InstanceName,
    run: Arc<Run>,
}

impl Lingering {
    /// Whose leases these are.
    #[must_use]
    pub fn instance(&self) -> &InstanceName {
        &self.name
    }

    /// Resolves when the last of them is dropped.
    pub async fn ended(self) {
        while !self.run.gate.close() {
            self.run.gate.quiet().await;
        }
    }
}

/// An instance that is kept awake for the streams of an earlier worker.
#[derive(Debug)]
pub struct Held {
    name: InstanceName,
    answer: oneshot::Receiver<Result<Lease, LeaseError>>,
}

impl Held {
    /// Which instance it is.
    #[must_use]
    pub fn instance(&self) -> &InstanceName {
        &self.name
    }

    /// The lease that keeps it awake; `None` when it is not running any more.
    pub async fn lease(self) -> Option<Lease> {
        match self.answer.await {
            Ok(Ok(lease)) => Some(lease),
            Ok(Err(error)) => {
                tracing::info!(instance = %self.name, %error, "streams of the earlier worker lost their instance");
                None
            }
            Err(_) => None,
        }
    }
}

impl Services {
    /// A lease on an instance that runs or is about to; `None` where somebody would have to wake it.
    pub async fn lease_running(&self, name: &InstanceName) -> Option<Lease> {
        let (reply, answer) = oneshot::channel();
        {
            let map = self.shared.directory.read();
            let entry = map.get(name)?;
            if let Some(lease) = entry.run.as_ref().and_then(|run| run.lease(false)) {
                return Some(lease);
            }
            let inbox = entry.keeper.as_ref().filter(|inbox| has_room(inbox))?;
            inbox.try_send(Message::Lease(reply)).ok()?;
        }
        Held { name: name.clone(), answer }.lease().await
    }

    /// Every instance that requests and streams of this process are still inside of. To be asked after
    /// [`Services::detach`]: nobody comes in any more.
    #[must_use]
    pub fn lingering(&self) -> Vec<Lingering> {
        let map = self.shared.directory.read();
        let runs = map.iter().filter_map(|(name, entry)| Some((name, entry.run.as_ref()?)));
        let busy = runs.filter(|(_, run)| !run.gate.close());
        busy.map(|(name, run)| Lingering { name: name.clone(), run: Arc::clone(run) }).collect()
    }
}

/// Which instances are to be held, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    wanted: BTreeSet<InstanceName>,
    held: Vec<Held>,
}

impl Holds {
    pub(crate) fn new(names: impl IntoIterator<Item = InstanceName>) -> Self {
        Self { wanted: names.into_iter().collect(), held: Vec::new() }
    }

    /// Puts the hold into the inbox of a keeper that has not begun yet.
    pub(crate) fn claim(&mut self, name: &InstanceName, inbox: &mpsc::Sender<Message>) {
        if !self.wanted.remove(name) || !has_room(inbox) {
            return;
        }
        let (reply, answer) = oneshot::channel();
        if inbox.try_send(Message::Lease(reply)).is_ok() {
            self.held.push(Held { name: name.clone(), answer });
        }
    }

    /// What is held. An instance that was not found running is not.
    pub(crate) fn into_held(self) -> Vec<Held> {
        for name in &self.wanted {
            tracing::info!(instance = %name, "streams of the earlier worker lost their instance");
        }
        self.held
    }
}
