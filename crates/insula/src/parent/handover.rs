//! The order of a planned restart: decided here, done in [`super::swap`].
//!
//! ```text
//!             Prepared              Released, or the old one died          Ready
//! preparing ───────────► retiring ───────────────────────────────► starting ─────► done
//!     │ new one died,        │ new one died: once the old one           │ died, too slow: killed
//!     │ too slow, stop       │ has released, another old one            ▼
//!     ▼                      ▼                                      failed: the supervisor starts
//!   failed, nothing was    failed                                   another old one
//!   changed
//! ```
//! The state of the home is never with two workers: the new one is told to go only after the old one has let
//! go or is dead, and another old one is started only after the new one is dead. Connections that come
//! meanwhile wait in the listeners' queues.

use std::time::Duration;

/// How long the new worker may take until it stands by.
pub(crate) const PREPARE: Duration = Duration::from_secs(30);

/// How long the old worker may take to give way before it is killed.
pub(crate) const RETIRE: Duration = Duration::from_secs(60);

/// How long the new worker may take until it serves.
pub(crate) const START: Duration = Duration::from_secs(120);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The new worker stands by.
    Prepared,
    /// The old worker has given way.
    Released,
    /// The old worker died.
    OldDied,
    /// The new worker serves.
    Ready,
    /// The new worker died.
    NewDied,
    /// The timer went off.
    Elapsed,
    /// The whole is to end.
    Cancel,
}

/// What to do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ask the old worker to give way.
    Retire,
    /// The new worker is the worker now, and may begin.
    Go,
    /// It is over; the new configuration and program are the current ones.
    Succeed,
    /// It is over; the old ones stay.
    Fail(Failed),
    /// Start a worker of the old kind.
    Restore,
    /// Kill the new worker.
    KillNew,
    /// Kill the old worker.
    KillOld,
    /// Set the timer.
    Arm(Duration),
}

/// Why it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failed {
    /// The new worker could not be prepared.
    #[error("the new worker ended before it stood by")]
    NotPrepared,
    /// The new worker did not get ready to stand by in time.
    #[error("the new worker did not stand by within {PREPARE:?}")]
    NeverPrepared,
    /// The old worker died at the wrong moment.
    #[error("the running worker died while the new one was prepared")]
    OldDied,
    /// The new worker died on the way.
    #[error("the new worker ended before it served")]
    NotReady,
    /// The server is being stopped.
    #[error("the server is being stopped")]
    Stopping,
}

impl Failed {
    /// The same in one word.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::NotPrepared => "not_prepared",
            Self::NeverPrepared => "not_prepared_in_time",
            Self::OldDied => "worker_died",
            Self::NotReady => "not_ready",
            Self::Stopping => "shutting_down",
        }
    }

    /// What to do about it.
    pub(crate) const fn hint(self) -> &'static str {
        match self {
            Self::NotPrepared | Self::NotReady => {
                "the log of the running server says why it ended; the old version goes on"
            }
            Self::NeverPrepared => "look at the load of the host; the old version goes on",
            Self::OldDied => "try again",
            Self::Stopping => "start a server once that one has ended",
        }
    }
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The new worker is being prepared; the old one serves.
    Preparing,
    /// The old worker gives way. `lost`: the new one is dead.
    Retiring { lost: bool },
    /// The new worker begins.
    Starting,
    /// It is over.
    Over,
}

/// Decides. Without I/O or clock.
#[derive(Debug)]
pub(crate) struct Handover {
    stage: Stage,
}

impl Handover {
    /// Begins with a new worker launched by the caller, who arms the timer for [`PREPARE`].
    pub(crate) fn new() -> Self {
        Self { stage: Stage::Preparing }
    }

