//! How the daemon is.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Answer of `GET /v1/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// How many instances are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
