//! What the end-to-end claims stand on: a real server in a folder of its own, small clients, an inventory.
//!
//! ```text
//! Server::start(config) ──► insula serve ──ready──► requests, CLI, kills ──drop──► SIGTERM, wait
//!                                                                                 │
//!                                                      Inventory: nothing of this home is left
//! ```
//! Everything waits for an event where there is one: a line, an exit (pidfd), a closed socket. Where only a state
//! can be observed, [`wait_until`] looks at it again with growing pauses until a deadline.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "this crate is test code: a broken assumption shall end the test, and skips go to standard error"
)]

pub mod arrows;
mod cli;
mod exec;
mod host;
mod http;
mod internet;
mod inventory;
mod network;
mod place;
mod server;
mod wait;
mod websocket;

pub use cli::{Answer, program};
pub use exec::Running;
pub use host::{Process, cgroups_writable, free_port, is_root, system_program};
pub use http::{Reply, Request, read_reply};
pub use internet::Internet;
pub use inventory::Inventory;
pub use network::OwnNetwork;
pub use place::Place;
pub use server::{Options, Server};
pub use wait::{PATIENCE, exited_within, wait_until};
pub use websocket::WebSocket;

/// Tells why a test cannot run on this host, and ends it. The test runner compares what was skipped with a list.
///
/// The line goes to the real standard error: the test harness does not swallow it.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        fn here() {}
        $crate::report_skip(std::any::type_name_of_val(&here), &format!($($why)*));
        return;
    }};
}

/// Prints `SKIPPED test: why`. Called by [`skip!`], which knows the name of the test.
pub fn report_skip(location: &str, why: &str) {
    use std::io::Write;
    let name = location.trim_end_matches("::here");
    let name = name.split_once("::").map_or(name, |(_, rest)| rest);
    let line = format!("SKIPPED {name}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
