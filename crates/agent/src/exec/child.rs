//! A command's process: made as the workload's is, by the same steps in the same order.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use insula_frames::{ExecPlan, ExecWhat, LaunchPlan, Step};
use insula_linux::fork::{self, Fork};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use super::{Confines, file};
use crate::launchpad::{self, Failure};

/// A command that was forked, and the ends of its pipes.
pub(super) struct Started {
    pub(super) pid: Pid,
    /// Closes when it was executed; else it says why not.
    pub(super) outcome: UnixStream,
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Forks it.
pub(super) fn start(exec: &ExecPlan, workload: &LaunchPlan, confines: Confines<'_>) -> io::Result<Started> {
    let (outcome, theirs) = UnixStream::pair()?;
    outcome.set_nonblocking(true)?;
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    let ((stdout, stdout_w), (stderr, stderr_w)) = (pipe()?, pipe()?);
    let (stdin_r, stdin) = if exec.input {
        let (reader, writer) = pipe()?;
        (reader, Some(writer))
    } else {
        (File::open("/dev/null")?.into(), None)
    };
    for near in [&stdout, &stderr].into_iter().chain(&stdin) {
        rustix::io::ioctl_fionbio(near, true)?;
    }
    let plan = LaunchPlan {
        env: merged(&workload.env, &exec.env),
        cwd: exec.cwd.clone().unwrap_or_else(|| workload.cwd.clone()),
        ..workload.clone()
    };
    // SAFETY: the agent has one thread for all its life.
    match unsafe { fork::fork() }? {
        Fork::Parent(pid) => Ok(Started { pid, outcome, stdin, stdout, stderr }),
        Fork::Child => {
            let streams = [stdin_r.as_raw_fd(), stdout_w.as_raw_fd(), stderr_w.as_raw_fd()];
            let Err(failure) = become_it(&exec.what, &plan, (confines, streams), &theirs);
            fork::leave(i32::from(launchpad::report(&theirs, failure).is_err()))
        }
    }
}

/// The environment with these variables in place of those of the same name.
fn merged(base: &[String], more: &[String]) -> Vec<String> {
    let name = |pair: &str| pair.split('=').next().map(str::to_owned);
    let kept = base.iter().filter(|pair| !more.iter().any(|new| name(new) == name(pair)));
    kept.chain(more).cloned().collect()
}

/// Returns only with what failed.
fn become_it(
    what: &ExecWhat,
    plan: &LaunchPlan,
    (confines, streams): (Confines<'_>, [RawFd; 3]),
    outcome: &UnixStream,
) -> Result<Infallible, Failure> {
    launchpad::confine(confines.0, confines.1)?;
    launchpad::settle_in(plan, streams)?;
    match what {
        ExecWhat::Program(argv) => Err(launchpad::become_program(argv, plan)),
        ExecWhat::ReadFile(path) => {
            alone(plan, outcome)?;
            fork::leave(file::report(file::read(path)))
        }
        ExecWhat::WriteFile { path, mode } => {
            alone(plan, outcome)?;
            fork::leave(file::report(file::write(path, *mode)))
        }
    }
}

/// Lets go of everything that the agent holds but the standard streams, and tells that it runs.
fn alone(plan: &LaunchPlan, outcome: &UnixStream) -> Result<(), Failure> {
    launchpad::last_filters(plan)?;
    let told = outcome.shutdown(std::net::Shutdown::Both);
    told.map_err(|e| (Step::Exec, e))?;
    // SAFETY: what this process inherited is used by nobody from here on: it ends without returning.
    unsafe { fork::close_all_but(outcome.as_fd()) }.map_err(|e| (Step::Exec, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_the_command_stands_in_the_place_of_the_workloads() {
        let all = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let base = all(&["A=1", "AB=2", "C="]);
        assert_eq!(merged(&base, &all(&["A=x=y", "D=4"])), all(&["AB=2", "C=", "A=x=y", "D=4"]));
        assert_eq!(merged(&base, &[]), base);
    }
}
