//! The levels, one module each.

mod container;
mod namespace;
mod process;

pub(crate) use container::Container;
pub(crate) use namespace::Namespace;
pub(crate) use process::Process;