    /// How far it has come.
    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// What to do about an event.
    pub(crate) fn next(&mut self, event: Event) -> Vec<Action> {
        use Stage::{Over, Preparing, Retiring, Starting};
        let (stage, actions) = match (self.stage, event) {
            (Preparing, Event::Prepared) => {
                (Retiring { lost: false }, vec![Action::Retire, Action::Arm(RETIRE)])
            }
            (Preparing, Event::NewDied) => (Over, vec![Action::Fail(Failed::NotPrepared)]),
            (Preparing, Event::Elapsed) => Self::give_up(Failed::NeverPrepared),
            (Preparing, Event::OldDied) => Self::give_up(Failed::OldDied),
            (Preparing, Event::Cancel) => Self::give_up(Failed::Stopping),
            (Retiring { .. }, Event::NewDied) => (Retiring { lost: true }, vec![]),
            (Retiring { lost: false }, Event::Released | Event::OldDied) => {
                (Starting, vec![Action::Go, Action::Arm(START)])
            }
            (Retiring { lost: true }, Event::Released | Event::OldDied) => {
                (Over, vec![Action::Restore, Action::Fail(Failed::NotReady)])
            }
            (stage @ Retiring { .. }, Event::Elapsed) => (stage, vec![Action::KillOld]),
            (Starting, Event::Ready) => (Over, vec![Action::Succeed]),
            (Starting, Event::NewDied) => (Over, vec![Action::Fail(Failed::NotReady)]),
            (Starting, Event::Elapsed) => (Starting, vec![Action::KillNew]),
            // What is late, or of no meaning here. A stop waits until the place is taken again.
            (stage, _) => (stage, vec![]),
        };
        self.stage = stage;
        actions
    }

    fn give_up(why: Failed) -> (Stage, Vec<Action>) {
        (Stage::Over, vec![Action::KillNew, Action::Fail(why)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 7] = [
        Event::Prepared,
        Event::Released,
        Event::OldDied,
        Event::Ready,
        Event::NewDied,
        Event::Elapsed,
        Event::Cancel,
    ];

    #[test]
    fn all_goes_well() {
        let mut h = Handover::new();
        assert_eq!(h.next(Event::Prepared), [Action::Retire, Action::Arm(RETIRE)]);
        assert_eq!(h.next(Event::Released), [Action::Go, Action::Arm(START)]);
        assert_eq!(h.next(Event::Ready), [Action::Succeed]);
        assert_eq!(h.stage(), Stage::Over);
    }

    #[test]
    fn before_the_old_one_was_asked_nothing_is_changed() {
        for (event, why) in [
            (Event::NewDied, Failed::NotPrepared),
            (Event::Elapsed, Failed::NeverPrepared),
            (Event::Cancel, Failed::Stopping),
        ] {
            let mut h = Handover::new();
            let actions = h.next(event);
            assert!(actions.contains(&Action::Fail(why)), "{event:?}: {actions:?}");
            assert!(!actions.iter().any(|a| matches!(a, Action::Retire | Action::Go | Action::KillOld)));
        }
    }

    /// Walks every order of events and keeps count of who may own the state.
    #[test]
    fn in_no_order_do_two_workers_own_the_state() {
        fn walk(h: &Handover, old: bool, new: bool, granted: bool, depth: u32) {
            assert!(!(granted && old), "both own the state");
            if depth == 0 || h.stage() == Stage::Over {
                return;
            }
            for event in EVENTS {
                let (mut old, mut new, mut granted) = (old, new, granted);
                match event {
                    Event::Released
                        if h.stage() != (Stage::Retiring { lost: false })
                            && h.stage() != (Stage::Retiring { lost: true }) =>
                    {
                        continue;
                    }
                    Event::Released | Event::OldDied => old = false,
                    Event::NewDied => (new, granted) = (false, false),
                    Event::Prepared | Event::Ready if !new => continue,
                    _ => {}
                }
                let mut after = Handover { stage: h.stage() };
                for action in after.next(event) {
                    match action {
                        Action::Go => granted = true,
                        Action::Restore => {
                            assert!(!granted, "restored while the new one may own the state");
                            old = true;
                        }
                        Action::Succeed => assert!(new && !old),
                        _ => {}
                    }
                }
                walk(&after, old, new, granted, depth - 1);
            }
        }
        walk(&Handover::new(), true, true, false, 6);
    }

    #[test]
    fn a_worker_that_does_not_give_way_or_does_not_begin_is_killed() {
        let mut h = Handover::new();
        h.next(Event::Prepared);
        assert_eq!(h.next(Event::Elapsed), [Action::KillOld]);
        assert_eq!(h.next(Event::OldDied), [Action::Go, Action::Arm(START)]);
        assert_eq!(h.next(Event::Cancel), [], "a stop waits");
        assert_eq!(h.next(Event::Elapsed), [Action::KillNew]);
        assert_eq!(h.next(Event::NewDied), [Action::Fail(Failed::NotReady)]);
    }
}
