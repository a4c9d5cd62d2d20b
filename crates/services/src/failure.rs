//! Failures as data: what an event keeps for programs, beside its words.
//!
//! The journal writes a [`Failure`] into `Event::detail`; whoever explains an instance reads it back with
//! [`Failure::of`]. Nothing has to be told apart by text.

use insula_isolation::Exit;
use insula_store::Event;
use serde::{Deserialize, Serialize};

/// What went wrong with an instance. Stored as a JSON object whose `failure` names the kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "failure", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Failure {
    /// Its program could not be executed.
    Exec {
        /// First word of the command.
        program: String,
        /// What the kernel said (`errno(3)`), where it was the kernel that refused.
        errno: Option<i32>,
        /// What to do about it.
        hint: String,
    },
    /// It ran, and accepted no connection in time.
    NeverListened {
        /// `startup_timeout`, in milliseconds.
        limit_ms: u64,
    },
    /// Its main process ended.
    Ended {
        /// How.
        #[serde(flatten)]
        exit: Exit,
    },
    /// Checks of its health failed.
    Unhealthy {
        /// How many in a row.
        failures: u32,
        /// Whether these are as many as it takes to act.
        ill: bool,
    },
    /// It could not be started for another reason; the words of the event name it.
    NotStarted {
        /// What to do about it, where that is known.
        hint: Option<String>,
    },
}

impl Failure {
    /// The failure that an event tells of; `None` when it tells of none.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        Self::deserialize(&event.detail).ok()
    }

    /// What to do about it, where the failure itself knows.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Exec { hint, .. } => Some(hint),
            Self::NotStarted { hint } => hint.as_deref(),
            Self::NeverListened { .. } | Self::Ended { .. } | Self::Unhealthy { .. } => None,
        }
    }

    /// As the detail of an event.
    pub(crate) fn detail(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_else(|error| {
            tracing::error!(%error, failure = ?self, "cannot write a failure as JSON");
            serde_json::Value::Null
        })
    }
}

#[cfg(test)]
mod tests {
    use insula_store::EventKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_failure_is_read_back_as_itself() {
        let ended =
            [Exit::Code(3), Exit::Signal(9), Exit::Oom, Exit::Lost].map(|exit| Failure::Ended { exit });
        let others = [
            Failure::Exec { program: "app".into(), errno: Some(2), hint: "install it".into() },
            Failure::Exec { program: "app".into(), errno: None, hint: String::new() },
            Failure::NeverListened { limit_ms: 30_000 },
            Failure::Unhealthy { failures: 3, ill: true },
            Failure::NotStarted { hint: None },
            Failure::NotStarted { hint: Some("free memory".into()) },
        ];
        for failure in ended.into_iter().chain(others) {
            let event = Event::new(EventKind::StartFailed, "words").detail(failure.detail());
            assert_eq!(Failure::of(&event), Some(failure));
        }
    }

    #[test]
    fn the_form_is_the_documented_one() {
        let exec = Failure::Exec { program: "app".into(), errno: Some(2), hint: "h".into() };
        assert_eq!(exec.detail(), json!({ "failure": "exec", "program": "app", "errno": 2, "hint": "h" }));
        let ended = Failure::Ended { exit: Exit::Code(3) };
        assert_eq!(ended.detail(), json!({ "failure": "ended", "reason": "code", "value": 3 }));
        let oom = Failure::Ended { exit: Exit::Oom };
        assert_eq!(oom.detail(), json!({ "failure": "ended", "reason": "oom" }));
    }

    #[test]
    fn other_details_are_no_failures() {
        for detail in [json!(null), json!({}), json!({ "level": "vm" }), json!({ "failure": "unheard_of" })] {
            let event = Event::new(EventKind::Exited, "cannot execute `x`").detail(detail);
            assert_eq!(Failure::of(&event), None);
        }
    }
}
