//! The file, as Docker and Podman write it: `linux.seccomp` of the OCI runtime specification (`config-linux.md`),
//! with the conditions that the two add to entries.
//!
//! A key that is not known here is an error: it may be one that was to tighten something.

use serde::Deserialize;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct File {
    pub(super) default_action: Action,
    pub(super) default_errno_ret: Option<u32>,
    pub(super) default_errno: Option<String>,
    pub(super) architectures: Option<Vec<String>>,
    pub(super) arch_map: Option<Vec<Architecture>>,
    pub(super) flags: Option<Vec<String>>,
    pub(super) listener_path: Option<String>,
    pub(super) listener_metadata: Option<String>,
    pub(super) syscalls: Option<Vec<Entry>>,
}

/// An architecture and those that its processor can run beside it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Architecture {
    pub(super) architecture: String,
    #[serde(rename = "subArchitectures")]
    _others: Option<Vec<String>>,
}

/// What to do with some calls.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) names: Option<Vec<String>>,
    pub(super) name: Option<String>,
    pub(super) action: Action,
    pub(super) errno_ret: Option<u32>,
    pub(super) errno: Option<String>,
    pub(super) args: Option<Vec<Argument>>,
    pub(super) includes: Option<Case>,
    pub(super) excludes: Option<Case>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
}

/// When an entry counts.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Case {
    #[serde(default)]
    pub(super) caps: Option<Vec<String>>,
    #[serde(default)]
    pub(super) arches: Option<Vec<String>>,
    #[serde(default)]
    pub(super) min_kernel: Option<String>,
}

/// What one argument must be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Argument {
    pub(super) index: u8,
    pub(super) value: u64,
    #[serde(default)]
    pub(super) value_two: u64,
    pub(super) op: Compare,
}

/// What is done with a call. `SCMP_ACT_TRACE` and `SCMP_ACT_NOTIFY` need another program that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Action {
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_KILL_THREAD", alias = "SCMP_ACT_KILL")]
    KillThread,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
}

/// How an argument is compared, as a number of 64 bits without sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Compare {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}
