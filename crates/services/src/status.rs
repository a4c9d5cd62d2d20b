//! What is known about an instance: where it is, where it is meant to be, since when and why.

use std::fmt;
use std::time::SystemTime;

use insula_store::Wanted;
use serde::Serialize;

/// Where an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Observed {
    /// Nothing runs; a request wakes it.
    Asleep,
    /// On its way up; not yet accepting connections.
    Starting,
    /// Accepting connections; not checked for health, or not yet.
    Running,
    /// Running, and the last health check succeeded.
    Healthy,
    /// Running, and some health checks failed, fewer than it takes to act.
    Degraded,
    /// Running, and as many health checks failed as it takes; its policy is never to restart.
    Unhealthy,
    /// Frozen in memory; a request thaws it.
    Frozen,
    /// Being thawed.
    Thawing,
    /// Being stopped, after those inside are served.
    Stopping,
    /// It ended, and is started again in a moment.
    BackingOff,
    /// It failed, and is not started again by itself.
    Failed,
    /// The operator stopped it, and only the operator starts it again.
    Stopped,
}

impl Observed {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asleep => "asleep",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Frozen => "frozen",
            Self::Thawing => "thawing",
            Self::Stopping => "stopping",
            Self::BackingOff => "backing_off",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// Whether there is something of it that runs, or will by itself.
    #[must_use]
    pub fn is_alive(self) -> bool {
        !matches!(self, Self::Asleep | Self::Failed | Self::Stopped)
    }

    /// Whether it takes requests without further ado.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Healthy | Self::Degraded | Self::Unhealthy)
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known about an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Where it is.
    pub observed: Observed,
    /// Where it is meant to be.
    pub wanted: Wanted,
    /// Since when `observed` holds.
    pub since: SystemTime,
    /// Why, if there is anything to say.
    pub why: Option<String>,
}

impl Status {
    /// A status that begins now.
    pub(crate) fn now(observed: Observed, wanted: Wanted, why: Option<String>) -> Self {
        Self { observed, wanted, since: SystemTime::now(), why }
    }
}
