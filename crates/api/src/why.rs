//! Why an instance is as it is.

use insula_spec::InstanceName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Status, Timestamp};

/// Answer of `GET /v1/instances/{service:id}/why`: the same finding as text and as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// Which instance.
    pub name: InstanceName,
    /// How it is now.
    pub status: Status,
    /// The finding.
    #[serde(flatten)]
    pub finding: Cause,
    /// The last lines it wrote to standard error before that, oldest first.
    pub stderr: Vec<String>,
    /// The events that led there, newest first.
    pub events: Vec<WhyEvent>,
    /// All of it as readable text.
    pub text: String,
}

/// A finding that programs can match on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// Stable word, for example `never_listened` or `oom`.
    pub code: String,
    /// What happened, in one line.
    pub cause: String,
    /// What to do about it; empty when nothing needs doing.
    pub remediation: String,
}

/// One recorded event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhyEvent {
    /// When it happened.
    pub time: Timestamp,
    /// Its kind, as the event log names it.
    pub kind: String,
    /// What caused it.
    pub cause: String,
}
