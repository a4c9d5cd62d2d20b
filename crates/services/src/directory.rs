//! The one map of instances.
//!
//! ```text
//! entry: status, counters            always
//!        run (open gate)             while it takes requests: a lease is this lookup and one atomic operation
//!        inbox of its keeper         while a keeper lives
//! ```
//! A keeper is started, and leaves, under the write lock; messages are sent under the read lock and never
//! wait. So of any number of callers exactly one starts a keeper, and no message goes to one that left.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use insula_isolation::Record;
use insula_spec::{IdRange, InstanceName, Level, NetPolicy};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::disk::DiskReading;
use crate::keeper::Message;
use crate::lease::Run;
use crate::status::Status;

/// What is known of one instance.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where it is.
    pub(crate) status: Status,
    /// The run that takes requests.
    pub(crate) run: Option<Arc<Run>>,
    /// Its keeper, while one lives.
    pub(crate) keeper: Option<mpsc::Sender<Message>>,
    /// The level resolved at its first deploy.
    pub(crate) level: Option<Level>,
    /// Its host ids, once they were asked for; they never change.
    pub(crate) ids: Option<IdRange>,
    /// Its sandbox, while one stands.
    pub(crate) record: Option<Arc<Record>>,
    /// Whether it was started as another configuration said.
    pub(crate) outdated: bool,
    /// How often it was started again after a failure.
    pub(crate) restarts: u64,
    /// How often a request woke it.
    pub(crate) wakes: u64,
    /// Requests and raw connections that it took, ever, without those that its run has not told of yet.
    pub(crate) requests: u64,
    /// What its directory held when it was last counted.
    pub(crate) disk: Option<DiskReading>,
    /// CPU time of its walls that are gone, in microseconds.
    pub(crate) cpu_micros: u64,
    /// What it may reach outside, where the operator set it.
    pub(crate) net: Option<NetPolicy>,
    /// After a failure: when a request may try again.
    pub(crate) retry_at: Option<Instant>,
}

impl Entry {
    pub(crate) fn new(status: Status) -> Self {
        Self {
            status,
            run: None,
            keeper: None,
            level: None,
            ids: None,
            record: None,
            outdated: false,
            restarts: 0,
            wakes: 0,
            requests: 0,
            disk: None,
            cpu_micros: 0,
            net: None,
            retry_at: None,
        }
    }
}

type Map = HashMap<InstanceName, Entry>;

/// The map.
#[derive(Debug)]
pub(crate) struct Directory {
    map: RwLock<Map>,
    /// Grows with every change of a status.
    changes: watch::Sender<u64>,
}

impl Default for Directory {
    fn default() -> Self {
        Self { map: RwLock::default(), changes: watch::Sender::new(0) }
    }
}

impl Directory {
    /// Looks something up.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Map> {
        // Every change under this lock is complete in itself, so that a panic elsewhere leaves it valid.
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Map> {
        self.map.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes one entry and tells those who watch.
    pub(crate) fn update(&self, name: &InstanceName, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.write().get_mut(name) {
            change(entry);
        }
        self.changed();
    }

    /// Tells those who watch that some status changed.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// A number that changes whenever a status does.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
