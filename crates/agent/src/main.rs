//! The program behind every wall.
//!
//! It is executed by the host with one end of a socket pair as standard input, and lives in three stages:
//!
//! ```text
//! stage 0   (host's namespaces)  takes its control groups, raises the walls, forks, ends
//! shell     (inside, PID 1)      waits; its *launchpad*, a child in the workload's control groups, waits too
//! agent     (inside, PID 1)      after Launch: builds the view, lets the launchpad execute the workload,
//!                                reaps, forwards signals, keeps the output, hands out sockets
//! ```
//! Behind a wall with a kernel of its own it is PID 1 of the guest ([`guest`]): its host is the agent outside.
//!
//! Until `Commit` it ends, and everything in its walls with it, when the connection to its launcher ends.
//! After it, it waits for the next host on its listening socket.
//!
//! It is single-threaded, holds no secret beyond the environment it passes on, and trusts its host; the host
//! does not trust it.

mod behind;
mod exec;
mod guest;
mod host;
mod ids;
mod inside;
mod launchpad;
mod life;
mod log;
mod output;
mod probe;
mod reaper;
mod root;
mod spill;
mod stage0;
mod view;

use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    if name == insula_frames::GUEST_AGENT {
        return guest::rehearsal::is_extra().unwrap_or_else(guest::main);
    }
    if name == "insula-ids" {
        return if ids::run().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    // Else its name would be that of the descriptor it was executed from.
    if rustix::thread::set_name(c"insula-agent").is_err() || stage0::run().is_err() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
