//! Receivers of alerts on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Answer of `GET /v1/alerts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alerts {
    /// Every receiver that the configuration names, in its order.
    pub webhooks: Vec<AlertWebhook>,
}

/// One receiver, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertWebhook {
    /// Its name.
    pub name: String,
    /// Where alerts are sent to.
    pub url: String,
    /// What it is told about.
    pub events: Vec<String>,
    /// Only about these services; empty for all.
    pub services: Vec<String>,
    /// Events up to this one are settled. It may lag behind by events that are not for this receiver.
    pub cursor: u64,
    /// Alerts that it accepted.
    pub delivered: u64,
    /// Alerts that will not be sent again.
    pub given_up: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// When it last accepted one.
    pub last_success: Option<Timestamp>,
    /// The last failure.
    pub last_error: Option<AlertFailure>,
}

/// A failure to deliver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertFailure {
    /// When.
    pub time: Timestamp,
    /// Why.
    pub cause: String,
}
