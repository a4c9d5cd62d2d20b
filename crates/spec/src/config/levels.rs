//! What the operator says about single levels, for all services.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Level;

/// Settings of single levels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Levels {
    /// Level `container`.
    pub container: ContainerSettings,
    /// Level `gvisor`.
    pub gvisor: GvisorSettings,
    /// Programs of the operator's that run workloads, by name: `isolation = "external:NAME"`.
    pub external: BTreeMap<String, External>,
}

/// Settings of level `container`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerSettings {
    /// Who makes containers.
    pub driver: Driver,
    /// The driver's program; `None` looks in the system directories.
    pub path: Option<PathBuf>,
}

/// Who makes containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// Insula's own agent.
    #[default]
    Agent,
    /// crun, inside the walls of the agent.
    Crun,
    /// runc, inside the walls of the agent.
    Runc,
}

impl Driver {
    /// All of them, the usual one first.
    pub const ALL: [Self; 3] = [Self::Agent, Self::Crun, Self::Runc];
    /// Their names, in this order.
    pub const NAMES: [&'static str; 3] = ["agent", "crun", "runc"];

    /// The name used in configuration and output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Crun => "crun",
            Self::Runc => "runc",
        }
    }
}

/// Settings of level `gvisor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GvisorSettings {
    /// The program `runsc`; `None` looks in the system directories.
    pub path: Option<PathBuf>,
    /// How system calls are caught: `systrap`, `ptrace` or `kvm`.
    pub platform: &'static str,
}

impl GvisorSettings {
    /// The platforms, the usual one first.
    pub const PLATFORMS: [&'static str; 3] = ["systrap", "ptrace", "kvm"];
}

impl Default for GvisorSettings {
    fn default() -> Self {
        Self { path: None, platform: Self::PLATFORMS[0] }
    }
}

/// A program of the operator's that runs workloads (`docs/reference/external.md`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// The program, absolute.
    pub program: PathBuf,
    /// Its own arguments, before `--` and the command.
    pub args: Vec<String>,
    /// The level whose walls stand around it and what it runs. It counts as that level.
    pub walls: Level,
}

impl External {
    /// The levels that can stand around one, weakest first.
    pub const WALLS: [Level; 3] = [Level::Process, Level::Namespace, Level::Container];
    /// Their names, in this order.
    pub const NAMES: [&'static str; 3] = ["process", "namespace", "container"];
}

/// The external program that runs a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    /// Its name in `[levels.external.NAME]`.
    pub name: String,
    /// What it is.
    pub external: External,
}
