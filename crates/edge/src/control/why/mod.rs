//! `insula why`: the event log, joined into causes.
//!
//! ```text
//! status, events, stderr ──find──► Finding { code, cause, remediation } ──tell──► text
//! ```
//! Everything here is pure; [`super::live`] gathers what goes in. The same finding is given as text and as
//! data, so that a person and a program are told the same thing.

mod disk;
mod failure;
mod finding;
mod request;
mod text;

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use insula_api::{Status, Why, WhyEvent};
use insula_spec::{InstanceName, ServiceSpec};
use insula_store::{Event, EventKind, EventRow, RequestRecord};

pub(super) use request::{RequestCase, Source, explain_request, request};

/// What is known about one instance.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) name: &'a InstanceName,
    pub(super) spec: &'a ServiceSpec,
    pub(super) status: Status,
    /// Newest first.
    pub(super) events: Vec<EventRow>,
    /// The newest lines of standard error and when they were written, oldest first.
    pub(super) stderr: Vec<(SystemTime, String)>,
    /// Its notable requests, newest first.
    pub(super) requests: Vec<RequestRecord>,
    /// A request that takes longer is slow.
    pub(super) slow: Duration,
}

impl Case<'_> {
    /// Events without their rows, newest first.
    fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().map(|row| &row.event)
    }

    /// What the last life wrote to standard error: everything since the life before it ended.
    fn last_words(&self) -> Vec<&str> {
        let ended = |e: &&Event| matches!(e.kind, EventKind::Exited | EventKind::StartFailed);
        let since = self.events().filter(ended).nth(1).map(|e| e.time);
        let late = |time: SystemTime| since.is_none_or(|since| time > since);
        self.stderr.iter().filter(|(time, _)| late(*time)).map(|(_, line)| line.as_str()).collect()
    }
}

/// The answer.
pub(super) fn explain(case: Case<'_>) -> Why {
    let finding = finding::find(&case);
    let stderr = if finding.failed { case.last_words() } else { Vec::new() };
    let text = text::tell(&case, &finding, &stderr);
    let stderr = stderr.into_iter().map(str::to_owned).collect();
    let event = |row: EventRow| WhyEvent {
        time: row.event.time.into(),
        kind: row.event.kind.as_str().to_owned(),
        cause: row.event.cause,
    };
    Why {
        name: case.name.clone(),
        status: case.status,
        finding: finding.cause,
        stderr,
        events: case.events.into_iter().map(event).collect(),
        text,
    }
}
