//! The levels, one module each.

mod namespace;
mod process;

pub(crate) use namespace::Namespace;
pub(crate) use process::Process;
