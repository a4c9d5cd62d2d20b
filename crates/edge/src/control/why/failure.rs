//! What kind of failure an event tells of.

use std::time::Duration;

use insula_services::{Exit, Failure as Detail};
use insula_spec::{InstanceName, Network, ServiceSpec};
use insula_store::{Event, EventKind};

use super::disk::Full;

/// Places of an instance that are in memory, and bounded.
const FRESH: &str = "`/tmp` and `/dev/shm` inside";
/// No such file (`errno(3)`).
const ENOENT: i32 = 2;

/// Kinds of failure, each with its own advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The main process ended before it accepted connections.
    ExitedAtOnce { how: String },
    /// It ran, and never accepted connections.
    NeverListened { limit: Duration },
    /// The kernel killed it for its memory.
    Oom,
    /// The program is not there.
    UnknownProgram { program: String },
    /// It accepted connections, and ended later.
    Crashed { how: String },
    /// It accepted connections, and ended again and again.
    CrashLoop { how: String, times: usize },
    /// It failed in some way, and there was no room for what it writes.
    DiskFull { inner: Box<Failure>, full: Full },
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
            Self::NeverListened { .. } => "never_listened",
            Self::Oom => "oom",
            Self::UnknownProgram { .. } => "unknown_program",
            Self::Crashed { .. } => "crashed",
            Self::CrashLoop { .. } => "crash_loop",
            Self::DiskFull { .. } => "disk_full",
            Self::Unhealthy { .. } => "unhealthy",
            Self::NotStarted { .. } => "not_started",
        }
    }

    /// What happened, as the end of a sentence about the instance.
    pub(super) fn cause(&self, spec: &ServiceSpec) -> String {
        match self {
            Self::ExitedAtOnce { how } => format!("it {how} before it accepted connections"),
            Self::NeverListened { limit } => {
                format!("it did not accept connections within `startup_timeout` {}", seconds(*limit))
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
            Self::DiskFull { inner, full } => format!("{}; {}", inner.cause(spec), full.words()),
            Self::Unhealthy { how } => how.clone(),
            Self::NotStarted { how, .. } => format!("it could not be started: {how}"),
        }
    }

    /// What to do about it.
    pub(super) fn remediation(&self, name: &InstanceName, spec: &ServiceSpec) -> String {
        let advice = self.advice(name, spec);
        if spec.network == Network::Isolated && self.may_miss_network() {
            return format!("{advice}; it has {}", spec.network.outbound());
        }
        advice
    }

    fn advice(&self, name: &InstanceName, spec: &ServiceSpec) -> String {
        match self {
            Self::ExitedAtOnce { .. } => format!(
                "read `insula logs {name}`; then run the `command` by hand in `{}`: only that directory, the \
                 tenant's data directory, `mounts` and the system directories are visible to it",
                spec.workdir.display()
            ),
            Self::NeverListened { .. } => {
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
            Self::DiskFull { full: Full::Limit { .. }, .. } => format!(
                "remove what the tenant does not need, or raise `disk_limit` of the service (`insula usage {name}` \
                 tells what is in use), then run `insula restart {name}`"
            ),
            Self::DiskFull { full: Full::Said(_), .. } => format!(
                "make room: `df` tells of the host's disks, and {FRESH} are bounded; then run \
                 `insula restart {name}`"
            ),
            Self::Unhealthy { .. } => {
                "check what the path in `health` answers; it must be 2xx or 3xx in time".to_owned()
            }
            Self::NotStarted { hint, .. } => {
                hint.clone().unwrap_or_else(|| "run `insula doctor` to see what this host can do".to_owned())
            }
        }
    }

    /// Whether a program that fails so may have been unable to write.
    pub(super) const fn may_miss_room(&self) -> bool {
        matches!(
            self,
            Self::ExitedAtOnce { .. }
                | Self::NeverListened { .. }
                | Self::Crashed { .. }
                | Self::CrashLoop { .. }
                | Self::Unhealthy { .. }
        )
    }

    /// Whether a program that fails so may have looked for something outside.
    const fn may_miss_network(&self) -> bool {
        match self {
            Self::ExitedAtOnce { .. }
            | Self::NeverListened { .. }
            | Self::Crashed { .. }
            | Self::CrashLoop { .. }
            | Self::Unhealthy { .. } => true,
            Self::Oom | Self::UnknownProgram { .. } | Self::DiskFull { .. } | Self::NotStarted { .. } => {
                false
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

/// What one event tells of.
fn read(event: &Event) -> Option<Sign> {
    let failure = match Detail::of(event)? {
        Detail::Ended { exit } => return Some(Sign::Ended { how: how(exit), oom: exit == Exit::Oom }),
        Detail::NeverListened { limit_ms } => {
            Failure::NeverListened { limit: Duration::from_millis(limit_ms) }
        }
        Detail::Exec { program, errno: Some(errno), .. } if errno == ENOENT => {
            Failure::UnknownProgram { program }
        }
        Detail::Unhealthy { ill: true, .. } => {
            Failure::Unhealthy { how: format!("its health check failed: {}", event.cause) }
        }
        Detail::Exec { hint, .. } => Failure::NotStarted { how: event.cause.clone(), hint: Some(hint) },
        Detail::NotStarted { hint } => Failure::NotStarted { how: event.cause.clone(), hint },
        // A few failed checks do not end an instance.
        _ => return None,
    };
    Some(Sign::Failure(failure))
}

fn how(exit: Exit) -> String {
    match exit {
        Exit::Code(status) => format!("exited with status {status}"),
        Exit::Signal(signal) => format!("was killed by signal {}", Exit::told(signal)),
        Exit::Oom | Exit::Lost => format!("ended ({exit})"),
    }
}

pub(super) fn seconds(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(1000) { format!("{} s", millis / 1000) } else { format!("{millis} ms") }
}
