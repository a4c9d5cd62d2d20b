//! What leaves the walls: outgoing connections and questions for names, judged by the policy of each instance,
//! in a process of its own.
//!
//! ```text
//!   inside the instance's network          │ egress process                        │ outside
//!   app ──connect──► redirect ──► listener ┼► relay ──judge──► resolve, check ─────┼─► server
//!   app ──UDP 53───► redirect ──► socket   ┼► resolver ──judge──► upstream ────────┼─► resolver of the host
//!                                          │      └── another instance ──► worker: wakes it, passes a socket
//!                                          │      └── refused ──► denial ──► worker: event, `insula why`
//! ```
//! The process survives the worker: connections that it carries go on. A worker finds it by its socket, or
//! starts it when the first instance needs it. It holds no rights: it gives up ids and capabilities first.
#![forbid(unsafe_code)]

pub mod address;
mod client;
mod denial;
mod dns;
mod explicit;
mod internet;
pub mod judge;
mod member;
mod names;
mod pace;
mod relay;
mod resolver;
mod server;
mod sibling;
mod sniff;
mod wire;

pub use client::{Egress, EgressConfig, EgressError, Fetch, Heard, Member, Visit};
pub use denial::Denial;
pub use internet::TestInternet;
pub use judge::Reason;
pub use server::{ServeError, serve};
