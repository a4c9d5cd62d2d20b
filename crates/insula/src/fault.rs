//! Named points of a planned restart at which a test can end a process as a crash would.
//!
//! As in `insula_isolation::fault`: `INSULA_FAULT=NAME` in the environment makes the process that comes to
//! the point of that name kill itself. The variable of the parent is its workers', too.

use std::sync::OnceLock;

use rustix::process::Signal;

/// Every point, in the order in which a planned restart comes to them.
pub(crate) const POINTS: [&str; 9] = [
    "standby.booted",
    "standby.prepared",
    "retire.asked",
    "retire.detached",
    "retire.closed",
    "retire.released",
    "standby.going",
    "standby.open",
    "parent.check",
];

/// Dies here if this is the chosen point.
pub(crate) fn point(name: &'static str) {
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    debug_assert!(POINTS.contains(&name), "{name}");
    let chosen = CHOSEN.get_or_init(|| std::env::var("INSULA_FAULT").ok());
    if chosen.as_deref() == Some(name) {
        tracing::error!(name, "fault point reached");
        if let Err(error) = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL) {
            tracing::error!(name, %error, "cannot die at a fault point");
        }
    }
}
