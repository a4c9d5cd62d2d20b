//! Registries, by the pull half of the OCI distribution specification.
//!
//! ```text
//! name ── manifest (tag or digest) ── index? choose ours ── configuration ── layers ── unpack ── name
//!            │ 401: challenge, token                           each: partial/HEX, resumed by `Range`
//! ```
//!
//! It is written here, on `hyper`, because everything has to be bounded: documents, tokens and refusals in
//! length, silence and the whole in time; and because of where credentials may go. Of what a registry says only
//! digests that were compared are believed.

mod blob;
mod challenge;
mod credentials;
mod error;
mod http;
mod pull;
mod session;

pub use credentials::{AuthFiles, CredentialsError};
pub use error::PullError;
pub use pull::{PullOptions, Pulled};
