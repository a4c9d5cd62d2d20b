//! The public proxy between real sockets: raw clients in front, scripted workloads behind.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

mod cases;
mod connections;
mod corpus;
mod failures;
mod framing;
mod h2;
mod h2_floods;
mod h2_flow;
mod h2_frames;
mod h2_harness;
mod h2c;
mod harness;
mod readers;
mod retries;
mod runs;
mod smuggling;
mod stalled;
mod streaming;
mod tunnels;
mod versions;
