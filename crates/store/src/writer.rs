//! The one thread that writes.
//!
//! ```text
//!          ┌──────────────────────────────────────────────────────────────┐
//!          ▼                                                              │
//!   wait for a job ──► take what else waits ──► transaction ──► answer ───┤
//!          │ (state first)   (bounded)              │ fails              │
//!          │                                        └► each job alone ───┤
//!          ├ nothing waits, something to trim, or has become too old ──► trim one step ─────────┤
//!          ├ nothing waits, old lines to index ──► index some ───────────┘
//!          └ all senders gone ──► checkpoint, close the file, give the lock back
//! ```

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::db::{Db, Durability};
use crate::error::{CloseError, WriteError};
use crate::log::{Backlog, Cursor};
use crate::options::Retention;
use crate::trim::Trimmer;

/// Jobs in one transaction.
const GROUP_JOBS: usize = 512;
/// Bytes in one transaction, as [`Class::cost`] counts them; one job may be larger than that.
const GROUP_COST: u64 = 1024 * 1024;
/// What a job costs beyond its lines: about one page of the `-wal`.
const JOB_COST: u64 = 4096;
/// Bytes written before the `-wal` is folded into the file, between two groups.
const CHECKPOINT_COST: u64 = 4 * 1024 * 1024;

/// How far the store has come. It only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heads {
    /// The newest captured line of any instance.
    pub log: Cursor,
    /// Id of the newest event.
    pub event: u64,
}

/// Which lane a job waits in, and what it needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Class {
    pub(crate) lane: Lane,
    pub(crate) durability: Durability,
    /// Bytes it writes, roughly.
    pub(crate) cost: u64,
}

impl Class {
    /// A change of state that a reboot would undo anyway.
    pub(crate) const STATE: Self = Self { lane: Lane::State, durability: Durability::Process, cost: 0 };
    /// A change of state that must survive a power cut.
    pub(crate) const LASTING: Self = Self { lane: Lane::State, durability: Durability::Power, cost: 0 };

    /// Captured lines.
    pub(crate) fn logs(cost: u64) -> Self {
        Self { lane: Lane::Logs, durability: Durability::Process, cost }
    }
}

/// Changes of state never wait behind more captured lines than fit in one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    State,
    Logs,
}

/// One write on its way: what to do, and whom to answer.
pub(crate) trait Job: Send {
    fn class(&self) -> Class;
    /// Does it, inside a transaction. May be called again after a rollback.
    fn run(&mut self, db: &mut Db) -> rusqlite::Result<()>;
    /// Tells the caller; only after the commit or the rollback.
    fn answer(self: Box<Self>, outcome: Result<(), WriteError>);
}

struct Pending<T, F> {
    class: Class,
    op: F,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, WriteError>>,
}

impl<T: Send, F: FnMut(&mut Db) -> rusqlite::Result<T> + Send> Job for Pending<T, F> {
    fn class(&self) -> Class {
        self.class
    }

    fn run(&mut self, db: &mut Db) -> rusqlite::Result<()> {
        self.done = Some((self.op)(db)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), WriteError>) {
        let Self { done, reply, .. } = *self;
        // The caller may have gone; what was written stays written.
        drop(reply.send(outcome.and_then(|()| done.ok_or(WriteError::Closed))));
    }
}

/// Wraps an operation into a job and the end of it that the caller awaits.
pub(crate) fn job<T, F>(class: Class, op: F) -> (Box<dyn Job>, oneshot::Receiver<Result<T, WriteError>>)
where
    T: Send + 'static,
    F: FnMut(&mut Db) -> rusqlite::Result<T> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Pending { class, op, done: None, reply }), answer)
}

/// The sending ends of both lanes.
#[derive(Clone)]
pub(crate) struct Lanes {
    state: mpsc::Sender<Box<dyn Job>>,
    logs: mpsc::Sender<Box<dyn Job>>,
}

impl Lanes {
    /// Two lanes with room for `room` jobs each.
    pub(crate) fn new(room: usize) -> (Self, Waiting) {
        let (state, state_rx) = mpsc::channel(room);
        let (logs, logs_rx) = mpsc::channel(room);
        (Self { state, logs }, Waiting { state: state_rx, logs: logs_rx })
    }

    /// Puts a job into its lane, when there is room.
    pub(crate) async fn send(&self, job: Box<dyn Job>) -> Result<(), WriteError> {
        self.lane(job.class().lane).send(job).await.map_err(|_| WriteError::Closed)
    }

    /// Jobs that wait in both lanes.
    pub(crate) fn queued(&self) -> usize {
        [&self.state, &self.logs].iter().map(|lane| lane.max_capacity() - lane.capacity()).sum()
    }

    pub(crate) fn lane(&self, lane: Lane) -> &mpsc::Sender<Box<dyn Job>> {
        match lane {
            Lane::State => &self.state,
            Lane::Logs => &self.logs,
        }
    }
}

/// The receiving ends of both lanes.
pub(crate) struct Waiting {
    state: mpsc::Receiver<Box<dyn Job>>,
    logs: mpsc::Receiver<Box<dyn Job>>,
}

impl Waiting {
    /// The next job; `None` when all senders are gone and nothing is left.
    async fn next(&mut self) -> Option<Box<dyn Job>> {
        tokio::select! {
            biased;
            Some(job) = self.state.recv() => Some(job),
            Some(job) = self.logs.recv() => Some(job),
            else => None,
        }
    }

