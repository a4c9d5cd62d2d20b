//! The public proxy between real sockets: raw clients in front, scripted workloads behind.
#![allow(clippy::unwrap_used, reason = "test code")]

mod connections;
mod failures;
mod framing;
mod harness;
mod smuggling;
mod streaming;
mod tunnels;
