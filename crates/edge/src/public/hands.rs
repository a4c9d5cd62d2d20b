//! Threads that carry connections, each with all of a connection's life on it.
//!
//! ```text
//! accept ──► of the hands in use, the one with the fewest ──► its own reactor, timers and tasks
//!                                                                  │ lease, log line
//!                                                                  ▼
//!                                                             everybody else's runtime
//! ```
//! Threads that share their tasks wake each other whenever one of them has two: with few connections that was a
//! tenth of a request's processor time. Here a connection never moves, and nobody is woken for it.
//!
//! Another hand is only used when the others have their fill. A few connections spread over several hands leave each of
//! them without work after every request, and their workloads too: going to sleep and being woken then costs a workload
//! more than its answer.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Most hands, whatever the host has.
const HANDS_MAX: usize = 16;
/// Connections for which one hand more is used: as many busy ones keep a hand at work.
const FILL: usize = 16;

/// Threads that cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a thread for connections")]
pub struct HandsError(#[source] io::Error);

impl HandsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "allow this user more processes (`ulimit -u`) and open files (`ulimit -n`)"
    }
}

/// Some threads for connections; without any, connections run where they are accepted.
#[derive(Debug, Clone, Default)]
pub struct Hands(Option<Arc<Crew>>);

#[derive(Debug)]
struct Crew {
    hands: Vec<Hand>,
    /// Ends the threads, and whatever still runs on them.
    _end: DropGuard,
}

#[derive(Debug)]
struct Hand {
    runtime: Handle,
    carries: Arc<AtomicUsize>,
}

impl Hands {
    /// One for each processor, at most 16. They end when the last clone is dropped.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start() -> Result<Self, HandsError> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let end = CancellationToken::new();
        let start = |number| Hand::start(number, end.clone());
        let hands = (0..processors.min(HANDS_MAX)).map(start).collect::<io::Result<_>>();
        Ok(Self(Some(Arc::new(Crew { hands: hands.map_err(HandsError)?, _end: end.drop_guard() }))))
    }

    /// Gives a connection to a hand: `begin` runs there, and what it gives back.
    pub(crate) fn give<F, Fut>(&self, tracker: &TaskTracker, begin: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        match self.0.as_ref().and_then(|crew| crew.least()) {
            None => drop(tracker.spawn(async move { begin().await })),
            Some(hand) => {
                let carried = Carried::by(hand);
                let task = async move {
                    let _carried = carried;
                    begin().await;
                };
                drop(tracker.spawn_on(task, &hand.runtime));
            }
        }
    }
}

impl Crew {
    /// Of as many hands as all connections need, the one with the fewest.
    fn least(&self) -> Option<&Hand> {
        let carries = |hand: &Hand| hand.carries.load(Ordering::Relaxed);
        let all: usize = self.hands.iter().map(carries).sum();
        self.hands.iter().take(all / FILL + 1).min_by_key(|hand| carries(hand))
    }
}

impl Hand {
    fn start(number: usize, end: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let work = move || runtime.block_on(end.cancelled());
        std::thread::Builder::new().name(format!("hand-{number}")).spawn(work)?;
        Ok(Self { runtime: handle, carries: Arc::default() })
    }
}

/// One connection, as a hand counts them.
#[derive(Debug)]
struct Carried(Arc<AtomicUsize>);

impl Carried {
    fn by(hand: &Hand) -> Self {
        hand.carries.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&hand.carries))
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    /// Begins something that tells its thread and then waits.
    fn begin(
        hands: &Hands,
        tracker: &TaskTracker,
        told: &mpsc::UnboundedSender<ThreadId>,
    ) -> oneshot::Sender<()> {
        let (end, ended) = oneshot::channel();
        let told = told.clone();
        hands.give(tracker, move || async move {
            told.send(thread::current().id()).unwrap();
            ended.await.unwrap_or_default();
        });
        end
    }

    #[tokio::test]
    async fn a_hand_has_its_fill_before_another_is_used_and_all_have_as_many() {
        let (hands, tracker) = (Hands::start().unwrap(), TaskTracker::new());
        let count = hands.0.as_ref().unwrap().hands.len();
        let (told, mut threads) = mpsc::unbounded_channel();
        let mut ends = Vec::new();
        let mut seen = std::collections::HashMap::new();
        for used in 1..=count {
            for _ in 0..FILL {
                ends.push(begin(&hands, &tracker, &told));
                *seen.entry(threads.recv().await.unwrap()).or_insert(0) += 1;
            }
            assert_eq!(seen.len(), used, "after {} connections", used * FILL);
        }
        assert!(seen.values().all(|carried| *carried == FILL), "{seen:?}");
        assert!(!seen.contains_key(&thread::current().id()));
        drop(ends);
        tracker.close();
        tracker.wait().await;
        let left = |hand: &Hand| hand.carries.load(Ordering::Relaxed);
        assert_eq!(hands.0.as_ref().unwrap().hands.iter().map(left).sum::<usize>(), 0);
    }

    #[tokio::test]
    async fn without_hands_connections_run_where_they_are_accepted() {
        let (hands, tracker) = (Hands::default(), TaskTracker::new());
        let (told, mut threads) = mpsc::unbounded_channel();
        let _end = begin(&hands, &tracker, &told);
        assert_eq!(threads.recv().await, Some(thread::current().id()));
    }
}
