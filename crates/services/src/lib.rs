//! The life of services: wake, health, restart, idle.
//!
//! ```text
//! lease(name) ──gate open──► Lease ──drop──► idle counts from here
//!      │ gate closed
//!      └──message──► keeper (one task per living instance) ──► Sandbox
//! ```
//! This crate knows when an instance shall run. It does not know HTTP, and not how a wall is built.
#![forbid(unsafe_code)]

mod boot;
mod census;
mod control;
mod counts;
mod deploy;
mod directory;
mod disk;
mod exec;
mod failure;
mod fingerprint;
mod gate;
mod health;
mod heritage;
mod keeper;
mod lease;
mod logs;
mod net;
mod routing;
mod services;
mod shared;
mod siblings;
mod status;
mod usage;

pub use boot::StartError;
pub use control::{ControlError, Inspect, Overview};
pub use counts::{EXIT_REASONS, ServiceCounts};
pub use deploy::{DeployError, Deployed, InvalidSteps, Order, Share, Steps, Version};
pub use disk::{DiskEvent, DiskReading, Fill};
pub use failure::Failure;
pub use fingerprint::fingerprint;
pub use heritage::{Held, Lingering};
/// How a workload ended; part of [`Failure`].
pub use insula_isolation::{DiskHold, Exit, InForce, Mechanism};
/// Commands beside a workload.
pub use insula_isolation::{ExecError, ExecOrder, ExecPiece, ExecSession, ExecWhat, INPUT_WINDOW};
pub use lease::{Lease, LeaseError, Upstream};
pub use net::Net;
pub use routing::NoVersion;
pub use services::Services;
pub use siblings::NotReached;
pub use status::{Observed, Status};
pub use usage::TenantUsage;
