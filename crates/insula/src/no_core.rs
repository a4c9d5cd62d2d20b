//! No core files: what this program holds in memory, tokens and the environments of services, is not to be written
//! to a disk when it dies.

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit. A file of one byte is none; and to the kernel a limit of 1, unlike 0, says that a program which
/// `kernel.core_pattern` names gets nothing either (core(5)).
const NONE: u64 = 1;

/// Has the kernel write no core of this process and of those that it starts. The hard limit stays, so that a
/// workload may still ask for its own.
///
/// # Errors
/// When the kernel refuses that.
pub(crate) fn refuse() -> anyhow::Result<()> {
    let maximum = getrlimit(Resource::Core).maximum;
    let current = Some(maximum.map_or(NONE, |maximum| maximum.min(NONE)));
    setrlimit(Resource::Core, Rlimit { current, maximum }).context("cannot set the limit of core files")
}
