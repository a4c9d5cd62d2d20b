//! Resource limits, as types that cannot hold nonsense.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::ByteSize;

/// Relative share of CPU time under contention, 1 to 10,000; 100 is the default of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CpuWeight(u16);

impl CpuWeight {
    /// Smallest and largest weight that cgroup v2 takes.
    pub const RANGE: std::ops::RangeInclusive<u64> = 1..=10_000;

    /// Brings any number into range; the second value tells whether it had to be changed.
    #[must_use]
    pub fn clamped(asked: u64) -> (Self, bool) {
        let kept = asked.clamp(*Self::RANGE.start(), *Self::RANGE.end());
        (Self(u16::try_from(kept).unwrap_or(10_000)), kept != asked)
    }

    /// The weight, 1 to 10,000.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

/// Upper bound on CPU time, in thousandths of one CPU (1,500 is one and a half CPUs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CpuQuota(u32);

impl CpuQuota {
    /// Smallest quota that the kernel can enforce: 1 ms in every 100 ms.
    pub const MIN_MILLIS: u32 = 10;

    /// A quota in thousandths of a CPU; `None` below [`Self::MIN_MILLIS`].
    #[must_use]
    pub fn from_millis(millis: u32) -> Option<Self> {
        (millis >= Self::MIN_MILLIS).then_some(Self(millis))
    }

    /// Thousandths of one CPU.
    #[must_use]
    pub fn millis(self) -> u32 {
        self.0
    }
}

/// How firmly a limit on disk is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiskMode {
    /// As hard as this host can; where it cannot, what is used is counted and reported.
    #[default]
    Auto,
    /// A write beyond the limit fails, or the start is refused.
    Hard,
    /// What is used is counted and reported; no write fails.
    Soft,
}

impl DiskMode {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Hard => "hard",
            Self::Soft => "soft",
        }
    }
}

/// What a sandbox may use. `None` means not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Memory of all its processes together; beyond it the kernel kills (`oom`).
    pub memory: Option<ByteSize>,
    /// Share of CPU time under contention.
    pub cpu_weight: Option<CpuWeight>,
    /// Hard bound on CPU time.
    pub cpu_quota: Option<CpuQuota>,
    /// Number of processes and threads.
    pub pids: Option<u32>,
    /// Open files of each process (`RLIMIT_NOFILE`).
    pub open_files: Option<u32>,
    /// Files in its own directory, in bytes.
    #[serde(default)]
    pub disk: Option<ByteSize>,
    /// How firmly `disk` is asked for.
    #[serde(default)]
    pub disk_mode: DiskMode,
    /// What it may send to the outside, and again what it may receive from there, in bytes a second.
    #[serde(default)]
    pub bandwidth: Option<ByteSize>,
}

impl Limits {
    /// Whether anything here needs a control group to be enforced.
    #[must_use]
    pub fn need_cgroup(&self) -> bool {
        self.memory.is_some() || self.cpu_weight.is_some() || self.cpu_quota.is_some() || self.pids.is_some()
    }
}
