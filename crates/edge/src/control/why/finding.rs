//! Status and events to one finding.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use insula_api::{Cause, Condition, Observed};
use insula_store::EventKind;

use super::failure::{self, Failure};
use super::request::{headline, is_recent_failure, judge};
use super::{Case, disk};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) cause: Cause,
    /// Whether it is about a failure, so that standard error matters.
    pub(super) failed: bool,
}

pub(super) fn find(case: &Case<'_>) -> Finding {
    let events: Vec<_> = case.events().collect();
    let newest = || {
        let failure = failure::newest(events.iter().copied())?;
        Some(disk::behind(failure, events.iter().copied(), &case.last_words()))
    };
    match case.status.observed {
        Observed::Starting | Observed::Stopping if !has_failed(case) => plain(case),
        Observed::Failed | Observed::BackingOff | Observed::Starting | Observed::Stopping => {
            newest().map_or_else(|| plain(case), |failure| about(case, &failure))
        }
        Observed::Running if ill(case) => {
            let ill = Failure::Unhealthy { how: case.status.why.clone() };
            about(case, &disk::behind(ill, events.iter().copied(), &[]))
        }
        Observed::Running => request(case).unwrap_or_else(|| plain(case)),
        _ => plain(case),
    }
}

/// It runs; but its newest notable request of this life failed.
fn request(case: &Case<'_>) -> Option<Finding> {
    let since = UNIX_EPOCH + Duration::from_micros(case.status.since.micros());
    let newest = case.requests.first().filter(|r| is_recent_failure(r, since, SystemTime::now()))?;
    let found = judge(newest, Some(case.spec), &[], case.slow);
    let cause = format!("it runs, but {}: {}", headline(newest), found.cause);
    Some(Finding { cause: Cause { cause, ..found }, failed: true })
}

/// Whether a failure is the newest that is known: this start, or this end, follows it.
fn has_failed(case: &Case<'_>) -> bool {
    let after = [EventKind::Restarted, EventKind::Exited, EventKind::StartFailed];
    // What is told of its disk at an end comes behind the end.
    case.events().find(|e| e.kind != EventKind::Disk).is_some_and(|e| after.contains(&e.kind))
}

fn ill(case: &Case<'_>) -> bool {
    matches!(case.status.health, Some(Condition::Degraded | Condition::Unhealthy))
}

fn about(case: &Case<'_>, failure: &Failure) -> Finding {
    let cause = Cause {
        code: failure.code().to_owned(),
        cause: failure.cause(case.spec),
        remediation: failure.remediation(case.name, case.spec),
    };
    Finding { cause, failed: true }
}

/// Nothing is wrong: how it came to be as it is.
fn plain(case: &Case<'_>) -> Finding {
    let name = case.name;
    let last = |kinds: &[EventKind]| case.events().find(|e| kinds.contains(&e.kind)).map(|e| e.cause.clone());
    let or_why = |cause: Option<String>| cause.filter(|c| !c.is_empty()).unwrap_or(case.status.why.clone());
    let (cause, remediation) = match case.status.observed {
        Observed::Asleep => {
            (or_why(last(&[EventKind::Slept])), "nothing needs doing: the next request wakes it".to_owned())
        }
        Observed::Frozen => {
            (or_why(last(&[EventKind::Frozen])), "nothing needs doing: the next request thaws it".to_owned())
        }
        Observed::Stopped => {
            (or_why(last(&[EventKind::Stopped])), format!("run `insula spawn {name}` to start it again"))
        }
        Observed::Failed => {
            (case.status.why.clone(), format!("read `insula logs {name}`, then `insula restart {name}`"))
        }
        _ => {
            let started = [EventKind::Spawned, EventKind::Woken, EventKind::Restarted, EventKind::Adopted];
            (or_why(last(&started)), String::new())
        }
    };
    let cause = Cause { code: case.status.observed.as_str().to_owned(), cause, remediation };
    Finding { cause, failed: case.status.observed == Observed::Failed }
}
