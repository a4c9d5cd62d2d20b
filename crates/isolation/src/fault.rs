//! Named points at which a test can end this process as a crash would.
//!
//! `INSULA_FAULT=NAME` in the environment of the worker makes it kill itself with SIGKILL when it first
//! comes to the point of that name. Unset, a point costs one comparison.

use std::sync::OnceLock;

use rustix::process::Signal;

/// Every point, in the order in which a launch and an adoption come to them.
pub const POINTS: [&str; 16] = [
    "shell.run-dir",
    "shell.cgroup",
    "shell.spawned",
    "shell.setup-sent",
    "shell.ready",
    "shell.mapped",
    "launch.limits",
    "launch.data-dir",
    "launch.sent",
    "launch.started",
    "commit.before",
    "commit.sent",
    "adopt.connected",
    "adopt.welcomed",
    "adopt.done",
    "teardown.bye",
];

/// Points that only walls around a guest come to.
pub const GUEST: [&str; 2] = ["guest.mapped", "guest.raised"];

/// Points that only walls around a routed network come to.
pub const ROUTED: [&str; 2] = ["wire.laid", "wire.opened"];

/// Points that only a launch with a disk limit comes to.
const DISK: [&str; 5] = insula_linux::quota::image::POINTS;

fn chosen() -> Option<&'static str> {
    static CHOSEN: OnceLock<Option<&'static str>> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("INSULA_FAULT").ok()?;
        POINTS.into_iter().chain(GUEST).chain(ROUTED).chain(DISK).find(|p| *p == name)
    })
}

/// Dies here if this is the chosen point.
pub(crate) fn point(name: &'static str) {
    if chosen() == Some(name) {
        tracing::error!(name, "fault point reached");
        if let Err(e) = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL) {
            tracing::error!(name, error = %e, "cannot die at a fault point");
        }
    }
}
