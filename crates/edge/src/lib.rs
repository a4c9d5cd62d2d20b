//! The only inbound side: the public proxy and the control API.
//!
//! ```text
//! public/   accept → parse head → route → lease → proxy → respond      (tenants' traffic)
//!              └─ every exchange ──► observe/   access log, metrics, what `insula why` can tell
//! control/  Unix socket → peer check → API → services, store           (the operator)
//! ```
//! The edge composes the rooms of layer 4. It does not know how a wall is built.
#![forbid(unsafe_code)]

pub mod control;
pub mod observe;
pub mod public;
