//! Who waits for a workload, so that work that can wait does.
//!
//! ```text
//! begin ──► Wake under way ──listens, ends, given up──► none under way ──SETTLE──► nobody waits
//!                │                                                                     ▲
//!                └── longer than PATIENCE ─────────────────────────────────────────────┘
//! ```

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How long work is put off for workloads that do not listen yet. Some take seconds to start.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long the machine belongs to whoever was just woken: to answer the first request.
const SETTLE: Duration = Duration::from_millis(5);

/// How many wakes are under way.
#[derive(Debug, Default)]
pub(crate) struct Wakes(watch::Sender<usize>);

impl Wakes {
    /// Somebody waits for a workload, until this is dropped.
    pub(crate) fn begin(&self) -> Wake {
        self.0.send_modify(|n| *n += 1);
        Wake(self.0.clone())
    }

    /// Waits until nobody has been waiting for a moment, though not for ever.
    pub(crate) async fn over(&self) {
        if timeout(PATIENCE, quiet(self.0.subscribe())).await.is_err() {
            tracing::debug!("a wake takes long; the next shell is made meanwhile");
        }
    }
}

/// Waits until there has been no wake for [`SETTLE`].
async fn quiet(mut wakes: watch::Receiver<usize>) {
    // An error would be the end of the sender: of whom this was asked.
    while wakes.wait_for(|n| *n == 0).await.is_ok() {
        if timeout(SETTLE, wakes.wait_for(|n| *n > 0)).await.is_err() {
            return;
        }
    }
}

/// Somebody waits for a workload that was started, until dropped.
#[derive(Debug)]
pub(crate) struct Wake(watch::Sender<usize>);

impl Drop for Wake {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// Shorter than [`SETTLE`].
    const BREATH: Duration = Duration::from_millis(2);

    /// Waits until it is over, while `wake` is dropped after a time; answers how long that took.
    async fn waited(wakes: &Wakes, wake: Option<(Wake, Duration)>) -> Duration {
        let begun = Instant::now();
        let dropped = async {
            if let Some((wake, after)) = wake {
                tokio::time::sleep(after).await;
                drop(wake);
            }
        };
        tokio::join!(wakes.over(), dropped);
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn work_waits_for_a_wake_and_a_moment_more() {
        let wakes = Wakes::default();
        assert_eq!(waited(&wakes, None).await, SETTLE);
        let after = Duration::from_millis(50);
        assert_eq!(waited(&wakes, Some((wakes.begin(), after))).await, after + SETTLE);
    }

    #[tokio::test(start_paused = true)]
    async fn one_wake_after_another_counts_as_one() {
        let wakes = Wakes::default();
        let first = wakes.begin();
        let begun = Instant::now();
        let more = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(first);
            tokio::time::sleep(BREATH).await;
            let second = wakes.begin();
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(second);
        };
        tokio::join!(wakes.over(), more);
        assert_eq!(begun.elapsed(), Duration::from_millis(20) + BREATH + SETTLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_without_an_end_does_not_hold_it_up_for_ever() {
        let wakes = Wakes::default();
        let _endless = wakes.begin();
        assert_eq!(waited(&wakes, None).await, PATIENCE);
    }
}
