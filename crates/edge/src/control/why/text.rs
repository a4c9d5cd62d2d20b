//! A finding as text.

use insula_api::Timestamp;

use super::Case;
use super::finding::Finding;

/// Most events shown.
const EVENTS: usize = 12;

/// Most lines of standard error shown.
const LINES: usize = 10;

pub(super) fn tell(case: &Case<'_>, finding: &Finding, stderr: &[&str]) -> String {
    let cause = &finding.cause;
    let mut lines = vec![headline(case, &cause.cause)];
    if !stderr.is_empty() {
        lines.push("last lines on standard error:".to_owned());
        let skipped = stderr.len().saturating_sub(LINES);
        lines.extend(stderr.iter().skip(skipped).map(|line| format!("  | {line}")));
    }
    if !case.events.is_empty() {
        lines.push("what happened, newest first:".to_owned());
        lines.extend(case.events().take(EVENTS).map(|event| {
            let time = Timestamp::from(event.time);
            format!("  {time}  {:<12}  {}", event.kind.as_str(), event.cause).trim_end().to_owned()
        }));
    }
    if !cause.remediation.is_empty() {
        lines.push(format!("hint: {}", cause.remediation));
    }
    lines.join("\n")
}

fn headline(case: &Case<'_>, cause: &str) -> String {
    let state = match case.status.observed {
        insula_api::Observed::BackingOff => "is about to be started again".to_owned(),
        insula_api::Observed::Failed => "failed".to_owned(),
        other => format!("is {other}"),
    };
    if cause.is_empty() {
        format!("{} {state}", case.name)
    } else {
        format!("{} {state}: {cause}", case.name)
    }
}
