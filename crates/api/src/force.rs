//! What is in force for a running workload.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the kernel says is in force for the main process of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InForce {
    /// Name of the program that the kernel runs; at level `gvisor` that is runsc.
    pub program: String,
    /// Capabilities that it has or could gain, as a hexadecimal mask; `0` is none.
    pub capabilities: String,
    /// Whether no program that it executes can gain rights.
    pub no_new_privs: bool,
    /// How many system call filters are installed.
    pub filters: u32,
    /// The operator's filter, file and digest; nothing where it is Insula's own list, or none at all.
    #[serde(default)]
    pub profile: Option<String>,
    /// Ids inside and on the host: `inside host count`.
    pub id_map: String,
    /// File system of its root, and whether it can be written.
    pub root: String,
    /// Most memory, in bytes, by its control group.
    pub memory_max: Option<u64>,
    /// Most processes and threads, by its control group.
    pub pids_max: Option<u64>,
    /// Share of CPU time under contention, by its control group: 100 is that of a group without a limit.
    #[serde(default)]
    pub cpu_weight: Option<u64>,
    /// Most CPU time, in thousandths of one CPU, by its control group.
    #[serde(default)]
    pub cpu_quota: Option<u64>,
    /// Namespaces of its own, by the names of namespaces(7): those that it does not share with the daemon;
    /// `null` where they may not be read.
    #[serde(default)]
    pub namespaces: Option<Vec<String>>,
}
