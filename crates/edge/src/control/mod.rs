//! The control API, for the operator and, as far as its token reaches, for a tenant.
//!
//! ```text
//! Unix socket ──accept──► permit ──► peer check ──┐
//!                                      │ no: 403  ├──► outer ──► route ──► guard ──► handler ──► Operations
//! public proxy ──socket pair──────────────────────┘    (id)               (token, scope, audit)
//! ```
//! The Unix socket is the owner's own way in: it lies in a directory that is closed to others, the peer check
//! is the second wall, and no token is asked for. `respond` holds the one table from errors to HTTP.

mod access;
mod action;
mod caller;
mod endpoints;
mod error;
mod exec;
mod extract;
mod find;
mod guard;
mod handlers;
mod inside;
mod keys;
mod listen;
mod live;
mod logs;
mod net;
mod openapi;
mod operations;
mod redact;
mod respond;
mod routes;
mod sought;
mod sse;
mod trail;
mod url;
mod usage;
mod versions;
mod why;

pub use action::Action;
pub use error::ControlError;
pub use exec::Commands;
pub(crate) use guard::CLIENT;
pub use inside::Inside;
pub use keys::{Admission, Keys};
pub use listen::{Control, Limits};
pub use live::{Gauge, Live, Place};
pub use net::Nets;
pub use openapi::document;
pub use operations::{LogPage, Operations};
pub use url::{apex_url, instance_url, service_url};
pub use versions::Versions;

#[cfg(test)]
mod tests;
