//! What others ask of an instance: to run, to stop, to start anew, to go down.

use std::time::Duration;

use insula_store::Wanted;
use tokio::time::Instant;

use super::{Action, Answer, By, Cause, Note, RETRY_SOON, SHORT_WAIT, State, Step, Then, Turn, Why};

/// How long a stop or restart waits for requests that are inside.
const DRAIN: Duration = Duration::from_secs(5);

impl Turn<'_> {
    pub(super) fn wanted(&mut self, by: By) {
        self.m.waiting += 1;
        let operator = by == By::Operator;
        let cause = if operator { Cause::Spawned } else { Cause::Woken };
        match self.m.state.clone() {
            State::Down => self.answer(Answer::Down),
            State::Asleep => self.start(cause),
            State::Stopped if operator => self.start(cause),
            State::Stopped => self.answer(Answer::Stopped),
            State::Failed { retry_at, .. } if operator || self.now >= retry_at => self.start(cause),
            State::Failed { why, retry_at } => self.refuse_until(why, retry_at),
            State::Starting { .. } | State::Thawing | State::Freezing => {}
            State::Running { .. } => {
                if operator {
                    self.m.wanted = Wanted::Up;
                }
                self.answer(Answer::Ready);
            }
            State::Frozen => self.thaw(),
            State::BackingOff { .. } if operator => self.start(cause),
            State::BackingOff { until, why } => self.wait_or_refuse(why, until),
            State::Draining { then, .. } | State::Stopping { then, .. } => self.wanted_after(then, by),
        }
    }

    /// Wanted while it goes down: what comes then decides.
    fn wanted_after(&mut self, then: Then, by: By) {
        match then {
            Then::Down => self.answer(Answer::Down),
            Then::Asleep | Then::Restart(_) => {}
            _ if by == By::Operator => self.change_then(Then::Restart(Cause::Spawned)),
            Then::Stopped => self.answer(Answer::Stopped),
            Then::BackOff { until, why } => self.wait_or_refuse(why, until),
            Then::Failed { why, retry_at } => self.refuse_until(why, retry_at),
        }
    }

    fn change_then(&mut self, new: Then) {
        if let State::Draining { then, .. } | State::Stopping { then, .. } = &mut self.m.state {
            *then = new;
        }
    }

    /// Waiters stay if the restart is near, otherwise they are told when it will be.
    pub(super) fn wait_or_refuse(&mut self, why: Why, until: Instant) {
        if until.saturating_duration_since(self.now) > SHORT_WAIT {
            self.refuse_until(why, until);
        }
    }

    pub(super) fn refuse_until(&mut self, why: Why, at: Instant) {
        let retry_after = at.saturating_duration_since(self.now).max(RETRY_SOON);
        self.answer(Answer::Failed { why, retry_after });
    }

    pub(super) fn stop_asked(&mut self) {
        self.m.wanted = Wanted::Stopped;
        let rests = self.m.state == State::Stopped;
        self.answer(Answer::Stopped);
        if !rests && !self.is_going_for_good() {
            self.bring_down(Then::Stopped, DRAIN);
        }
    }

    /// Only what rests in being up goes to sleep; what is on its way somewhere else gets there.
    pub(super) fn sleep_asked(&mut self) {
        if matches!(self.m.state, State::Running { .. } | State::Frozen) {
            self.m.wanted = Wanted::Asleep;
            self.m.why = Some("another version answers in its place".into());
            self.bring_down(Then::Asleep, DRAIN);
        }
    }

    pub(super) fn restart_asked(&mut self) {
        self.m.waiting += 1;
        if self.is_going_for_good() {
            return self.answer(Answer::Down);
        }
        if !matches!(self.m.state, State::Starting { .. }) {
            self.bring_down(Then::Restart(Cause::Restarted), DRAIN);
        }
    }

    /// As a restart; one that is on its way up already is to be healthy, too.
    pub(super) fn replace_asked(&mut self, until: Instant) {
        self.m.waiting += 1;
        if self.is_going_for_good() {
            return self.answer(Answer::Down);
        }
        match &mut self.m.state {
            State::Starting { prove, .. } => *prove = Some(until),
            _ => self.bring_down(Then::Restart(Cause::Replaced { until }), DRAIN),
        }
    }

    pub(super) fn down_asked(&mut self, drain: Duration) {
        self.answer(Answer::Down);
        self.bring_down(Then::Down, drain);
    }

    fn is_going_for_good(&self) -> bool {
        matches!(
            self.m.state,
            State::Down | State::Draining { then: Then::Down, .. } | State::Stopping { then: Then::Down, .. }
        )
    }

    /// Takes it down from wherever it is, and goes on with `next`.
    fn bring_down(&mut self, next: Then, drain: Duration) {
        match &mut self.m.state {
            State::Starting { step: Step::Launching | Step::Committing, .. }
            | State::Freezing
            | State::Thawing => {
                self.m.state = State::Stopping { then: next, busy: true };
            }
            State::Running { .. } => {
                self.act(Action::CloseGate);
                self.m.state = State::Draining { until: self.now + drain, then: next };
            }
            State::Draining { then, until } => {
                *until = (*until).min(self.now + drain);
                *then = next;
            }
            State::Stopping { then, .. } => *then = next,
            _ => self.finish(next),
        }
    }

    /// Goes on with `then`, after taking down what stands unless it can be used again.
    pub(super) fn finish(&mut self, then: Then) {
        use super::Walls;
        let again = matches!(then, Then::Restart(_) | Then::BackOff { .. });
        match self.m.walls {
            Walls::None => self.settle(then),
            Walls::Shell if again => self.settle(then),
            walls => {
                self.m.state = State::Stopping { then, busy: false };
                self.act(Action::Stop { graceful: walls == Walls::Alive });
            }
        }
    }

    /// Nothing runs: what now?
    pub(super) fn settle(&mut self, then: Then) {
        match then {
            Then::Asleep if self.m.waiting > 0 => {
                self.note(Note::Slept);
                self.start(Cause::Woken);
            }
            Then::Asleep => {
                self.note(Note::Slept);
                self.m.state = State::Asleep;
            }
            Then::Stopped => {
                self.m.why = Some("stopped by the operator".into());
                self.m.state = State::Stopped;
                self.note(Note::Stopped);
            }
            Then::Down => {
                self.m.state = State::Down;
                self.note(Note::Down);
            }
            Then::Restart(cause) => self.start(cause),
            Then::BackOff { until, .. } if until <= self.now => self.start(Cause::Recovered),
            Then::BackOff { until, why } => {
                self.wait_or_refuse(why.clone(), until);
                let delay = until.saturating_duration_since(self.now);
                self.m.why = Some(why.reworded(format!("{why}; next start in {delay:?}")));
                self.m.state = State::BackingOff { until, why };
            }
            Then::Failed { why, retry_at } => {
                self.note(Note::Failed(why.clone()));
                self.m.why = Some(why.clone());
                self.m.state = State::Failed { why, retry_at };
            }
        }
    }
}
