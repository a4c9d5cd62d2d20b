//! What happened to one request: the exchange, joined with what happened to its instance.
//!
//! ```text
//! record of the exchange ──┐
//! events around it ────────┼──judge──► Cause ──tell──► text
//! the service's settings ──┘
//! ```

use std::time::{Duration, SystemTime};

use insula_api::{Cause, Known, Request, RequestWhy, Timestamp, WhyEvent};
use insula_spec::{InstanceName, ServiceSpec};
use insula_store::{Event, EventRow, RequestRecord};

use super::disk;
use super::failure::{self, seconds};
use crate::observe::Held;

/// Most lines of standard error shown.
const LINES: usize = 10;
/// Most events shown.
const EVENTS: usize = 12;

/// What is known of a request.
#[derive(Debug)]
pub(in crate::control) struct RequestCase<'a> {
    pub(in crate::control) id: String,
    pub(in crate::control) source: Source,
    /// What was asked for of its service.
    pub(in crate::control) spec: Option<&'a ServiceSpec>,
    /// A request that takes longer is slow: `slow_request`.
    pub(in crate::control) slow: Duration,
    /// What happened to its instance around it, newest first.
    pub(in crate::control) events: Vec<EventRow>,
    /// What its instance wrote to standard error, oldest first.
    pub(in crate::control) stderr: Vec<String>,
}

/// Where a request was found, or what the id alone tells.
#[derive(Debug)]
pub(in crate::control) enum Source {
    /// There it is.
    Found(Known, RequestRecord),
    /// This worker gave the id; this is what is held now.
    AgedOut(Held),
    /// An earlier worker may have given it.
    Earlier { epoch: u64, ours: u64, since: Timestamp },
    /// This home never gave it.
    Never,
}

/// The answer.
pub(in crate::control) fn explain_request(case: RequestCase<'_>) -> RequestWhy {
    let RequestCase { id, source, spec, slow, events, stderr } = case;
    let (known, record) = match source {
        Source::Found(known, record) => (known, record),
        Source::AgedOut(held) => return unknown(id, Known::AgedOut, aged_out(held)),
        Source::Earlier { epoch, ours, since } => {
            return unknown(id, Known::EarlierWorker, earlier(epoch, ours, since));
        }
        Source::Never => return unknown(id, Known::NeverGiven, never()),
    };
    let events: Vec<_> = events.into_iter().map(|row| row.event).collect();
    let finding = judge(&record, spec, &events, slow);
    let failed = record.status >= 500 || record.error.is_some();
    let stderr = if failed { stderr } else { Vec::new() };
    let text = tell(&record, &finding, &events, &stderr);
    let event = |e: Event| WhyEvent { time: e.time.into(), kind: e.kind.as_str().to_owned(), cause: e.cause };
    let events = events.into_iter().map(event).collect();
    RequestWhy { id, known, request: Some(request(record)), finding, stderr, events, text }
}

fn unknown(id: String, known: Known, finding: Cause) -> RequestWhy {
    let text = format!("request {id}: {}\nhint: {}", finding.cause, finding.remediation);
    RequestWhy { id, known, request: None, finding, stderr: Vec::new(), events: Vec::new(), text }
}

fn aged_out(held: Held) -> Cause {
    let since = held.since.map(|time| format!(", the oldest from {}", Timestamp::from(time)));
    cause(
        "aged_out",
        format!(
            "this worker served it, and has forgotten it since; it holds the last {} exchanges{}, and records \
             of those that waited, failed or were slow",
            held.count,
            since.unwrap_or_default()
        ),
        "look for the id in the access log",
    )
}

fn earlier(epoch: u64, ours: u64, since: Timestamp) -> Cause {
    cause(
        "earlier_worker",
        format!(
            "the id looks like one of worker {epoch} of this home; now runs worker {ours}, since {since}, and only \
             records of requests that waited, failed or were slow outlive a worker"
        ),
        "look for the id in the access log",
    )
}

fn never() -> Cause {
    cause(
        "never_given",
        "this home never gave this id".to_owned(),
        "check the digits, and that the answer came from this server; answers carry the id in `Insula-Request-Id`",
    )
}

