//! The public proxy between real sockets: raw clients in front, scripted workloads behind.
#![allow(clippy::unwrap_used, reason = "test code")]

mod connections;
mod failures;
mod framing;
mod harness;
mod runs;
mod smuggling;
mod stalled;
mod streaming;
mod tunnels;
