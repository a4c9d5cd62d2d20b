//! The levels, one module each.

mod driver;
mod gvisor;
mod namespace;
mod process;
mod runsc;

pub(crate) use gvisor::Gvisor;
pub(crate) use namespace::Namespace;
pub(crate) use process::Process;
