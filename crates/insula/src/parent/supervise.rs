//! What the parent does about its worker: decided here, done in [`super`].
//!
//! ```text
//!            ┌────────── died: at once, then after back-off ──────────┐
//!            ▼                                                        │
//!  start ► launching ──ready──► serving ──died──► (waiting) ──elapsed─┘
//!            │ died before it was ever ready        │
//!            ▼                                      │ asked to stop
//!           quit ◄──died── stopping ◄───────────────┴── (from any state)
//! ```
//! A worker that cannot start the first time ends the program: the operator is there to read why. One that
//! was ready once is started again for ever, because instances depend on it. While it is away the listeners
//! stay open, and what connects waits.
//!
//! Asked once, the worker drains and stops all instances; one that is killed meanwhile is started again to go
//! on, a few times. Asked twice, it does not wait for requests. Asked a third time, or when it takes too long,
//! it is killed and instances are left as they are.

use std::time::Duration;

/// Delay before the second restart in a row; the first is immediate.
const BACKOFF: Duration = Duration::from_millis(200);

/// Longest delay.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// A worker that was ready for so long counts as having worked: its end begins a new row.
const STABLE: Duration = Duration::from_secs(10);

/// Workers that may die before the instances are stopped until that is given up.
const STOP_TRIES: u32 = 3;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The worker says that it serves.
    Ready,
    /// The worker ended.
    Died(End),
    /// The timer went off.
    Elapsed,
    /// Somebody wants the whole to end.
    Asked,
    /// Another worker was put in the place of the one that served (see [`super::handover`]).
    Swapped,
}

/// How the worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With this status.
    Code(u8),
    /// By this signal.
    Signal(i32),
    /// It could not even be started.
    NotStarted,
}

/// What to do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a worker.
    Launch,
    /// Ask it to drain and stop all instances.
    Shutdown,
    /// Ask it not to wait for requests any longer.
    Hurry,
    /// Kill it.
    Kill,
    /// Close the listeners, so that nobody waits in vain.
    CloseListeners,
    /// Set the only timer.
    Arm(Duration),
    /// Forget the timer.
    Disarm,
    /// End the program with this status.
    Quit(u8),
}

/// Where the worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Launching,
    Serving { since: Duration },
    Waiting,
    Stopping { asked: u32, deaths: u32 },
    Killed,
    Ended,
}

/// Decides. Without I/O, clock or lock: time comes in with the events.
#[derive(Debug)]
pub(crate) struct Supervisor {
    state: State,
    /// Whether any worker was ever ready.
    proven: bool,
    /// Deaths in a row.
    row: u32,
    /// How long a stop may take.
    stop_timeout: Duration,
}

impl Supervisor {
    /// Begins with a worker to be launched by the caller.
    pub(crate) fn new(stop_timeout: Duration) -> Self {
        Self { state: State::Launching, proven: false, row: 0, stop_timeout }
    }

    /// Whether a worker serves, and nothing else is under way.
    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.state, State::Serving { .. })
    }

    /// How long a stop may take from now on.
    pub(crate) fn set_stop_timeout(&mut self, limit: Duration) {
        self.stop_timeout = limit;
    }

    /// What to do about an event; `now` is the time since the program began.
    pub(crate) fn next(&mut self, now: Duration, event: Event) -> Vec<Action> {
        match (self.state, event) {
            (State::Ended, _) => vec![],
            (State::Killed, Event::Died(end)) => self.quit(status(end)),
            (State::Killed, _) => vec![],
            (State::Stopping { asked, deaths }, event) => self.stopping(asked, deaths, event),
            (_, Event::Asked) => self.ask(),
            (State::Launching, Event::Ready) => {
                self.proven = true;
                self.state = State::Serving { since: now };
                vec![]
            }
            (State::Launching, Event::Died(end)) if !self.proven => self.quit(status(end)),
            (State::Launching, Event::Died(_)) => self.again(),
            (State::Serving { since }, Event::Died(_)) => {
                if now.saturating_sub(since) >= STABLE {
                    self.row = 0;
                }
                self.again()
            }
            (State::Serving { .. }, Event::Swapped) => {
                self.state = State::Launching;
                vec![]
            }
            (State::Waiting, Event::Elapsed) => self.launch(),
            // Late news of something that is over.
            (State::Waiting, _) | (State::Launching | State::Serving { .. }, _) => vec![],
        }
    }

    fn launch(&mut self) -> Vec<Action> {
        self.state = State::Launching;
        vec![Action::Launch]
    }

    fn again(&mut self) -> Vec<Action> {
        self.row += 1;
        if self.row == 1 {
            return self.launch();
        }
        self.state = State::Waiting;
        vec![Action::Arm(backoff(self.row))]
    }

    fn ask(&mut self) -> Vec<Action> {
        // Without a worker nobody could stop the instances, so one is started to do it.
        let launch = (self.state == State::Waiting).then_some(Action::Launch);
        self.state = State::Stopping { asked: 1, deaths: 0 };
        let rest = [Action::CloseListeners, Action::Shutdown, Action::Arm(self.stop_timeout)];
        launch.into_iter().chain(rest).collect()
    }

    fn stopping(&mut self, asked: u32, deaths: u32, event: Event) -> Vec<Action> {
        match event {
            Event::Died(End::Signal(_) | End::NotStarted) if deaths < STOP_TRIES => {
                self.state = State::Stopping { asked, deaths: deaths + 1 };
                let hurry = (asked > 1).then_some(Action::Hurry);
                [Action::Launch, Action::Shutdown].into_iter().chain(hurry).collect()
            }
            Event::Died(end) => self.quit(status(end)),
            Event::Asked if asked == 1 => {
                self.state = State::Stopping { asked: 2, deaths };
                vec![Action::Hurry]
            }
            Event::Elapsed | Event::Asked => {
                self.state = State::Killed;
                vec![Action::Kill]
            }
            Event::Ready | Event::Swapped => vec![],
        }
    }

    fn quit(&mut self, code: u8) -> Vec<Action> {
        self.state = State::Ended;
        vec![Action::Disarm, Action::Quit(code)]
    }
}

