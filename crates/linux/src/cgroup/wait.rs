//! Waiting with a deadline: for a file descriptor where the kernel tells, else for a growing moment.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};

/// A point in time until which something may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    start: Instant,
    /// How long it may take in all.
    pub(super) within: Duration,
}

impl Deadline {
    pub(super) fn after(within: Duration) -> Self {
        Self { start: Instant::now(), within }
    }

    /// What is left; `None` once it has passed.
    pub(super) fn left(&self) -> Option<Duration> {
        self.within.checked_sub(self.start.elapsed()).filter(|left| !left.is_zero())
    }

    /// Waits until one of the descriptors is ready, but not longer than is left.
    pub(super) fn poll(&self, fds: &mut [PollFd<'_>]) -> io::Result<()> {
        wait(fds, self.left().unwrap_or_default())
    }
}

/// Moments to wait where the kernel offers no event: 0.2 ms, doubling to 20 ms.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(Duration::from_micros(200))
    }

    /// Waits for the next moment. False when the deadline has passed before it.
    pub(super) fn pause(&mut self, deadline: &Deadline) -> io::Result<bool> {
        let Some(left) = deadline.left() else { return Ok(false) };
        wait(&mut [], self.0.min(left))?;
        self.0 = (self.0 * 2).min(Duration::from_millis(20));
        Ok(true)
    }
}

fn wait(fds: &mut [PollFd<'_>], longest: Duration) -> io::Result<()> {
    let longest = Timespec::try_from(longest).map_err(|_| io::ErrorKind::InvalidInput)?;
    match poll(fds, Some(&longest)) {
        // Interrupted: whoever waits looks again and comes back.
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