fn cause(code: &str, cause: String, remediation: impl Into<String>) -> Cause {
    Cause { code: code.to_owned(), cause, remediation: remediation.into() }
}

/// What went wrong with a request, or that nothing did. Events are those around it, newest first; one that took
/// longer than `slow` was slow.
pub(super) fn judge(
    record: &RequestRecord,
    spec: Option<&ServiceSpec>,
    events: &[Event],
    slow: Duration,
) -> Cause {
    if let (Some(name), Some(spec)) = (&record.instance, spec) {
        let found = of_instance(record, (name, spec), events)
            .or_else(|| of_settings(record, name, spec))
            .or_else(|| of_workload(record, name));
        if let Some(found) = found {
            return found;
        }
    }
    of_itself(record, slow)
}

/// The instance failed, and with it the request.
fn of_instance(
    record: &RequestRecord,
    (name, spec): (&InstanceName, &ServiceSpec),
    events: &[Event],
) -> Option<Cause> {
    let code = record.error.as_deref()?;
    let what = match code {
        "failed" | "wake_timed_out" => "there was no running instance to take it",
        "no_answer" | "answer_cut_short" => "the workload ended while it had the request",
        "unreachable" => "the workload did not accept the connection",
        _ => return None,
    };
    let failure = disk::behind(failure::newest(events.iter())?, events.iter(), &[]);
    let (why, remediation) = (failure.cause(spec), failure.remediation(name, spec));
    Some(cause(failure.code(), format!("{what}: {why}"), remediation))
}

/// A bound of the service was reached, or its operator decided.
fn of_settings(record: &RequestRecord, name: &InstanceName, spec: &ServiceSpec) -> Option<Cause> {
    let code = record.error.as_deref()?;
    let (what, remediation) = match code {
        "timed_out" => (
            format!(
                "the workload took it, and did not answer within `request_timeout` {}",
                seconds(spec.request_timeout)
            ),
            format!(
                "read `insula logs {name}` to see what it was doing, or raise `request_timeout` of the service"
            ),
        ),
        "wake_timed_out" => (
            format!("the instance was not ready within `request_timeout` {}", seconds(spec.request_timeout)),
            format!("run `insula why {name}` to see what holds its start up, or raise `request_timeout`"),
        ),
        "queue_full" => (
            format!("more than {} requests waited for the instance already (`hold_queue`)", spec.hold_queue),
            format!("run `insula why {name}` to see why it does not take them, or raise `hold_queue`"),
        ),
        "stopped" => (
            "the operator had stopped the instance".to_owned(),
            format!("run `insula spawn {name}` to start it again"),
        ),
        _ => return None,
    };
    Some(cause(code, what, remediation))
}

/// The workload did not do its part, and nothing is known to have happened to the instance.
fn of_workload(record: &RequestRecord, name: &InstanceName) -> Option<Cause> {
    let code = record.error.as_deref()?;
    let (what, remediation) = match code {
        "failed" => (
            "the instance had failed, and was not started again yet".to_owned(),
            format!("run `insula why {name}`"),
        ),
        "no_answer" | "answer_cut_short" => (
            "the workload closed the connection before its answer was complete, and went on running"
                .to_owned(),
            format!("read `insula logs {name}`: the program gave this request up by itself"),
        ),
        "unreachable" => (
            "the workload runs, and did not accept the connection".to_owned(),
            format!("read `insula logs {name}`: it no longer listens where it did, or its backlog is full"),
        ),
        "bad_answer" => (
            "what the workload answered is not valid HTTP".to_owned(),
            "correct the program; docs/reference/http.md says what is refused".to_owned(),
        ),
        _ => return None,
    };
    Some(cause(code, what, remediation))
}

/// What the exchange says without more.
fn of_itself(record: &RequestRecord, slow: Duration) -> Cause {
    let (status, took) = (record.status, span(record.total));
    match record.error.as_deref() {
        Some(code) => refused(record, code),
        None if status >= 500 => cause(
            "workload_error",
            format!("the workload itself answered {status}, after {took}"),
            logs(record),
        ),
        None if status == 0 => cause("carried", format!("the connection was carried for {took}"), ""),
        None if record.total > slow && status != 101 => {
            let bound = format!("longer than `slow_request` {}", seconds(slow));
            cause(
                "slow",
                format!("the workload answered {status}, and it took {took}, {bound}"),
                logs(record),
            )
        }
        None => cause("answered", format!("the workload answered {status} after {took}"), ""),
    }
}

