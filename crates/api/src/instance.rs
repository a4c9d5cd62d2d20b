//! Instances on the wire.

use std::fmt;
use std::path::PathBuf;

use insula_spec::{InstanceName, Level, Limits, Mount, Network, Placement};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DiskBound, InForce, Timestamp};

/// Answer of `GET /v1/instances`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Instances {
    /// Every known instance, ordered by name.
    pub instances: Vec<Summary>,
}

/// One line of `insula ps`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Its name.
    pub name: InstanceName,
    /// What it does and what it should do.
    pub status: Status,
    /// The level it runs at; `None` before its first start.
    pub level: Option<Level>,
    /// Host pid of the main process, while it runs; `None` for a tenant.
    pub app_pid: Option<i32>,
    /// How often it was restarted after it ended by itself.
    pub restarts: u64,
    /// How often a request woke it.
    pub wakes: u64,
    /// What it uses now.
    pub usage: Usage,
    /// Bytes that its directory held when it was last counted.
    #[serde(default)]
    pub disk_bytes: Option<u64>,
    /// Where it is reached.
    pub url: String,
}

/// What an instance does, what it should do, since when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// What it does.
    pub observed: Observed,
    /// What it should do.
    pub wanted: Wanted,
    /// When it came to be so.
    pub since: Timestamp,
    /// How it came to be so.
    pub why: String,
    /// What the health check says, where there is one.
    pub health: Option<Condition>,
}

/// What an instance does at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Observed {
    /// Not running; the next request wakes it.
    Asleep,
    /// Launched, and does not accept connections yet.
    Starting,
    /// Accepts connections.
    Running,
    /// Its processes are frozen; the next request thaws them.
    Frozen,
    /// Its processes are being thawed.
    Thawing,
    /// It is being stopped.
    Stopping,
    /// It ended by itself and waits for its restart.
    BackingOff,
    /// It ended too often, or could not be started.
    Failed,
    /// Stopped by the operator; requests do not wake it.
    Stopped,
}

impl Observed {
    /// The word used in JSON and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asleep => "asleep",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Frozen => "frozen",
            Self::Thawing => "thawing",
            Self::Stopping => "stopping",
            Self::BackingOff => "backing_off",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an instance should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Run.
    Up,
    /// Sleep until a request comes.
    Asleep,
    /// Stay stopped until the operator says otherwise.
    Stopped,
}

impl Wanted {
    /// The word used in JSON and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Asleep => "asleep",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a health check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Not checked yet.
    Unknown,
    /// The last check was answered well.
    Healthy,
    /// Some checks failed, fewer than make it unhealthy.
    Degraded,
    /// Too many checks failed in a row.
    Unhealthy,
}

impl Condition {
    /// The word used in JSON and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What an instance uses; what cannot be known on this host is `null`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Memory charged to it, in bytes.
    pub memory_bytes: Option<u64>,
    /// CPU time used, in microseconds.
    pub cpu_micros: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// Answer of `GET /v1/instances/{service:id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Detail {
    /// What `ps` shows.
    #[serde(flatten)]
    pub summary: Summary,
    /// The weakest level that will do; `None` if every one does.
    #[serde(default)]
    pub floor: Option<Level>,
    /// The command, with placeholders not yet filled in; empty for a tenant, who is told nothing of the host.
    pub command: Vec<String>,
    /// Which network it sees.
    pub network: Network,
    /// What it may use.
    pub limits: Limits,
    /// What bounds its directory, or would at its next start; `None` without a limit.
    #[serde(default)]
    pub disk_bound: Option<DiskBound>,
    /// What the configuration of its service says that is not taken as written, such as a number that was brought into
    /// range; nothing for a tenant.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What the kernel says is in force, while it runs; `None` for a tenant.
    #[serde(default)]
    pub in_force: Option<InForce>,
    /// Working directory, visible read-only; `None` for a tenant.
    pub workdir: Option<PathBuf>,
    /// The tenant's own directory on the host; `None` for a tenant.
    pub data_dir: Option<PathBuf>,
    /// Further host paths it sees.
    pub mounts: Vec<Mount>,
    /// Host ids it runs under; `None` where an instance has none of its own.
    pub ids: Option<HostIds>,
    /// Where it listens, while it runs.
    pub placement: Option<Placement>,
    /// Its processes, while it runs.
    pub processes: Option<Processes>,
    /// Control group leaves, while it runs.
    pub cgroups: Vec<PathBuf>,
    /// Idle time after which it sleeps, in milliseconds; `None` never.
    pub idle_timeout_ms: Option<u64>,
}

/// Host user and group ids of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostIds {
    /// First id of its range.
    pub base: u32,
    /// How many ids it has.
    pub count: u32,
    /// The id its workload runs under, seen from the host.
    pub workload: u32,
}

/// Processes of a running instance, with what tells them from later ones of the same pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Processes {
    /// Host pid of the agent.
    pub agent_pid: i32,
    /// Start time of the agent, in clock ticks since boot.
    pub agent_start: u64,
    /// Host pid of the main process.
    pub app_pid: i32,
    /// Start time of the main process, in clock ticks since boot.
    pub app_start: u64,
    /// Name of the set of walls.
    pub key: String,
}

/// Body of `POST /v1/instances/{service:id}/spawn`, `/stop` and `/restart`. May be left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionRequest {
    /// How long to wait for the outcome, in milliseconds; `None` for as long as the service's own timeouts
    /// allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_refuse_what_they_do_not_know() {
        assert_eq!(serde_json::from_str::<ActionRequest>("{}").unwrap(), ActionRequest::default());
        assert!(serde_json::from_str::<ActionRequest>(r#"{"timeout_ms": 5}"#).is_ok());
        assert!(serde_json::from_str::<ActionRequest>(r#"{"force": true}"#).is_err());
    }

    #[test]
    fn states_are_the_same_words_in_json_and_in_tables() {
        for state in [Observed::Asleep, Observed::BackingOff, Observed::Failed, Observed::Running] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for wanted in [Wanted::Up, Wanted::Asleep, Wanted::Stopped] {
            assert_eq!(serde_json::to_value(wanted).unwrap(), wanted.as_str());
        }
    }
}
