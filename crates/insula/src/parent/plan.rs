//! What the parent needs to know of a configuration.
//!
//! In a planned restart the program that reads the configuration may be newer than the running parent, so it
//! says what follows from it in this form.

use std::path::PathBuf;
use std::time::Duration;

use insula_spec::config::{Overrides, Source};
use insula_spec::{Config, InstanceName};
use serde::{Deserialize, Serialize};

use crate::environment;

/// What a stop may take beyond draining and the longest `stop_timeout`.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// Settings named by options or the environment, which win over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Above {
    /// Root of the tenants' data, absolute.
    pub(crate) data_dir: Option<PathBuf>,
    /// Domain, as typed.
    pub(crate) domain: Option<String>,
    /// Port, as typed.
    pub(crate) port: Option<String>,
}

impl Above {
    /// The same for reading a file.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            data_dir: self.data_dir.clone().map(|path| (Source::Option("data-dir"), path)),
            domain: self.domain.clone().map(|typed| (Source::Option("domain"), typed)),
            port: self.port.clone().map(|typed| (Source::Option("port"), typed)),
            variables: environment::variables(),
        }
    }
}

/// What the parent needs to know of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The file it came from.
    pub(crate) path: PathBuf,
    /// What stands above the file, for when it is read again.
    pub(crate) above: Above,
    /// Root of the tenants' data, absolute.
    pub(crate) data_dir: PathBuf,
    /// Whether anybody on the loopback may use the control API.
    pub(crate) insecure_api: bool,
    /// Domain under which services are reached.
    pub(crate) domain: String,
    /// Port of the public proxy; 0 is any.
    pub(crate) port: u16,
    /// Raw TCP ports.
    pub(crate) tcp: Vec<(InstanceName, u16)>,
    /// Longest time that a stop may take, in milliseconds.
    pub(crate) stop_timeout_ms: u64,
}

impl Plan {
    /// What follows from a configuration and what stands above it.
    pub(crate) fn of(config: &Config, overrides: &Overrides) -> Self {
        let services = config.services.values();
        let longest = services.clone().map(|s| s.stop_timeout).max().unwrap_or_default();
        let stop = super::DRAIN + longest + STOP_MARGIN;
        let of = |spec: &insula_spec::ServiceSpec| {
            let name = spec.name.clone();
            let ports = spec.listen_tcp.clone();
            ports.into_iter().map(move |(id, port)| (InstanceName::new(name.clone(), id), port))
        };
        Self {
            path: config.path.clone(),
            above: Above {
                data_dir: overrides.data_dir.is_some().then(|| config.settings.data_dir.clone()),
                domain: overrides.domain.as_ref().map(|(_, typed)| typed.clone()),
                port: overrides.port.as_ref().map(|(_, typed)| typed.clone()),
            },
            data_dir: config.settings.data_dir.clone(),
            insecure_api: false,
            domain: config.settings.domain.clone(),
            port: config.settings.port,
            tcp: services.flat_map(of).collect(),
            stop_timeout_ms: u64::try_from(stop.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Longest time that a stop may take.
    pub(crate) fn stop_timeout(&self) -> Duration {
        Duration::from_millis(self.stop_timeout_ms)
    }
}
