//! The control API, for the operator.
//!
//! ```text
//! Unix socket ──accept──► permit ──► peer check ──► route ──► Operations ──► respond
//!                                      │ not the owner, not root
//!                                      └──► 403, whatever was asked
//! ```
//! The socket lies in a directory that is closed to others; the peer check is the second wall. `respond`
//! holds the one table from errors to HTTP.

mod action;
mod error;
mod handlers;
mod listen;
mod live;
mod logs;
mod operations;
mod respond;
mod url;
mod why;

pub use action::Action;
pub use error::ControlError;
pub use listen::{Limits, serve};
pub use live::{Gauge, Live, Place};
pub use operations::{LogPage, Operations};
pub use url::{apex_url, instance_url};

#[cfg(test)]
mod tests;
