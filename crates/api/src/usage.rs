//! What tenants use, on the wire.

use insula_spec::{InstanceName, Tenant};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Query of `GET /v1/usage`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageQuery {
    /// One instance, `service:id`, or all of one service; without it all that the caller may see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Tenant>,
}

/// Answer of `GET /v1/usage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usages {
    /// Since when CPU time is counted.
    pub since: Timestamp,
    /// Every tenant asked for, ordered by name.
    pub tenants: Vec<TenantUsage>,
}

/// What one tenant uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TenantUsage {
    /// Its name.
    pub name: InstanceName,
    /// Its directory.
    pub disk: DiskUsage,
    /// Memory charged to it now, in bytes; `None` when nothing runs, or it cannot be known on this host.
    pub memory_bytes: Option<u64>,
    /// CPU time used since counting began, in microseconds. Of an instance that ran by then all of that run
    /// counts.
    pub cpu_micros: u64,
    /// How often it was restarted after it ended by itself, ever.
    pub restarts: u64,
    /// How often a request woke it, ever.
    pub wakes: u64,
    /// Requests and raw connections that it took, ever. Those since its last event are lost where the worker is
    /// killed.
    #[serde(default)]
    pub requests: u64,
    /// Requests and connections inside at this moment.
    pub open_requests: u64,
}

/// What a tenant's directory holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskUsage {
    /// Bytes in use; `None` when they were never counted, or cannot be.
    pub used_bytes: Option<u64>,
    /// Whether that is all: counting takes at most two seconds, and sees nothing that this user may not read.
    pub complete: bool,
    /// Bytes that may be in use; `None` without a limit.
    pub limit_bytes: Option<u64>,
    /// What bounds it; `None` without a limit.
    pub bound: Option<DiskBound>,
    /// When it was counted.
    pub counted: Option<Timestamp>,
}

/// What bounds a tenant's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskBound {
    /// `hard (project quota)`, `hard (image)` or `soft`.
    pub mechanism: String,
    /// Why it is not hard; empty where it is, or where soft was asked for.
    pub why: String,
}