fn logs(record: &RequestRecord) -> String {
    match &record.instance {
        Some(name) => format!("read `insula logs {name}` of that time"),
        None => "read the log of the daemon of that time".to_owned(),
    }
}

/// No workload had a part in it.
fn refused(record: &RequestRecord, code: &str) -> Cause {
    let (status, took) = (record.status, span(record.total));
    let (what, remediation) = match code {
        "client_gone" => (format!("the client left after {took}, before its answer was complete"), ""),
        "slow_request" => (
            "the client did not send the rest of its request in time".to_owned(),
            "look at the network between, or at the client",
        ),
        "unknown_service" | "unknown_instance" => {
            ("there is none of that name here".to_owned(), "`insula ps` lists what is known")
        }
        "shutting_down" => ("the daemon was going down".to_owned(), "send it again"),
        _ => (
            format!("it was refused with {status} `{code}`, and nothing of it reached a workload"),
            "docs/reference/http.md says what the code means; correct the client",
        ),
    };
    cause(code, what, remediation)
}

fn tell(record: &RequestRecord, finding: &Cause, events: &[Event], stderr: &[String]) -> String {
    let mut lines = vec![headline(record)];
    if !record.waited.is_zero() {
        let woke = if record.woke { ", which had to be started" } else { "" };
        lines.push(format!("it waited {} for the instance{woke}", span(record.waited)));
    }
    if record.retried {
        lines.push("it was sent again, because the first connection ended without an answer".to_owned());
    }
    lines.push(format!("cause: {}", finding.cause));
    if !stderr.is_empty() {
        lines.push("last lines on standard error:".to_owned());
        let skipped = stderr.len().saturating_sub(LINES);
        lines.extend(stderr.iter().skip(skipped).map(|line| format!("  | {line}")));
    }
    if !events.is_empty() {
        lines.push("what happened to the instance around it, newest first:".to_owned());
        lines.extend(events.iter().take(EVENTS).map(|event| {
            let time = Timestamp::from(event.time);
            format!("  {time}  {:<12}  {}", event.kind.as_str(), event.cause).trim_end().to_owned()
        }));
    }
    if record.skipped > 0 {
        lines.push(format!("{} more like it were not recorded just before", record.skipped));
    }
    if !finding.remediation.is_empty() {
        lines.push(format!("hint: {}", finding.remediation));
    }
    lines.join("\n")
}

/// One line about a request.
pub(super) fn headline(record: &RequestRecord) -> String {
    let time = Timestamp::from(record.time);
    let what = match (record.method.as_str(), record.status) {
        ("", 0) => "raw TCP".to_owned(),
        ("", _) => "a head that was not understood".to_owned(),
        (method, _) => format!("{method} {}", record.path),
    };
    let to = record.instance.as_ref().map(|name| format!(" to {name}")).unwrap_or_default();
    let code = record.error.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
    let took = span(record.total);
    format!("request {}: {what}{to}, {time}: {}{code} after {took}", record.id, record.status)
}

/// Whether a request failed because of its instance, not long ago.
pub(super) fn is_recent_failure(record: &RequestRecord, since: SystemTime, now: SystemTime) -> bool {
    const RECENT: Duration = Duration::from_secs(600);
    let age = now.duration_since(record.time).unwrap_or_default();
    record.status >= 500 && record.time + record.total >= since && age < RECENT
}

/// As the API shows it.
pub(in crate::control) fn request(record: RequestRecord) -> Request {
    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    Request {
        time: record.time.into(),
        instance: record.instance,
        method: record.method,
        path: record.path,
        status: record.status,
        error: record.error,
        waited_us: micros(record.waited),
        total_us: micros(record.total),
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        woke: record.woke,
        retried: record.retried,
    }
}

/// A span of time for people.
fn span(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1000, micros / 100 % 10),
        _ => format!("{}.{:02} s", duration.as_secs(), duration.subsec_millis() / 10),
    }
}
