//! The walls: isolation levels behind one contract.
//!
//! ```text
//! Launch ──Backend::launch──► Sandbox (not committed: dies with its launcher)
//!                                │ record() stored by the caller
//!                                ▼ commit()
//!                             Sandbox (carries on alone; adopt() finds it again)
//! ```
//! This crate knows how a wall is built and torn down. It does not know who asks, or why.
#![forbid(unsafe_code)]

mod contract;
mod disk;
mod engine;
mod exec;
mod fault;
mod force;
#[cfg(feature = "agent-image")]
mod image;
mod levels;
mod limits;
mod link;
mod logs;
mod ports;
mod programs;
mod registry;
mod sockets;
mod stream;
mod walls;

pub use contract::{
    Adopted, Backend, BoxFuture, Capabilities, Connect, Event, Exit, Gone, LaunchError, Record, Sandbox,
    Swept, Unavailable, Usage,
};
pub use disk::{DiskHold, DiskPlace, DiskUse};
pub use engine::{Engine, EngineConfig, EngineError};
pub use exec::{ExecError, ExecOrder, ExecPiece, ExecSession, ExecWhat, INPUT_WINDOW, TooMuchInput};
pub use fault::{GUEST as GUEST_FAULT_POINTS, POINTS as FAULT_POINTS, ROUTED as ROUTED_FAULT_POINTS};
pub use force::{InForce, in_force};
#[cfg(feature = "agent-image")]
pub use image::agent_image;
pub use insula_linux::quota::{Mechanism, Probe as DiskProbe, image::ImageError};
pub use logs::{LogAcker, LogBatch, LogGap, LogLine, LogStream, Output};
pub use programs::missing_driver;
pub use registry::{Registry, next_best};
pub use stream::Stream;
pub use walls::{FilterError, WarmShells, check_filter};
