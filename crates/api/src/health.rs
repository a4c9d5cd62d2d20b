//! How the daemon is.

use insula_spec::{Level, Network};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Answer of `GET /v1/health`: how much of it depends on who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HealthAnswer {
    /// To those who may do everything.
    Full(Health),
    /// To everybody else.
    Alive(Alive),
}

/// That the daemon works, and no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alive {
    /// Version of the daemon.
    pub version: String,
    /// When this worker was ready.
    pub since: Timestamp,
    /// URL of the public listener.
    pub url: String,
}

impl From<Health> for Alive {
    fn from(health: Health) -> Self {
        Self { version: health.version, since: health.since, url: health.url }
    }
}

/// Everything about the daemon: the answer of `GET /v1/health` to an admin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Version of the daemon.
    pub version: String,
    /// Host pid of the worker that answered.
    pub pid: u32,
    /// How many workers this home has had; grows by one with each start.
    pub epoch: u64,
    /// When this worker was ready.
    pub since: Timestamp,
    /// URL of the public listener.
    pub url: String,
    /// Path of the configuration in force.
    pub config: String,
    /// Instances by state.
    pub instances: Counts,
    /// What the daemon holds ready and uses.
    #[serde(flatten)]
    pub footprint: Footprint,
}

/// What the daemon holds ready, and the memory that it and that take. Memory is the proportional set size
/// (a page shared by n processes counts as 1/n for each), in bytes; `None` where this user may not read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Footprint {
    /// Blank shells waiting to be used for the next start.
    pub shells: usize,
    /// Memory of those shells.
    pub shells_memory_bytes: Option<u64>,
    /// The same by kind.
    #[serde(default)]
    pub pools: Vec<ShellPool>,
    /// Memory of the daemon itself: parent and worker.
    pub daemon_memory_bytes: Option<u64>,
}

/// Blank shells of one kind. Each is used by one instance until its walls are taken down, and never by another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShellPool {
    /// Levels whose starts take them.
    pub levels: Vec<Level>,
    /// The network that is in them.
    pub network: Network,
    /// The program that makes the container in them, where that is not Insula.
    pub driver: Option<String>,
    /// How many wait.
    pub waiting: usize,
    /// How many are kept.
    pub kept: usize,
    /// Memory of those that wait; `null` where this user may not read it.
    pub memory_bytes: Option<u64>,
}

/// How many instances are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Answering, or frozen and ready to answer.
    pub up: usize,
    /// Between two states.
    pub moving: usize,
    /// Asleep until the next request.
    pub asleep: usize,
    /// Stopped by the operator.
    pub stopped: usize,
    /// Given up.
    pub failed: usize,
}
