//! Threads that carry connections, each with all of a connection's life on it.
//!
//! ```text
//! accept ──► the hand with the fewest connections ──► its own reactor, timers and tasks
//!                                                          │ lease, log line
//!                                                          ▼
//!                                                     everybody else's runtime
//! ```
//! Threads that share their tasks wake each other whenever one of them has two: with few connections that was a
//! tenth of a request's processor time. Here a connection never moves, and nobody is woken for it.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Most hands, whatever the host has.
const HANDS_MAX: usize = 16;

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
        let least = |crew: &'_ Arc<Crew>| {
            let hand = crew.hands.iter().min_by_key(|hand| hand.carries.load(Ordering::Relaxed))?;
            Some((hand.runtime.clone(), Carried::by(hand)))
        };
        match self.0.as_ref().and_then(least) {
            None => drop(tracker.spawn(async move { begin().await })),
            Some((runtime, carried)) => {
                let task = async move {
                    let _carried = carried;
                    begin().await;
                };
                drop(tracker.spawn_on(task, &runtime));
            }
        }
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
    async fn connections_are_shared_out_evenly_and_leave_room_behind() {
        let (hands, tracker) = (Hands::start().unwrap(), TaskTracker::new());
        let count = hands.0.as_ref().unwrap().hands.len();
        let (told, mut threads) = mpsc::unbounded_channel();
        let ends: Vec<_> = (0..count).map(|_| begin(&hands, &tracker, &told)).collect();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..count {
            seen.insert(threads.recv().await.unwrap());
        }
        assert_eq!(seen.len(), count, "some hand has two");
        assert!(!seen.contains(&thread::current().id()));
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
