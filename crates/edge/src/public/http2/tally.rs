//! How many streams a client cancels.
//!
//! Opening and cancelling a stream costs a client almost nothing and the server a whole request (CVE-2023-44487).
//! Whoever cancels far more than is answered is not asking.

use std::sync::atomic::{AtomicI64, Ordering};

use super::CANCELS_MAX;

/// Answered streams earn trust, cancelled ones spend it.
#[derive(Debug)]
pub(crate) struct Tally(AtomicI64);

impl Tally {
    pub(crate) fn new() -> Self {
        Self(AtomicI64::new(CANCELS_MAX))
    }

    /// A stream was answered to its end.
    pub(crate) fn answered(&self) {
        // Two at once may pass the bound by one each; it is no exact number.
        if self.0.load(Ordering::Relaxed) < CANCELS_MAX {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The client cancelled a stream before its answer was complete.
    pub(crate) fn cancelled(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the client has spent all its trust.
    pub(crate) fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cancelling_without_end_is_too_much() {
        let tally = Tally::new();
        for _ in 0..10 * CANCELS_MAX {
            tally.cancelled();
            tally.answered();
        }
        assert!(!tally.is_spent());
        (1..CANCELS_MAX).for_each(|_| tally.cancelled());
        assert!(!tally.is_spent());
        tally.cancelled();
        assert!(tally.is_spent());
    }

    #[test]
    fn good_behaviour_is_not_saved_up() {
        let tally = Tally::new();
        (0..10 * CANCELS_MAX).for_each(|_| tally.answered());
        (0..CANCELS_MAX).for_each(|_| tally.cancelled());
        assert!(tally.is_spent());
    }
}
