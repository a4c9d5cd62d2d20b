//! Isolation levels.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How thick the wall around a sandbox is.
///
/// ```text
/// process < namespace < container < gvisor = wasm < vm
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// No isolation beyond another user id.
    Process,
    /// Own user, pid, mount, network, ipc and uts namespaces and a system call filter.
    Namespace,
    /// An OCI image behind namespaces.
    Container,
    /// A user-space kernel.
    Gvisor,
    /// A WebAssembly sandbox.
    Wasm,
    /// A virtual machine.
    Vm,
}

impl Level {
    /// Every level, weakest first.
    pub const ALL: [Self; 6] =
        [Self::Process, Self::Namespace, Self::Container, Self::Gvisor, Self::Wasm, Self::Vm];

    /// The name used in configuration and output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Namespace => "namespace",
            Self::Container => "container",
            Self::Gvisor => "gvisor",
            Self::Wasm => "wasm",
            Self::Vm => "vm",
        }
    }

    /// Whether this level is at least as strong as `floor`. `gvisor` and `wasm` satisfy each other.
    #[must_use]
    pub fn satisfies(self, floor: Self) -> bool {
        self.rank() >= floor.rank()
    }

    fn rank(self) -> u8 {
        match self {
            Self::Process => 0,
            Self::Namespace => 1,
            Self::Container => 2,
            Self::Gvisor | Self::Wasm => 3,
            Self::Vm => 4,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an isolation level")]
pub struct UnknownLevel(pub String);

impl UnknownLevel {
    /// What to type instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "use one of auto, process, namespace, container, gvisor, wasm, vm"
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;
    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        match text {
            "process" | "none" => Ok(Self::Process),
            "namespace" => Ok(Self::Namespace),
            "container" => Ok(Self::Container),
            "gvisor" | "sandbox" => Ok(Self::Gvisor),
            "wasm" => Ok(Self::Wasm),
            "vm" | "firecracker" | "qemu" => Ok(Self::Vm),
            other => Err(UnknownLevel(other.to_owned())),
        }
    }
}

/// What the operator asked for: a level by name, or the strongest one that this host offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LevelChoice {
    /// Resolved at first deploy, then stored.
    #[default]
    Auto,
    /// This one or none.
    Fixed(Level),
}

impl FromStr for LevelChoice {
    type Err = UnknownLevel;
    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        match text {
            "auto" => Ok(Self::Auto),
            other => other.parse().map(Self::Fixed),
        }
    }
}

impl fmt::Display for LevelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(level) => level.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_follow_the_ladder() {
        assert!(Level::Vm.satisfies(Level::Gvisor));
        assert!(Level::Wasm.satisfies(Level::Gvisor) && Level::Gvisor.satisfies(Level::Wasm));
        assert!(!Level::Wasm.satisfies(Level::Vm));
        assert!(!Level::Process.satisfies(Level::Namespace));
    }

    #[test]
    fn names_and_aliases_parse() {
        for level in Level::ALL {
            assert_eq!(level.as_str().parse::<Level>(), Ok(level));
        }
        assert_eq!("none".parse::<Level>(), Ok(Level::Process));
        assert_eq!("sandbox".parse::<Level>(), Ok(Level::Gvisor));
        assert_eq!("qemu".parse::<Level>(), Ok(Level::Vm));
        assert_eq!("auto".parse::<LevelChoice>(), Ok(LevelChoice::Auto));
        assert!("docker".parse::<Level>().is_err());
    }
}
