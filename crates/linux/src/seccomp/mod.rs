//! Which system calls a workload may make.
//!
//! The host builds the filter from one readable [table] and hands it to the agent as bytes; the agent
//! installs it in the process that waits to become the workload. What the table does not allow
//! is refused, so a new kernel brings nothing new into the walls.
//!
//! ```text
//! host:   table ──profile──► BPF bytes ──frame──► agent:  no_new_privs ──install──► … ──► execve(workload)
//!
//! a call:  foreign architecture, x32 ──► the process is killed
//!          clone3, newer than the table ─► ENOSYS   (the C library falls back to what it knew before)
//!          allowed, arguments in order ──► runs
//!          anything else ────────────────► EPERM
//! ```
//!
//! A second filter of the same process only tells the agent of listen(2), see [`Listens`]; it decides nothing.
//!
//! Source: seccomp(2), `Documentation/userspace-api/seccomp_filter.rst`. The list is documented for
//! operators in `docs/reference/seccomp.md`, which a test keeps equal to the table.

#[cfg(feature = "host")]
mod call;
#[cfg(feature = "host")]
mod carrier;
#[cfg(all(test, feature = "host", target_arch = "x86_64"))]
mod docker;
mod install;
mod listens;
#[cfg(feature = "host")]
pub mod oci;
#[cfg(all(test, feature = "host", target_arch = "x86_64"))]
mod podman;
#[cfg(feature = "host")]
mod profile;
#[cfg(feature = "host")]
pub mod table;

#[cfg(feature = "host")]
pub use call::{Call, Condition, Conditional, Group};
#[cfg(feature = "host")]
pub use carrier::carrier_profile;
pub use install::install;
pub use listens::{Listens, stop_listens, try_listens};
#[cfg(feature = "host")]
pub use profile::{ProfileError, Program, default_profile, reference};
