//! What happened to the instances of each service since this process began, counted.
//!
//! ```text
//! journal ──every line it takes──► Counts ◄── pump (captured lines) ◄── lease (who waits now)
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use insula_isolation::Exit;
use insula_spec::ServiceName;
use insula_store::{Event, EventKind};

use crate::failure::Failure;

/// How a workload can end, as one word each; in the order of [`ServiceCounts::exits`].
pub const EXIT_REASONS: [&str; 5] = ["ok", "error", "signal", "oom", "lost"];

/// Counts of one service. All but the last only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceCounts {
    /// Starts because a request came.
    pub wakes: u64,
    /// Starts because the operator or the configuration asked.
    pub spawns: u64,
    /// Starts because the workload had ended.
    pub restarts: u64,
    /// Starts that failed.
    pub start_failures: u64,
    /// Frozen instances that run again.
    pub thaws: u64,
    /// Ends of a workload, by reason ([`EXIT_REASONS`]).
    pub exits: [u64; EXIT_REASONS.len()],
    /// Lines captured and stored.
    pub log_lines: u64,
    /// Lines lost before they could be stored.
    pub log_lines_lost: u64,
    /// Requests that wait for an instance at this moment.
    pub waiting: u64,
}

/// The same, while it is counted.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    wakes: AtomicU64,
    spawns: AtomicU64,
    restarts: AtomicU64,
    start_failures: AtomicU64,
    thaws: AtomicU64,
    exits: [AtomicU64; EXIT_REASONS.len()],
    log_lines: AtomicU64,
    log_lines_lost: AtomicU64,
    waiting: AtomicU64,
}

impl Counter {
    /// Takes note of what goes into the journal.
    pub(crate) fn saw(&self, event: &Event) {
        let counter = match event.kind {
            EventKind::Woken => &self.wakes,
            EventKind::Spawned => &self.spawns,
            EventKind::Restarted => &self.restarts,
            EventKind::StartFailed => &self.start_failures,
            EventKind::Thawed => &self.thaws,
            EventKind::Exited => match Failure::of(event) {
                Some(Failure::Ended { exit }) => &self.exits[reason(exit)],
                _ => return,
            },
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes note of captured lines.
    pub(crate) fn logged(&self, lines: u64, lost: u64) {
        self.log_lines.fetch_add(lines, Ordering::Relaxed);
        self.log_lines_lost.fetch_add(lost, Ordering::Relaxed);
    }

    /// Counts one that waits, until the guard is dropped.
    pub(crate) fn wait(self: Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    fn read(&self) -> ServiceCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServiceCounts {
            wakes: of(&self.wakes),
            spawns: of(&self.spawns),
            restarts: of(&self.restarts),
            start_failures: of(&self.start_failures),
            thaws: of(&self.thaws),
            exits: self.exits.each_ref().map(of),
            log_lines: of(&self.log_lines),
            log_lines_lost: of(&self.log_lines_lost),
            waiting: of(&self.waiting),
        }
    }
}

/// One request that waits.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Counter>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts of all services.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    services: RwLock<BTreeMap<ServiceName, Arc<Counter>>>,
}

impl Counts {
    /// Those of one service, begun at the first call.
    pub(crate) fn of(&self, service: &ServiceName) -> Arc<Counter> {
        let known = self.services.read().unwrap_or_else(PoisonError::into_inner).get(service).cloned();
        known.unwrap_or_else(|| {
            let mut all = self.services.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(service.clone()).or_default())
        })
    }

    pub(crate) fn read(&self) -> BTreeMap<ServiceName, ServiceCounts> {
        let all = self.services.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, counter)| (name.clone(), counter.read())).collect()
    }
}

/// The place of a reason in [`EXIT_REASONS`].
fn reason(exit: Exit) -> usize {
    match exit {
        Exit::Code(0) => 0,
        Exit::Code(_) => 1,
        Exit::Signal(_) => 2,
        Exit::Oom => 3,
        Exit::Lost => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_by_what_they_say() {
        let counts = Counts::default();
        let notes: ServiceName = "notes".parse().unwrap();
        let counter = counts.of(&notes);
        counter.saw(&Event::new(EventKind::Woken, ""));
        for exit in [Exit::Code(0), Exit::Code(3), Exit::Signal(9), Exit::Oom, Exit::Lost, Exit::Code(1)] {
            counter.saw(&Event::new(EventKind::Exited, "").detail(Failure::Ended { exit }.detail()));
        }
        counter.saw(&Event::new(EventKind::Exited, "without a detail"));
        counter.saw(&Event::new(EventKind::Health, ""));
        counter.logged(3, 2);
        let waiting = (counts.of(&notes).wait(), counts.of(&notes).wait());
        drop(waiting.0);
        let expected = ServiceCounts {
            wakes: 1,
            exits: [1, 2, 1, 1, 1],
            log_lines: 3,
            log_lines_lost: 2,
            waiting: 1,
            ..ServiceCounts::default()
        };
        assert_eq!(counts.read(), BTreeMap::from([(notes, expected)]));
    }
}
