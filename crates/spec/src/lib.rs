//! What was asked for.
//!
//! This crate is the border where text becomes types: names, levels, limits, durations and the whole of
//! `insula.toml`. It is pure: apart from reading the configuration file it touches nothing, and nothing in
//! it waits. Every other crate receives values that cannot be malformed.
//!
//! ```text
//! insula.toml ──parse──► raw tables ──validate──► Config ──render(placement)──► Launch
//! ```

pub mod config;
mod image;
mod instance;
mod launch;
mod level;
mod limits;
mod net;
mod outside;
mod root;
mod routed;
mod scope;
mod secret;
mod sibling;
mod units;

pub use config::{Config, ConfigError, Driver, Levels, Observability, Protocol, ServiceSpec};
pub use image::{Digest, ImageSource, InvalidImage, Reference};
pub use instance::{InstanceId, InstanceName, InvalidName, ServiceName};
pub use launch::{IdRange, Launch, Mount, Network, Placement};
pub use level::{Level, LevelChoice, UnknownLevel};
pub use limits::{CpuQuota, CpuWeight, DiskMode, Limits};
pub use net::{InvalidNetRule, NET_RULES_MAX, NetPolicy, NetRule, NetRuleProblem, canonical_name};
pub use outside::Outside;
pub use root::{Root, RootSource};
pub use routed::RoutedRange;
pub use scope::{Scope, Tenant};
pub use secret::Secret;
pub use sibling::{Caller, InvalidCaller, ReachableFrom, internal, internal_rule};
pub use units::{ByteSize, InvalidUnit, parse_bytes, parse_duration};
