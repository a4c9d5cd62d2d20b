//! What the operator says about single levels, for all services.

use std::path::PathBuf;

/// Settings of single levels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Levels {
    /// Level `gvisor`.
    pub gvisor: GvisorSettings,
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
