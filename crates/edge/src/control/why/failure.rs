//! What kind of failure an event tells of.

use std::time::Duration;

use insula_spec::{InstanceName, ServiceSpec};
use insula_store::{Event, EventKind};

/// Kinds of failure, each with its own advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The main process ended before it accepted connections.
    ExitedAtOnce { how: String },
    /// It ran, and never accepted connections.
    NeverListened,
    /// The kernel killed it for its memory.
    Oom,
    /// The program is not there.
    UnknownProgram { program: String },
    /// It accepted connections, and ended later.
    Crashed { how: String },
    /// It accepted connections, and ended again and again.
    CrashLoop { how: String, times: usize },
    /// Its health check failed.
    Unhealthy { how: String },
    /// It could not be started for another reason.
    NotStarted { how: String, hint: Option<String> },
}

impl Failure {
    /// Stable word.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::ExitedAtOnce { .. } => "exited_at_once",
            Self::NeverListened => "never_listened",
            Self::Oom => "oom",
            Self::UnknownProgram { .. } => "unknown_program",
            Self::Crashed { .. } => "crashed",
            Self::CrashLoop { .. } => "crash_loop",
            Self::Unhealthy { .. } => "unhealthy",
            Self::NotStarted { .. } => "not_started",
        }
    }

    /// What happened, as the end of a sentence about the instance.
    pub(super) fn cause(&self, spec: &ServiceSpec) -> String {
        match self {
            Self::ExitedAtOnce { how } => format!("it {how} before it accepted connections"),
            Self::NeverListened => {
                let limit = seconds(spec.startup_timeout);
                format!("it did not accept connections within `startup_timeout` {limit}")
            }
            Self::Oom => match spec.limits.memory {
                Some(limit) => format!("the kernel killed it for passing its memory limit of {limit} (oom)"),
                None => "the kernel killed it because the host ran out of memory (oom)".to_owned(),
            },
            Self::UnknownProgram { program } => {
                format!("its program `{program}` was not found behind the walls (ENOENT)")
            }
            Self::Crashed { how } => format!("it {how} while it ran"),
            Self::CrashLoop { how, times } => {
                let window = seconds(spec.restart.window);
                format!("it ended {times} times within `restart_window` {window}, the last time it {how}")
            }
            Self::Unhealthy { how } => how.clone(),
            Self::NotStarted { how, .. } => format!("it could not be started: {how}"),
        }
    }

    /// What to do about it.
    pub(super) fn remediation(&self, name: &InstanceName, spec: &ServiceSpec) -> String {
        match self {
            Self::ExitedAtOnce { .. } => format!(
                "read `insula logs {name}`; then run the `command` by hand in `{}`: only that directory, the \
                 tenant's data directory, `mounts` and the system directories are visible to it",
                spec.workdir.display()
            ),
            Self::NeverListened => {
                "let it listen on the port in `PORT` (or the socket in `SOCKET_PATH`), on 127.0.0.1 or ::1; or \
                 raise `startup_timeout` if it needs longer"
                    .to_owned()
            }
            Self::Oom => "raise `memory` of the service, or find out what fills it".to_owned(),
            Self::UnknownProgram { program } => format!(
                "install `{program}` under a system directory such as `/usr/bin`, put it into `workdir`, or show \
                 its directory with `mounts`; home directories are not visible to it"
            ),
            Self::Crashed { .. } | Self::CrashLoop { .. } => format!(
                "read `insula logs {name}`, correct the program, then run `insula restart {name}`"
            ),
            Self::Unhealthy { .. } => {
                "check what the path in `health` answers; it must be 2xx or 3xx in time".to_owned()
            }
            Self::NotStarted { hint, .. } => {
                hint.clone().unwrap_or_else(|| "run `insula doctor` to see what this host can do".to_owned())
            }
        }
    }
}

/// The newest failure in a list of events, newest first.
pub(super) fn newest<'a>(events: impl Iterator<Item = &'a Event> + Clone) -> Option<Failure> {
    let mut rest = events;
    while let Some(event) = rest.next() {
        match read(event) {
            Some(Sign::Ended { how, oom }) => return Some(ended(how, oom, rest)),
            Some(Sign::Failure(failure)) => return Some(failure),
            None => {}
        }
    }
    None
}

/// What one event says by itself.
#[derive(Debug)]
enum Sign {
    /// The main process ended.
    Ended { how: String, oom: bool },
    /// A failure that needs no other event to be understood.
    Failure(Failure),
}

/// An end means different things before and after the workload was ready, and when it happens again.
fn ended<'a>(how: String, oom: bool, earlier: impl Iterator<Item = &'a Event> + Clone) -> Failure {
    if oom {
        return Failure::Oom;
    }
    let started = |e: &Event| matches!(e.kind, EventKind::Spawned | EventKind::Woken | EventKind::Restarted);
    let settled = |e: &Event| e.kind == EventKind::Ready || e.kind == EventKind::Adopted;
    let was_ready = earlier.clone().take_while(|e| !started(e)).any(settled);
    if !was_ready {
        return Failure::ExitedAtOnce { how };
    }
    // One row of crashes: from the newest back to where it was last asked for.
    let row = earlier.take_while(|e| !matches!(e.kind, EventKind::Spawned | EventKind::Woken));
    let times = 1 + row.filter(|e| e.kind == EventKind::Exited).count();
    if times > 2 { Failure::CrashLoop { how, times } } else { Failure::Crashed { how } }
}

/// The one place that knows how the event log tells of failures.
fn read(event: &Event) -> Option<Sign> {
    match event.kind {
        EventKind::Exited => Some(exit(event)),
        EventKind::Refused => not_started(&event.cause).map(Sign::Failure),
        EventKind::Health if event.cause.starts_with("unhealthy") => {
            Some(Sign::Failure(Failure::Unhealthy {
                how: format!("its health check failed: {}", event.cause),
            }))
        }
        // `failed` says only that it was given up; the reason is an earlier event.
        _ => None,
    }
}

fn exit(event: &Event) -> Sign {
    let reason = event.detail.get("reason").and_then(|r| r.as_str());
    let value = event.detail.get("value").and_then(serde_json::Value::as_i64).unwrap_or_default();
    let how = match reason {
        Some("code") => format!("exited with status {value}"),
        Some("signal") => format!("was killed by signal {value}"),
        _ => format!("ended ({})", event.cause),
    };
    Sign::Ended { how, oom: reason == Some("oom") }
}

/// A start that failed before the workload could end by itself.
fn not_started(cause: &str) -> Option<Failure> {
    let why = cause.strip_prefix("the start failed: ")?;
    if why.starts_with("it did not accept connections within") {
        return Some(Failure::NeverListened);
    }
    let (why, hint) = why.split_once("; hint: ").map_or((why, None), |(why, hint)| (why, Some(hint)));
    let program = why.strip_prefix("cannot execute `").and_then(|rest| rest.split_once('`'));
    Some(match program {
        Some((program, rest)) if rest.contains("os error 2") => {
            Failure::UnknownProgram { program: program.to_owned() }
        }
        _ => Failure::NotStarted { how: why.to_owned(), hint: hint.map(str::to_owned) },
    })
}

fn seconds(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(1000) { format!("{} s", millis / 1000) } else { format!("{millis} ms") }
}