fn status(end: End) -> u8 {
    match end {
        End::Code(code) => code,
        End::Signal(_) | End::NotStarted => 1,
    }
}

/// Delay before the restart after so many deaths in a row.
fn backoff(row: u32) -> Duration {
    BACKOFF.saturating_mul(1 << row.saturating_sub(2).min(16)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: Duration = Duration::from_secs(20);
    const KILLED: Event = Event::Died(End::Signal(9));

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn serving() -> Supervisor {
        let mut s = Supervisor::new(STOP);
        assert_eq!(s.next(at(0), Event::Ready), []);
        s
    }

    #[test]
    fn a_worker_that_never_started_ends_the_program_with_its_code() {
        let mut s = Supervisor::new(STOP);
        let quit = s.next(at(1), Event::Died(End::Code(6)));
        assert_eq!(quit, [Action::Disarm, Action::Quit(6)]);
        assert_eq!(s.next(at(2), Event::Asked), [], "nothing is done after the end");
    }

    #[test]
    fn a_worker_that_served_is_started_again_at_once_then_later_and_later() {
        let mut s = serving();
        assert_eq!(s.next(at(1), KILLED), [Action::Launch]);
        let mut waits = vec![];
        for _ in 0..8 {
            let actions = s.next(at(1), KILLED);
            let [Action::Arm(wait)] = actions[..] else { panic!("{actions:?}") };
            waits.push(wait.as_millis());
            assert_eq!(s.next(at(1), Event::Elapsed), [Action::Launch]);
        }
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }

    #[test]
    fn a_long_life_begins_a_new_row() {
        let mut s = serving();
        assert_eq!(s.next(at(1), KILLED), [Action::Launch]);
        assert_eq!(s.next(at(1), Event::Ready), []);
        assert!(matches!(s.next(at(2), KILLED)[..], [Action::Arm(_)]), "a short life does not");
        s.next(at(3), Event::Elapsed);
        s.next(at(3), Event::Ready);
        assert_eq!(s.next(at(13), KILLED), [Action::Launch]);
    }

    #[test]
    fn asked_to_stop_it_drains_then_hurries_then_kills() {
        let mut s = serving();
        let asked = s.next(at(1), Event::Asked);
        assert_eq!(asked, [Action::CloseListeners, Action::Shutdown, Action::Arm(STOP)]);
        assert_eq!(s.next(at(1), Event::Asked), [Action::Hurry]);
        assert_eq!(s.next(at(1), Event::Asked), [Action::Kill]);
        assert_eq!(s.next(at(1), KILLED), [Action::Disarm, Action::Quit(1)]);
    }

    #[test]
    fn a_worker_put_in_the_place_of_another_is_followed_by_one_when_it_dies() {
        let mut s = serving();
        assert_eq!(s.next(at(1), Event::Swapped), []);
        assert!(!s.is_serving());
        assert_eq!(s.next(at(1), KILLED), [Action::Launch]);
        assert_eq!(s.next(at(2), Event::Ready), []);
        assert!(s.is_serving());
    }

    #[test]
    fn a_clean_stop_exits_with_zero_and_a_slow_one_is_killed() {
        let mut clean = serving();
        clean.next(at(1), Event::Asked);
        let quit = clean.next(at(2), Event::Died(End::Code(0)));
        assert_eq!(quit, [Action::Disarm, Action::Quit(0)]);

        let mut slow = serving();
        slow.next(at(1), Event::Asked);
        assert_eq!(slow.next(at(21), Event::Elapsed), [Action::Kill]);
    }

    #[test]
    fn a_worker_that_is_killed_while_stopping_is_followed_by_one_that_goes_on() {
        let mut s = serving();
        s.next(at(1), Event::Asked);
        for _ in 0..STOP_TRIES {
            assert_eq!(s.next(at(1), KILLED), [Action::Launch, Action::Shutdown]);
        }
        assert_eq!(s.next(at(1), KILLED), [Action::Disarm, Action::Quit(1)], "it is given up in the end");
        let mut own = serving();
        own.next(at(1), Event::Asked);
        assert_eq!(own.next(at(21), Event::Elapsed), [Action::Kill]);
        assert_eq!(
            own.next(at(21), KILLED),
            [Action::Disarm, Action::Quit(1)],
            "killed by its parent it is over"
        );
    }

    #[test]
    fn asked_to_stop_without_a_worker_it_starts_one_to_stop_the_instances() {
        let mut s = serving();
        s.next(at(1), KILLED);
        s.next(at(1), KILLED);
        let asked = s.next(at(1), Event::Asked);
        assert_eq!(asked, [Action::Launch, Action::CloseListeners, Action::Shutdown, Action::Arm(STOP)]);
    }

    #[test]
    fn a_worker_that_cannot_be_executed_counts_as_dead() {
        let mut s = serving();
        assert_eq!(s.next(at(1), KILLED), [Action::Launch]);
        assert!(matches!(s.next(at(1), Event::Died(End::NotStarted))[..], [Action::Arm(_)]));
    }
}
