//! Control groups, version 1 and 2: what a workload may use, who belongs to it, and its end.
//!
//! Each set of walls has two leaves. `app` holds the workload under its [`Limits`](insula_spec::Limits).
//! `agent` holds the program that tends it, under a small fixed cap, so that a flood of log lines hits the
//! agent alone and a freeze never stops it.
//!
//! ```text
//! version 1, in each hierarchy                    version 2, under the group given to us
//!   <mount>/insula/<home>/<key>.agent               <own>/insula-daemon             (ourselves)
//!   <mount>/insula/<home>/<key>.app                 <own>/insula-<home>/<key>/agent
//!                                                   <own>/insula-<home>/<key>/app
//!
//! Layout::detect ──► prepare_host ──► Plan::for_limits ──► Leaves::create ──► apply_limits ──► keep
//!                     once a start        pure                  │                  ▲              │
//!                                                            a drop here           │           recorded
//!                                                            removes all           └── open ◄─────┘
//!                                                                                        │
//!                                                   sweep (what nobody recorded) ──► remove: kill, rmdir
//! ```
//!
//! What is decided is decided purely: [`Layout::from_texts`], [`Plan`] and [`check`] touch nothing.
//! Everything else blocks for up to the time it is given: call it from a blocking task, not from an async
//! one. Making a group and moving a process into one takes milliseconds, so neither belongs on the path of a
//! request; writing limits takes microseconds and may.
//!
//! Sources: `Documentation/admin-guide/cgroup-v1/`, `Documentation/admin-guide/cgroup-v2.rst`.

mod check;
mod error;
mod kill;
mod layout;
mod leaf;
mod leaves;
mod plan;
mod sweep;
mod v1;
mod wait;

#[cfg(test)]
mod tests;

pub use check::{Unenforceable, check};
pub use error::CgroupError;
pub use layout::{HostProbe, Layout, Probe, V2};
pub use leaf::{Leaf, Usage};
pub use leaves::Leaves;
pub use plan::{Plan, PlanError, Step, leave_host, prepare_host};
pub use sweep::{Swept, sweep};
pub use v1::Hierarchies;
