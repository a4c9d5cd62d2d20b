//! `insula.toml`: one file that says what runs here.

mod service;

pub use service::{HealthCheck, RestartMode, RestartPolicy, ServiceSpec, SleepMode};

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::{InstanceId, ServiceName};

/// A whole configuration, valid by construction.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it came from (absolute).
    pub path: PathBuf,
    /// Installation-wide settings.
    pub settings: Settings,
    /// Services by name.
    pub services: BTreeMap<ServiceName, ServiceSpec>,
    /// Instances to start with the daemon, by service.
    pub instances: BTreeMap<ServiceName, BTreeSet<InstanceId>>,
}

/// The `[settings]` table.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Root of the tenants' data, absolute; a tenant's directory is `{data_dir}/{service}/{id}`.
    pub data_dir: PathBuf,
    /// Domain under which services are reached; `localhost` needs no DNS.
    pub domain: String,
    /// Port of the public HTTP listener; 0 picks a free one.
    pub port: u16,
    /// Addresses of proxies whose `X-Forwarded-*` headers are believed, as CIDR blocks.
    pub trusted_proxies: Vec<String>,
}
