//! What happens to an instance by itself: starts, ends, idles, falls ill.

use std::time::Duration;

use insula_isolation::Exit;
use insula_spec::config::{RestartMode, SleepMode};
use insula_store::Wanted;
use tokio::time::Instant;

use super::{Action, Answer, Cause, Check, Health, Note, RETRY_SOON, State, Step, Then, Turn, Walls, Why};
use crate::failure::Failure;

impl Turn<'_> {
    pub(super) fn start(&mut self, cause: Cause) {
        self.m.wanted = Wanted::Up;
        if cause == Cause::Recovered {
            self.m.restarts.push_back(self.now);
        } else {
            self.m.why = None;
            self.m.restarts.clear();
        }
        let until = self.now + self.spec.startup_timeout;
        let prove = if let Cause::Replaced { until } = cause { Some(until) } else { None };
        self.m.state = State::Starting { step: Step::Launching, until, cause, prove };
        self.act(if self.m.walls == Walls::Shell { Action::Relaunch } else { Action::Launch });
    }

    pub(super) fn adopted(&mut self, listening: bool, paused: bool) {
        self.m.walls = Walls::Alive;
        self.note(Note::Adopted);
        if paused {
            self.m.wanted = Wanted::Asleep;
            self.m.state = State::Frozen;
            return;
        }
        self.m.wanted = Wanted::Up;
        if listening {
            self.run();
        } else {
            let until = self.now + self.spec.startup_timeout;
            let cause = Cause::Recovered;
            self.m.state = State::Starting { step: Step::Listening, until, cause, prove: None };
        }
    }

    pub(super) fn launched(&mut self) {
        self.m.walls = Walls::Alive;
        match &mut self.m.state {
            State::Starting { step, until, cause, .. } => {
                *step = Step::Committing;
                *until = self.now + self.spec.startup_timeout;
                let cause = *cause;
                self.act(Action::Commit(cause));
            }
            _ => self.operation_over(),
        }
    }

    pub(super) fn launch_failed(&mut self, why: Why, permanent: bool) {
        self.m.walls = Walls::None;
        self.note(Note::StartFailed(why.clone()));
        match self.m.state.clone() {
            State::Starting { .. } if permanent => {
                let retry_at = self.now + self.spec.restart.backoff_max;
                self.failed_start(Then::Failed { why, retry_at });
            }
            State::Starting { .. } => {
                let then = self.after_failure(why);
                self.failed_start(then);
            }
            State::Stopping { then, busy: true } => self.settle(then),
            _ => {}
        }
    }

    pub(super) fn committed(&mut self) {
        match &mut self.m.state {
            State::Starting { step, .. } => *step = Step::Listening,
            _ => self.operation_over(),
        }
    }

    pub(super) fn commit_failed(&mut self, why: Why) {
        match self.m.state {
            State::Starting { .. } => {
                self.note(Note::StartFailed(why.clone()));
                let then = self.after_failure(why);
                self.failed_start(then);
            }
            _ => self.operation_over(),
        }
    }

    pub(super) fn listening(&mut self) {
        if let State::Starting { step: Step::Listening, prove, .. } = self.m.state {
            self.note(Note::Ready);
            match prove {
                Some(until) if until > self.now && self.spec.health.is_some() => self.begin_proof(until),
                _ => self.run(),
            }
        }
    }

    /// Opens for requests.
    pub(super) fn run(&mut self) {
        self.m.wanted = Wanted::Up;
        self.m.why = None;
        let check = self.spec.health.as_ref().map_or(Check::Off, |h| Check::At(self.now + h.interval));
        let idle_at = self.spec.idle_timeout.map(|t| self.now + t);
        self.m.state = State::Running { health: Health::Unknown, check, idle_at };
        self.act(Action::OpenGate);
        self.answer(Answer::Ready);
    }

    pub(super) fn exited(&mut self, exit: Exit) {
        if self.m.walls != Walls::Alive || matches!(self.m.state, State::Stopping { .. }) {
            return;
        }
        self.m.walls = if exit == Exit::Lost { Walls::Broken } else { Walls::Shell };
        let why: Why = exit.to_string().into();
        self.m.why = Some(why.clone());
        self.note(Note::Exited(exit));
        match self.m.state.clone() {
            State::Starting { step, .. } => {
                let proving = matches!(step, Step::Proving(_));
                let before = if proving { "it was healthy" } else { "it accepted connections" };
                let then = self.after_failure(format!("{why} before {before}").into());
                self.failed_start(then);
            }
            State::Running { .. } => {
                self.act(Action::CloseGate);
                let then = self.after_exit(exit, why);
                self.finish(then);
            }
            State::Draining { then, .. } => self.finish(then),
            _ => {
                self.m.wanted = Wanted::Asleep;
                self.finish(Then::Asleep);
            }
        }
    }

    /// What the restart policy says about the end of a running workload.
    fn after_exit(&mut self, exit: Exit, why: Why) -> Then {
        let again = match self.spec.restart.mode {
            RestartMode::Always => true,
            RestartMode::OnFailure => !exit.success(),
            RestartMode::Never => false,
        };
        if again || !exit.success() {
            return self.after_failure(why);
        }
        self.m.wanted = Wanted::Asleep;
        Then::Asleep
    }

    /// Whether a failure is followed by a restart, and when.
    pub(super) fn after_failure(&mut self, why: Why) -> Then {
        let policy = &self.spec.restart;
        self.m.why = Some(why.clone());
        if policy.mode == RestartMode::Never {
            return Then::Failed { why, retry_at: self.now + policy.backoff };
        }
        let window = policy.window;
        while self.m.restarts.front().is_some_and(|at| self.now.saturating_duration_since(*at) >= window) {
            self.m.restarts.pop_front();
        }
        let so_far = u32::try_from(self.m.restarts.len()).unwrap_or(u32::MAX);
        if so_far >= policy.max_restarts {
            let text = format!("{why}; restarted {so_far} times within {window:?}, which is the limit");
            return Then::Failed { why: why.reworded(text), retry_at: self.now + policy.backoff_max };
        }
        let until = self.now + delay(so_far, policy.backoff, policy.backoff_max);
        Then::BackOff { until, why }
    }

    /// A start failed: whoever waited for it is told at once.
    pub(super) fn failed_start(&mut self, then: Then) {
        let (why, at) = match &then {
            Then::Failed { why, retry_at } => (why.clone(), *retry_at),
            Then::BackOff { why, until } => (why.clone(), *until),
            _ => ("it could not be started".into(), self.now + RETRY_SOON),
        };
        self.m.why = Some(why.clone());
        self.refuse_until(why, at);
        self.finish(then);
    }

    pub(super) fn idle(&mut self) {
        if !matches!(self.m.state, State::Running { .. }) {
            return;
        }
        self.m.wanted = Wanted::Asleep;
        self.m.why = Some("idle".into());
        match self.spec.sleep {
            SleepMode::Stop => self.finish(Then::Asleep),
            SleepMode::Freeze => {
                self.m.state = State::Freezing;
                self.act(Action::Freeze);
            }
        }
    }

    pub(super) fn idle_timer(&mut self, at: Option<Instant>) {
        if let State::Running { idle_at, .. } = &mut self.m.state {
            *idle_at = at;
        }
    }

    pub(super) fn quiet(&mut self) {
        if let State::Draining { then, .. } = self.m.state.clone() {
            self.finish(then);
        }
    }

    pub(super) fn froze(&mut self, result: Result<(), Why>) {
        match (self.m.state.clone(), result) {
            (State::Freezing, Ok(())) if self.m.waiting > 0 => self.thaw(),
            (State::Freezing, Ok(())) => {
                self.note(Note::Frozen);
                self.m.state = State::Frozen;
            }
            (State::Freezing, Err(why)) => {
                self.note(Note::Refused(why.clone()));
                self.run();
                self.m.why = Some(why);
            }
            _ => self.operation_over(),
        }
    }

    pub(super) fn thaw(&mut self) {
        self.m.state = State::Thawing;
        self.act(Action::Thaw);
    }

    pub(super) fn thawed(&mut self, result: Result<(), Why>) {
        match (&self.m.state, result) {
            (State::Thawing, Ok(())) => {
                self.note(Note::Thawed);
                self.run();
            }
            (State::Thawing, Err(why)) => {
                self.note(Note::StartFailed(why.clone()));
                let then = self.after_failure(why);
                self.failed_start(then);
            }
            _ => self.operation_over(),
        }
    }

    pub(super) fn ended(&mut self) {
        if let State::Stopping { then, busy: false } = self.m.state.clone() {
            self.m.walls = Walls::None;
            self.settle(then);
        }
    }

    /// An operation is over that a stop was waiting for.
    fn operation_over(&mut self) {
        if let State::Stopping { busy: busy @ true, .. } = &mut self.m.state {
            *busy = false;
            self.act(Action::Stop { graceful: true });
        }
    }

    pub(super) fn tick(&mut self) {
        let now = self.now;
        match self.m.state.clone() {
            State::Starting { step: Step::Listening, until, .. } if now >= until => {
                let limit = self.spec.startup_timeout;
                let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                let why = Why::of(
                    format!("it did not accept connections within {limit:?} (`startup_timeout`)"),
                    Failure::NeverListened { limit_ms },
                );
                self.note(Note::StartFailed(why.clone()));
                let then = self.after_failure(why);
                self.failed_start(then);
            }
            State::Starting { step: Step::Proving(check), until, .. } => self.proof_due(check, until),
            State::Draining { until, then } if now >= until => self.finish(then),
            State::BackingOff { until, .. } if now >= until => self.start(Cause::Recovered),
            State::Running { check: Check::At(at), .. } if now >= at => self.begin_check(),
            State::Running { check: Check::Until(at), .. } if now >= at => {
                self.checked(Err("no answer in time".into()));
            }
            _ => {}
        }
    }

    fn begin_check(&mut self) {
        if let (State::Running { check, .. }, Some(health)) = (&mut self.m.state, &self.spec.health) {
            *check = Check::Until(self.now + health.timeout);
            self.act(Action::Check);
        }
    }

    pub(super) fn checked(&mut self, result: Result<(), Why>) {
        let Some(rule) = &self.spec.health else { return };
        if let State::Starting { step: Step::Proving(Check::Until(_)), until, .. } = self.m.state {
            return self.proved(result, until);
        }
        let State::Running { health, check: check @ Check::Until(_), .. } = &mut self.m.state else { return };
        *check = Check::At(self.now + rule.interval);
        let before = std::mem::replace(health, Health::Healthy);
        let Err(why) = result else {
            self.m.why = None;
            if before != Health::Healthy {
                self.note(Note::Health(Health::Healthy));
            }
            return;
        };
        let failures = 1 + if let Health::Failing { failures, .. } = before { failures } else { 0 };
        let now = Health::Failing { failures, ill: failures >= rule.failures, why: why.clone() };
        *health = now.clone();
        let why: Why = format!("health check failed: {why}").into();
        self.m.why = Some(why.clone());
        if failures <= rule.failures {
            self.note(Note::Health(now));
        }
        if failures == rule.failures && self.spec.restart.mode != RestartMode::Never {
            self.act(Action::CloseGate);
            let then = self.after_failure(format!("{why} ({failures} times in a row)").into());
            self.finish(then);
        }
    }
}

/// Time before restart number `so_far + 1`: none, then `first`, doubling up to `max`.
fn delay(so_far: u32, first: Duration, max: Duration) -> Duration {
    match so_far {
        0 => Duration::ZERO,
        n => first.saturating_mul(1_u32.checked_shl(n - 1).unwrap_or(u32::MAX)).min(max),
    }
}
