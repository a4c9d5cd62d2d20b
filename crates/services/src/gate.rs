//! The gate of a running instance: who is inside, and whether it may be closed.
//!
//! Everything is one atomic word, so that a request entering and a keeper closing cannot both win:
//!
//! ```text
//!  63 ........ 34 | 33   | 32      | 31 ........ 0
//!  entries, wraps | OPEN | WATCHED | leases inside
//!
//!  enter()          + one entry, + one lease; taken back when OPEN was not set
//!  leave()          - one lease; tells the keeper when it was the last one and WATCHED is set
//!  close_if_idle()  compare-and-swap from "open, nobody inside, no entry since I looked" to "closed"
//! ```
//! A request that comes exactly at the idle limit is thus either inside, and the gate stays open, or
//! outside, and its caller asks the keeper.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

const LEASE: u64 = 1;
const INSIDE: u64 = 0xffff_ffff;
const WATCHED: u64 = 1 << 32;
const OPEN: u64 = 1 << 33;
const ENTRY: u64 = 1 << 34;
/// Where the count of entries begins again.
pub(crate) const ENTRIES: u64 = 1 << 30;

/// What an attempt to close for idleness found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdleCheck {
    /// The gate is closed now; nobody is inside.
    Closed,
    /// Leases are held; [`Gate::quiet`] tells when the last one is gone.
    Busy,
    /// Nobody is inside, but somebody was a moment ago: not before this instant.
    NotBefore(Instant),
}

/// Counts the leases on one run of an instance.
#[derive(Debug)]
pub(crate) struct Gate {
    word: AtomicU64,
    /// When the last lease was dropped, in nanoseconds after `opened`.
    last: AtomicU64,
    opened: Instant,
    quiet: Notify,
    closed: Notify,
}

impl Gate {
    /// An open gate; idleness counts from `now`.
    pub(crate) fn open(now: Instant) -> Self {
        Self {
            word: AtomicU64::new(OPEN),
            last: AtomicU64::new(0),
            opened: now,
            quiet: Notify::new(),
            closed: Notify::new(),
        }
    }

    /// Goes in, if the gate is open. Every success must be matched by one [`Self::leave`].
    pub(crate) fn enter(&self) -> bool {
        let before = self.word.fetch_add(ENTRY + LEASE, Ordering::AcqRel);
        if before & OPEN == 0 {
            // It was no entry: who comes again is counted then.
            self.go_out(ENTRY + LEASE);
            return false;
        }
        true
    }

    /// Goes out. Idleness counts from here.
    pub(crate) fn leave(&self) {
        // Before the count goes down: whoever sees nobody inside sees this time, too.
        self.last.fetch_max(self.nanos(Instant::now()), Ordering::Release);
        self.go_out(LEASE);
    }

    fn go_out(&self, taken: u64) {
        let before = self.word.fetch_sub(taken, Ordering::AcqRel);
        if before & INSIDE == LEASE && before & WATCHED != 0 {
            self.quiet.notify_one();
        }
    }

    /// Closes the gate if nobody is inside and the last one left at least `timeout` before `now`.
    pub(crate) fn close_if_idle(&self, now: Instant, timeout: Duration) -> IdleCheck {
        loop {
            let seen = self.word.load(Ordering::Acquire);
            if seen & INSIDE != 0 {
                if self.watch() {
                    return IdleCheck::Busy;
                }
                continue;
            }
            let limit = self.last_left() + timeout;
            if now < limit {
                return IdleCheck::NotBefore(limit);
            }
            // The entry count makes this fail even when somebody came and went since `seen`.
            if self
                .word
                .compare_exchange(seen, seen & !(OPEN | WATCHED), Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                self.closed.notify_waiters();
                return IdleCheck::Closed;
            }
        }
    }

    /// Closes the gate whoever is inside. True if nobody is.
    pub(crate) fn close(&self) -> bool {
        let before = self.word.fetch_and(!OPEN, Ordering::AcqRel);
        self.closed.notify_waiters();
        before & INSIDE == 0 || !self.watch()
    }

    /// Whether the gate is open.
    pub(crate) fn is_open(&self) -> bool {
        self.word.load(Ordering::Acquire) & OPEN != 0
    }

    /// How many leases are held.
    pub(crate) fn inside(&self) -> u64 {
        self.word.load(Ordering::Acquire) & INSIDE
    }

    /// How many went in, ever; 2^30 is 0 again.
    pub(crate) fn entries(&self) -> u64 {
        self.word.load(Ordering::Acquire) / ENTRY
    }

    /// When the last lease was dropped, or the gate was opened.
    pub(crate) fn last_left(&self) -> Instant {
        self.opened + Duration::from_nanos(self.last.load(Ordering::Acquire))
    }

    /// Resolves when the last lease is gone, if the keeper asked to be told. Cancel-safe. It may resolve
    /// once too often, so look at [`Self::inside`] afterwards.
    pub(crate) async fn quiet(&self) {
        self.quiet.notified().await;
        self.word.fetch_and(!WATCHED, Ordering::AcqRel);
    }

    /// Resolves when the gate is closed; it never opens again. Cancel-safe, for any number of callers.
    pub(crate) async fn closed(&self) {
        // Made before the look, so that a close in between is not missed.
        let closed = self.closed.notified();
        if self.is_open() {
            closed.await;
        }
    }

    /// Asks to be told when the last lease is gone. False if nobody is inside any more.
    fn watch(&self) -> bool {
        self.word.fetch_or(WATCHED, Ordering::AcqRel) & INSIDE != 0
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.opened).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::*;

    const IDLE: Duration = Duration::from_secs(1);

    fn gate() -> (Gate, Instant) {
        let now = Instant::now();
        (Gate::open(now), now)
    }

