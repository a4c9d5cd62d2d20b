//! One timer per connection, moved as seldom as possible.
//!
//! Moving a timer to a later time only writes the time down; the timer itself is moved when it fires. In
//! the steady state of a busy connection no request touches the timer wheel.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A point in time that can be moved and waited for.
#[derive(Debug)]
pub(crate) struct Deadline {
    sleep: Pin<Box<Sleep>>,
    at: Instant,
}

impl Deadline {
    pub(crate) fn new(at: Instant) -> Self {
        Self { sleep: Box::pin(sleep_until(at)), at }
    }

    pub(crate) fn set(&mut self, at: Instant) {
        self.at = at;
        if at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
        }
    }

    /// Ready once the time set last has come.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if !self.sleep.is_elapsed() {
                ready!(self.sleep.as_mut().poll(cx));
            }
            if self.at <= self.sleep.deadline() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    async fn is_due(deadline: &mut Deadline) -> bool {
        poll_fn(|cx| Poll::Ready(deadline.poll(cx).is_ready())).await
    }

    #[tokio::test]
    async fn it_fires_at_the_time_set_last() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(3600));
        let mut deadline = Deadline::new(later);
        assert!(!is_due(&mut deadline).await);
        deadline.set(now);
        poll_fn(|cx| deadline.poll(cx)).await;
        assert!(is_due(&mut deadline).await, "it stays due until it is set anew");
        deadline.set(later);
        assert!(!is_due(&mut deadline).await);
    }

    #[tokio::test]
    async fn a_later_time_holds_although_the_timer_was_not_moved() {
        let mut deadline = Deadline::new(Instant::now());
        deadline.set(Instant::now() + Duration::from_secs(3600));
        assert!(!is_due(&mut deadline).await);
    }
}
