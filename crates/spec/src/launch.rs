//! Everything a level needs to know to start one sandbox.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{InstanceName, Limits, NetPolicy, Root, Secret};

/// Which network a sandbox sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// A network of its own, reached only through Insula; what it may reach outside, `net` says.
    #[default]
    Isolated,
    /// The network of the host.
    Host,
    /// A network of its own with an address of its own, whose packets the host sends on under its address. Root only.
    Routed,
}

impl Network {
    /// Its name in a configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Isolated => "isolated",
            Self::Host => "host",
            Self::Routed => "routed",
        }
    }

    /// What that means for connections to the outside, and how to change it: the end of a line for people.
    #[must_use]
    pub const fn outbound(self) -> &'static str {
        match self {
            Self::Isolated => "outbound connections as `net` says (`network = \"host\"` gives it the host's)",
            Self::Host => "the network of the host, outbound connections included",
            Self::Routed => "packets to the addresses that `net` allows, under the address of the host",
        }
    }
}

/// A host path made visible inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mount {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// Host user and group ids that belong to one instance alone, never to be given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdRange {
    /// First id of the range.
    pub base: u32,
}

impl IdRange {
    /// How many ids a range has.
    pub const LEN: u32 = 65_536;
    /// Id of the workload inside its walls; on the host it is `base + WORKLOAD`.
    pub const WORKLOAD: u32 = 1000;

    /// The host id under which the workload runs.
    #[must_use]
    pub fn workload(self) -> u32 {
        self.base + Self::WORKLOAD
    }
}

/// Where a sandbox is told to listen. The level decides it, before the command line is rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Placement {
    /// TCP port on the loopback that the workload sees (`PORT`).
    pub port: u16,
    /// Path of a Unix socket that the workload may create (`SOCKET_PATH`), as seen inside.
    pub socket: PathBuf,
}

/// One sandbox to start: what runs, what it sees, what it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Whose sandbox it is.
    pub instance: InstanceName,
    /// Program and arguments; the program is looked up in the `PATH` of the view.
    pub argv: Vec<String>,
    /// What stands before the command and the entry point of an image: an external program that runs them.
    pub runner: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, Secret)>,
    /// Working directory, visible read-only under its own path.
    pub workdir: PathBuf,
    /// The tenant's own directory, visible read-write under its own path; made when missing.
    pub data_dir: PathBuf,
    /// Further host paths to show.
    pub mounts: Vec<Mount>,
    /// What the root file system is made of.
    pub root: Root,
    /// A system call filter by the operator, in the form of the OCI specification.
    pub seccomp: Option<PathBuf>,
    /// Which network it sees.
    pub network: Network,
    /// What it may reach outside, where the network is its own.
    pub net: NetPolicy,
    /// Whether somebody said so, and it is not the default.
    pub net_given: bool,
    /// What it may use.
    pub limits: Limits,
    /// Host ids to run under; `None` for an ordinary user, who has none to give.
    pub ids: Option<IdRange>,
    /// Where it listens.
    pub placement: Placement,
}
