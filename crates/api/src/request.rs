//! What happened to one request.

use std::time::Duration;

use insula_spec::InstanceName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Cause, Timestamp, WhyEvent};

/// Answer of `GET /v1/requests/{id}/why`: the same finding as text and as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestWhy {
    /// Its id.
    pub id: String,
    /// How much is known of it.
    pub known: Known,
    /// The request itself, if it is known.
    pub request: Option<Request>,
    /// The finding.
    #[serde(flatten)]
    pub finding: Cause,
    /// The last lines that the instance wrote to standard error before it failed, oldest first.
    pub stderr: Vec<String>,
    /// What happened to the instance around it, newest first.
    pub events: Vec<WhyEvent>,
    /// All of it as readable text.
    pub text: String,
}

/// How much is known of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// It was notable, and its record is in the store.
    Recorded,
    /// It is among the last exchanges of this worker.
    Held,
    /// This worker gave the id, and has forgotten the exchange since.
    AgedOut,
    /// The id looks like one of an earlier worker of this home; if so, the exchange went with it.
    EarlierWorker,
    /// This home never gave the id.
    NeverGiven,
}

/// One request that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// When it came.
    pub time: Timestamp,
    /// The instance asked for, if it was known.
    pub instance: Option<InstanceName>,
    /// The method; empty for raw TCP.
    pub method: String,
    /// The path, without the query; it may be cut.
    pub path: String,
    /// The status that the client was sent; 499 if it left before, 0 for raw TCP.
    pub status: u16,
    /// The code of what went wrong, if something did.
    pub error: Option<String>,
    /// Microseconds spent waiting for the instance.
    pub waited_us: u64,
    /// Microseconds from the complete head to the last byte.
    pub total_us: u64,
    /// Bytes of the body from the client.
    pub bytes_in: u64,
    /// Bytes of the body to the client.
    pub bytes_out: u64,
    /// Whether the instance had to be woken.
    pub woke: bool,
    /// Whether it was sent to the workload more than once.
    pub retried: bool,
}

impl Request {
    /// Time spent waiting for the instance.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_us)
    }

    /// Time from the complete head to the last byte.
    #[must_use]
    pub const fn total(&self) -> Duration {
        Duration::from_micros(self.total_us)
    }
}