    fn ready(&mut self) -> Option<Box<dyn Job>> {
        self.state.try_recv().or_else(|_| self.logs.try_recv()).ok()
    }

    fn any(&self) -> bool {
        !(self.state.is_empty() && self.logs.is_empty())
    }
}

/// What the thread owns.
pub(crate) struct Writer {
    pub(crate) db: Db,
    pub(crate) path: Arc<Path>,
    pub(crate) lock: File,
    pub(crate) heads: watch::Sender<Heads>,
    trimmer: Trimmer,
    backlog: Backlog,
    unfolded: u64,
}

impl Writer {
    pub(crate) fn new(db: Db, path: Arc<Path>, lock: File, retention: Retention) -> rusqlite::Result<Self> {
        let heads = watch::Sender::new(heads(&db));
        let trimmer = Trimmer::new(&db, retention)?;
        let backlog = Backlog::new(&db)?;
        Ok(Self { db, path, lock, heads, trimmer, backlog, unfolded: 0 })
    }

    /// Works until all senders are gone.
    pub(crate) fn run(
        mut self,
        mut waiting: Waiting,
        rt: &tokio::runtime::Runtime,
    ) -> Result<(), CloseError> {
        loop {
            if self.trimmer.has_work() && !waiting.any() {
                self.trimmer.step(&mut self.db);
                continue;
            }
            if self.backlog.has_work() && !waiting.any() {
                self.backlog.step(&mut self.db);
                self.unfolded += GROUP_COST;
                self.fold_if_due();
                continue;
            }
            let first = match self.trimmer.rest(&self.db) {
                None => rt.block_on(waiting.next()),
                Some(rest) => match rt.block_on(async { timeout(rest, waiting.next()).await }) {
                    Ok(next) => next,
                    Err(_) => {
                        self.trimmer.step(&mut self.db);
                        continue;
                    }
                },
            };
            let Some(first) = first else { break };
            let group = collect(first, &mut waiting);
            self.unfolded += group.iter().map(|job| job.class().cost + JOB_COST).sum::<u64>();
            self.write(group);
            self.trimmer.after_group(&mut self.db);
            self.fold_if_due();
        }
        self.finish()
    }

    fn fold_if_due(&mut self) {
        if self.unfolded >= CHECKPOINT_COST {
            self.fold();
        }
    }

    fn write(&mut self, mut group: Vec<Box<dyn Job>>) {
        let outcome = self.attempt(&mut group);
        if outcome.is_ok() || group.len() == 1 || matches!(outcome, Err(WriteError::Busy { .. })) {
            group.into_iter().for_each(|job| job.answer(outcome.clone()));
        } else {
            self.write_apart(group);
        }
    }

    /// Each job in a transaction of its own, so that only those fail that must.
    fn write_apart(&mut self, group: Vec<Box<dyn Job>>) {
        let mut busy = None;
        for mut job in group {
            let outcome = match &busy {
                Some(error) => Err(WriteError::clone(error)),
                None => self.attempt(std::slice::from_mut(&mut job)),
            };
            if let Err(error @ WriteError::Busy { .. }) = &outcome {
                busy = Some(error.clone());
            }
            job.answer(outcome);
        }
    }

    fn attempt(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), WriteError> {
        let durability = group.iter().map(|job| job.class().durability).max().unwrap_or(Durability::Process);
        let path = &self.path;
        self.db.begin(durability).map_err(|e| WriteError::new(path, e))?;
        for job in group {
            if let Err(e) = job.run(&mut self.db) {
                self.db.rollback();
                return Err(WriteError::new(path, e));
            }
        }
        self.db.commit().map_err(|e| WriteError::new(path, e))?;
        // Before the answers: who was answered finds the heads at least there.
        let heads = heads(&self.db);
        self.heads.send_if_modified(|old| std::mem::replace(old, heads) != heads);
        Ok(())
    }

    /// Folds the `-wal` into the file, as far as no reader needs the old pages.
    fn fold(&mut self) {
        self.unfolded = 0;
        if let Err(error) = checkpoint(&self.db, "PRAGMA wal_checkpoint(PASSIVE)") {
            tracing::warn!(path = %self.path.display(), %error, "cannot fold the write-ahead log into the database");
        }
    }

    fn finish(self) -> Result<(), CloseError> {
        let Self { db, path, lock, .. } = self;
        let fail = |source| CloseError::Checkpoint { path: Arc::clone(&path), source };
        checkpoint(&db, "PRAGMA wal_checkpoint(TRUNCATE)").map_err(fail)?;
        db.conn.close().map_err(|(_, e)| fail(e))?;
        drop(lock);
        Ok(())
    }
}

fn collect(first: Box<dyn Job>, waiting: &mut Waiting) -> Vec<Box<dyn Job>> {
    let mut cost = first.class().cost;
    let mut group = vec![first];
    while group.len() < GROUP_JOBS && cost < GROUP_COST {
        let Some(job) = waiting.ready() else { break };
        cost += job.class().cost;
        group.push(job);
    }
    group
}

fn checkpoint(db: &Db, sql: &str) -> rusqlite::Result<()> {
    db.conn.query_row(sql, [], |_| Ok(()))
}

fn heads(db: &Db) -> Heads {
    let now = db.committed();
    Heads { log: Cursor::from_row(now.log_head), event: u64::try_from(now.event_head).unwrap_or(0) }
}

#[cfg(test)]
mod tests;
