//! Wire types of the control API, and the client that speaks them.
//!
//! ```text
//! CLI, tests ──Client──► HTTP/1.1 over control.sock, or TCP with a token ──► edge::control
//!                        /v1/...   JSON, NDJSON for logs, problem+json (RFC 9457) for failures
//! ```
//! The types say what is sent, not how anything is done. Requests refuse fields they do not know; answers
//! may grow fields, so readers ignore what they do not know.
#![forbid(unsafe_code)]

mod access;
mod alerts;
pub mod client;
mod deploy;
mod exec;
mod find;
mod force;
mod health;
mod instance;
mod logs;
mod moment;
mod net;
mod problem;
mod request;
mod time;
pub mod tls;
mod usage;
mod why;

pub use access::{
    AUDIT_ACTIONS, Audit, AuditQuery, AuditRecord, Bearer, ScopeKind, TokenInfo, TokenMade, TokenRequest,
    Tokens, Who,
};
pub use alerts::{AlertFailure, AlertWebhook, Alerts};
pub use client::{Client, ClientError, InvalidServer};
pub use deploy::{DeployRequest, Deployed, RouteRequest, Routes, Strategy, Version, WeightRequest};
pub use exec::{
    BadExecFrame, EXEC_FRAME_MAX, EXEC_INPUT_WINDOW, EXEC_PROTOCOL, ExecEnd, ExecFrame, ExecFrames,
    ExecRequest,
};
pub use find::{EventEntry, EventsQuery, FindQuery, FoundEvents, FoundLogs, LogEntry, Order};
pub use force::InForce;
pub use health::{Alive, Counts, Footprint, Health, HealthAnswer, ShellPool};
pub use instance::{
    ActionRequest, Condition, Detail, HostIds, Instances, Observed, Processes, Status, Summary, Usage, Wanted,
};
pub use logs::{LogFrame, LogLine, LogsQuery, Output};
pub use moment::{InvalidMoment, Moment};
pub use net::{Net, NetRequest, NetSource, NetSuggestion};
pub use problem::{PROBLEM_JSON, Problem};
pub use request::{FoundRequests, Known, Request, RequestEntry, RequestWhy, RequestsQuery};
pub use time::{InvalidTime, Timestamp};
pub use usage::{DiskBound, DiskUsage, TenantUsage, UsageQuery, Usages};
pub use why::{Cause, Why, WhyEvent};

/// Version prefix of every path.
pub const PREFIX: &str = "/v1";
