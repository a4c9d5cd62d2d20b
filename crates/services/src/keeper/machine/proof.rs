//! What is deployed shows that it is healthy before requests are let in.
//!
//! ```text
//! listening ──► check ──► healthy ──► running: those who wait are let in
//!                 ▲  │ not yet
//!                 └──┤ in a moment
//!                    └ time is up, or it ended ──► a failed start, as any other: they are told
//! ```

use std::time::Duration;

use tokio::time::Instant;

use super::{Action, Check, Health, Note, State, Step, Turn, Why};

/// Longest time between two checks. A program has no way to say that it is healthy from now on, so it has to
/// be asked.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

impl Turn<'_> {
    pub(super) fn begin_proof(&mut self, limit: Instant) {
        if let State::Starting { until, .. } = &mut self.m.state {
            *until = limit;
        }
        self.prove();
    }

    /// Begins one check.
    fn prove(&mut self) {
        if let (State::Starting { step, .. }, Some(rule)) = (&mut self.m.state, &self.spec.health) {
            *step = Step::Proving(Check::Until(self.now + rule.timeout));
            self.act(Action::Check);
        }
    }

    /// The time of the next step of the proof has come, perhaps.
    pub(super) fn proof_due(&mut self, check: Check, until: Instant) {
        match check {
            _ if self.now >= until => self.unproved(),
            Check::At(at) if self.now >= at => self.prove(),
            Check::Until(at) if self.now >= at => self.proved(Err("no answer in time".into()), until),
            _ => {}
        }
    }

    /// A check of the proof ended.
    pub(super) fn proved(&mut self, result: Result<(), Why>, until: Instant) {
        let Some(rule) = &self.spec.health else { return };
        let Err(why) = result else {
            self.note(Note::Health(Health::Healthy));
            self.run();
            if let State::Running { health, .. } = &mut self.m.state {
                *health = Health::Healthy;
            }
            return;
        };
        self.m.why = Some(format!("health check failed: {why}").into());
        let next = self.now + rule.interval.min(PAUSE);
        if let State::Starting { step, .. } = &mut self.m.state {
            *step = Step::Proving(Check::At(next.min(until)));
        }
    }

    /// Time is up.
    fn unproved(&mut self) {
        let why = self.m.why.clone().unwrap_or_else(|| "its health was not checked in time".into());
        self.note(Note::StartFailed(why.clone()));
        let then = self.after_failure(why);
        self.failed_start(then);
    }
}
