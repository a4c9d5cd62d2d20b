//! What happened to one request.

use std::time::Duration;

use insula_spec::{InstanceName, Tenant};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Cause, Moment, Timestamp, WhyEvent};

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

/// Query of `GET /v1/requests`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestsQuery {
    /// Only to one instance, `service:id`, or to all of one service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Tenant>,
    /// Only those that came at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Moment>,
    /// At most so many: 100 where it is not given, 1,000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Answer of `GET /v1/requests`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundRequests {
    /// Those that are remembered, newest first.
    pub requests: Vec<RequestEntry>,
}

/// A request that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestEntry {
    /// Its id.
    pub id: String,
    /// The request itself.
    #[serde(flatten)]
    pub request: Request,
    /// How many like it were not recorded just before, because there were too many.
    pub skipped: u64,
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