    #[test]
    fn a_closed_gate_lets_nobody_in_and_counts_nobody() {
        let (gate, _) = gate();
        assert!(gate.close());
        assert!(!gate.enter());
        assert_eq!((gate.is_open(), gate.inside()), (false, 0));
    }

    #[test]
    fn entries_are_counted_and_refusals_are_not() {
        let (gate, _) = gate();
        assert!(gate.enter() && gate.enter());
        gate.leave();
        assert!(!gate.close() && !gate.enter());
        assert_eq!((gate.entries(), gate.inside()), (2, 1));
        gate.word.store(OPEN | ((ENTRIES - 1) * ENTRY), Ordering::Release);
        assert!(gate.enter());
        assert_eq!((gate.entries(), gate.inside(), gate.is_open()), (0, 1, true), "the count wraps alone");
    }

    #[test]
    fn it_closes_at_the_idle_limit_and_not_before() {
        let (gate, now) = gate();
        let limit = now + IDLE;
        assert_eq!(gate.close_if_idle(limit - Duration::from_nanos(1), IDLE), IdleCheck::NotBefore(limit));
        assert_eq!(gate.close_if_idle(limit, IDLE), IdleCheck::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn idleness_counts_from_the_last_leave() {
        let (gate, now) = gate();
        assert!(gate.enter() && gate.enter());
        tokio::time::advance(IDLE * 2).await;
        gate.leave();
        assert_eq!(gate.close_if_idle(now + IDLE * 3, IDLE), IdleCheck::Busy);
        tokio::time::advance(IDLE).await;
        gate.leave();
        gate.quiet().await;
        assert_eq!(gate.close_if_idle(now + IDLE * 3, IDLE), IdleCheck::NotBefore(now + IDLE * 4));
    }

    #[tokio::test]
    async fn the_last_one_out_tells_the_keeper_only_if_it_asked() {
        let (gate, _) = gate();
        assert!(gate.enter());
        gate.leave();
        let told = async |gate: &Gate| tokio::time::timeout(Duration::ZERO, gate.quiet()).await.is_ok();
        assert!(!told(&gate).await, "nobody asked");
        assert!(gate.enter() && gate.enter());
        assert!(!gate.close());
        gate.leave();
        assert!(!told(&gate).await, "one is still inside");
        gate.leave();
        assert!(told(&gate).await);
    }

    #[tokio::test]
    async fn everybody_learns_of_the_close_and_nobody_of_a_leave() {
        for by_idleness in [false, true] {
            let (gate, now) = gate();
            let told = async |gate: &Gate| tokio::time::timeout(Duration::ZERO, gate.closed()).await.is_ok();
            assert!(gate.enter());
            let waiting = || async { tokio::join!(gate.closed(), gate.closed()) };
            let mut early = std::pin::pin!(waiting());
            assert!(tokio::time::timeout(Duration::ZERO, early.as_mut()).await.is_err());
            gate.leave();
            assert!(!told(&gate).await, "it is open");
            match by_idleness {
                true => assert_eq!(gate.close_if_idle(now + IDLE * 3600, IDLE), IdleCheck::Closed),
                false => assert!(gate.close()),
            }
            assert!(told(&gate).await);
            early.await;
        }
    }

    #[test]
    fn the_entry_count_wraps_without_touching_the_rest() {
        let (gate, _) = gate();
        gate.word.store(OPEN | (u64::MAX << 34), Ordering::Release);
        assert!(gate.enter());
        assert_eq!(
            (gate.is_open(), gate.inside(), gate.word.load(Ordering::Acquire)),
            (true, 1, OPEN | LEASE)
        );
    }

    /// Goes in and out, and counts how often the place was `gone` while inside.
    fn visits(gate: &Gate, gone: &AtomicBool) -> usize {
        let mut met = 0;
        for _ in 0..20 {
            if !gate.enter() {
                break;
            }
            met += usize::from(gone.load(Ordering::Acquire));
            std::thread::yield_now();
            met += usize::from(gone.load(Ordering::Acquire));
            gate.leave();
        }
        met
    }

    /// Guests and a keeper on real threads. A guest that got in must never meet a closed gate's clean-up: the
    /// keeper sets `gone` after it closed, as it would stop a workload. Answers how often that happened, and
    /// how often the gate was closed.
    fn race(rounds: usize, close: fn(&Gate, Instant) -> bool) -> (usize, usize) {
        let (met, closed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        for _ in 0..rounds {
            if met.load(Ordering::Relaxed) > 0 {
                break;
            }
            let now = Instant::now();
            let gate = Arc::new(Gate::open(now));
            let gone = AtomicBool::new(false);
            let start = std::sync::Barrier::new(3);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        start.wait();
                        met.fetch_add(visits(&gate, &gone), Ordering::Relaxed);
                    });
                }
                start.wait();
                for _ in 0..1000 {
                    if close(&gate, now + IDLE) {
                        gone.store(true, Ordering::Release);
                        closed.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                }
            });
            assert_eq!(gate.inside(), 0, "the count does not add up");
        }
        (met.into_inner(), closed.into_inner())
    }

    #[test]
    fn whoever_is_inside_is_never_closed_upon() {
        let (met, closed) =
            race(2_000, |gate, now| gate.close_if_idle(now, Duration::ZERO) == IdleCheck::Closed);
        assert_eq!(met, 0);
        assert!(closed > 0, "the race was not run");
    }

    #[test]
    fn the_race_would_show_a_gate_that_looks_first_and_closes_later() {
        let (met, _) = race(20_000, |gate, _| {
            let empty = gate.inside() == 0;
            std::thread::yield_now();
            if empty {
                gate.close();
            }
            empty
        });
        assert!(met > 0, "the negative control was not caught");
    }
}
