//! Commands beside the workload: each a child in the same walls, with pipes whose other ends are here.
//!
//! ```text
//! Start ──► starting ──executed──► running ──reaped──► draining ──all output told──► Ended
//!              │ failed               │ Kill: its process group is killed
//!              ▼                      ▼
//!            Failed                 running, mute ──reaped──► Ended
//! ```
//! One leaves nothing of its process group behind. When the host goes, or the workload ends, all of them are killed and
//! nothing more is said of them.

mod child;
mod file;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use insula_frames::{
    EXEC_CHUNK, EXEC_MAX, EXEC_OUTPUT_WINDOW, Ended, ExecAsk, ExecNews, ExecPlan, ExecWhat, LaunchPlan, Role,
    Step,
};
use insula_linux::signals;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::launchpad::{Outcome, outcome_of};

/// Bytes that are read after the end of a command: whoever else has its pipe may write for ever.
const AFTER_END: usize = 1 << 20;

/// Control groups to join and system call filters to install.
pub(crate) type Confines<'a> = (&'a [OwnedFd], &'a [Vec<u8>]);

/// Where news go.
pub(crate) type Tell<'a> = &'a mut dyn FnMut(ExecNews);

/// What is to be done about a command.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    Start(u64),
    Input(u64),
    Output(u64, bool),
}

/// All commands beside one workload.
#[derive(Default)]
pub(crate) struct Execs {
    /// What the workload was executed as.
    workload: Option<LaunchPlan>,
    all: Vec<Exec>,
}

struct Exec {
    id: u64,
    pid: Pid,
    /// It clears away what it made before it ends, if it is asked to.
    tidy: bool,
    /// Where the outcome of its start comes.
    start: Option<UnixStream>,
    stdin: Option<OwnedFd>,
    input: Vec<u8>,
    last: bool,
    outputs: Vec<(bool, OwnedFd)>,
    /// Bytes of output that may be told.
    credit: usize,
    ended: Option<Ended>,
    /// Bytes that are still read once it has ended.
    after: usize,
}

impl Execs {
    /// From now on commands run beside this workload.
    pub(crate) fn beside(&mut self, plan: &LaunchPlan) {
        let mut plan = LaunchPlan { view: None, spill: false, ..plan.clone() };
        if let Role::Guest(guest) = &mut plan.role {
            guest.view.ops = Vec::new();
        }
        self.workload = Some(plan);
    }

    /// Does what the host asks.
    pub(crate) fn obey(&mut self, ask: ExecAsk, running: bool, confines: Confines<'_>, tell: Tell<'_>) {
        match ask {
            ExecAsk::Start(plan) => {
                let id = plan.id;
                let started = if running { self.start(plan, confines) } else { Err(Errno::SRCH.into()) };
                if let Err(e) = started {
                    let errno = e.raw_os_error().unwrap_or(libc::EIO);
                    tell(ExecNews::Failed { id, step: Step::Exec, errno });
                }
            }
            ExecAsk::Input { id, bytes, last } => {
                if let Some(exec) = self.find(id) {
                    exec.input.extend_from_slice(&bytes);
                    exec.last |= last;
                    exec.feed(tell);
                }
            }
            ExecAsk::Read { id, bytes } => {
                if let Some(exec) = self.find(id) {
                    let more = usize::try_from(bytes).unwrap_or(usize::MAX);
                    exec.credit = exec.credit.saturating_add(more).min(EXEC_OUTPUT_WINDOW);
                    exec.drain(tell);
                }
            }
            ExecAsk::Kill { id } => {
                if let Some(exec) = self.find(id) {
                    exec.kill();
                    exec.outputs.clear();
                }
            }
            ExecAsk::KillAll => self.cut(),
        }
        self.tell_ended(tell);
    }

    fn find(&mut self, id: u64) -> Option<&mut Exec> {
        self.all.iter_mut().find(|exec| exec.id == id)
    }

    fn start(&mut self, plan: ExecPlan, confines: Confines<'_>) -> io::Result<()> {
        let workload = self.workload.as_ref().ok_or(io::ErrorKind::NotFound)?;
        if workload.role == Role::Driver {
            return Err(Errno::OPNOTSUPP.into());
        }
        if self.all.len() >= EXEC_MAX {
            return Err(Errno::AGAIN.into());
        }
        let started = child::start(&plan, workload, confines)?;
        self.all.push(Exec {
            id: plan.id,
            pid: started.pid,
            tidy: matches!(plan.what, ExecWhat::WriteFile { .. }),
            start: Some(started.outcome),
            stdin: started.stdin,
            input: Vec::new(),
            last: false,
            outputs: vec![(false, started.stdout), (true, started.stderr)],
            credit: EXEC_OUTPUT_WINDOW,
            ended: None,
            after: AFTER_END,
        });
        Ok(())
    }

    /// What is waited for. With `hold` nothing more is read.
    pub(crate) fn watched(&self, hold: bool) -> Vec<(Source, PollFd<'_>)> {
        let mut all = Vec::new();
        for exec in &self.all {
            if let Some(start) = &exec.start {
                all.push(watched(Source::Start(exec.id), start.as_fd(), PollFlags::IN));
            }
            if let Some(stdin) = exec.stdin.as_ref().filter(|_| !exec.input.is_empty()) {
                all.push(watched(Source::Input(exec.id), stdin.as_fd(), PollFlags::OUT));
            }
            if !hold && exec.credit > 0 && exec.start.is_none() && exec.ended.is_none() {
                for (stderr, pipe) in &exec.outputs {
                    all.push(watched(Source::Output(exec.id, *stderr), pipe.as_fd(), PollFlags::IN));
                }
            }
        }
        all
    }

    /// Goes on with one.
    pub(crate) fn handle(&mut self, source: Source, tell: Tell<'_>) {
        match source {
            Source::Start(id) => self.settle(id, tell),
            Source::Input(id) => {
                if let Some(exec) = self.find(id) {
                    exec.feed(tell);
                }
            }
            Source::Output(id, stderr) => {
                if let Some(exec) = self.find(id) {
                    exec.read(stderr, tell);
                }
            }
        }
        self.tell_ended(tell);
    }

    /// Looks what became of a start.
    fn settle(&mut self, id: u64, tell: Tell<'_>) {
        let Some(exec) = self.find(id) else { return };
        let Some(start) = &mut exec.start else { return };
        match outcome_of(start) {
            Outcome::Undecided => {}
            Outcome::Executed => {
                exec.start = None;
                tell(ExecNews::Started { id });
            }
            Outcome::Failed(step, errno) => {
                self.all.retain(|exec| exec.id != id);
                tell(ExecNews::Failed { id, step, errno });
            }
        }
    }

    /// A child ended, and its number is still its own: nothing of its process group stays.
    pub(crate) fn leaving(&self, pid: Pid) {
        if self.all.iter().any(|exec| exec.pid == pid && exec.ended.is_none()) {
            // Whoever is in the group is a child of the command's; one that changed its id is not ours to kill.
            drop(signals::signal_group(pid, libc::SIGKILL));
        }
    }

    /// Takes in the end of a child. Tells whether it was a command.
    pub(crate) fn reaped(&mut self, pid: Pid, ended: Ended, tell: Tell<'_>) -> bool {
        let mut all = self.all.iter();
        let Some(id) = all.find(|exec| exec.pid == pid && exec.ended.is_none()).map(|exec| exec.id) else {
            return false;
        };
        // It may have ended before its execution was noticed.
        self.settle(id, tell);
        if let Some(exec) = self.find(id) {
            (exec.ended, exec.stdin) = (Some(ended), None);
            exec.drain(tell);
        }
        self.tell_ended(tell);
        true
    }

    fn tell_ended(&mut self, tell: Tell<'_>) {
        self.all.retain(|exec| match exec.ended {
            Some(ended) if exec.outputs.is_empty() => {
                tell(ExecNews::Ended { id: exec.id, ended });
                false
            }
            _ => true,
        });
    }

    /// Kills all of them and forgets them.
    pub(crate) fn cut(&mut self) {
        for exec in std::mem::take(&mut self.all) {
            exec.kill();
        }
    }
}

fn watched(source: Source, fd: BorrowedFd<'_>, flags: PollFlags) -> (Source, PollFd<'_>) {
    (source, PollFd::from_borrowed_fd(fd, flags))
}

impl Exec {
    fn kill(&self) {
        if self.ended.is_none() {
            let signal = if self.tidy { libc::SIGTERM } else { libc::SIGKILL };
            // It may be at its end by itself.
            drop(signals::signal_group(self.pid, signal));
        }
    }

    /// Gives it what it takes of its input. What nobody reads any more is thrown away.
    fn feed(&mut self, tell: Tell<'_>) {
        let mut taken = 0;
        while let Some(stdin) = self.stdin.as_ref().filter(|_| taken < self.input.len()) {
            match rustix::io::write(stdin, &self.input[taken..]) {
                Ok(n) => taken += n,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => self.stdin = None,
            }
        }
        if self.stdin.is_none() {
            taken = self.input.len();
        }
        self.input.drain(..taken);
        if self.input.is_empty() && self.last {
            self.stdin = None;
        }
        if let (1.., Ok(bytes)) = (taken, u32::try_from(taken)) {
            tell(ExecNews::Taken { id: self.id, bytes });
        }
    }

    /// Reads once from one of its pipes. Tells whether there was something.
    fn read(&mut self, stderr: bool, tell: Tell<'_>) -> bool {
        // A pipe may have been found ready before the last credit was used up: a read of nothing looks like its end.
        if self.credit == 0 {
            return false;
        }
        let Some(at) = self.outputs.iter().position(|(known, _)| *known == stderr) else { return false };
        let mut buffer = [0; EXEC_CHUNK];
        let most = EXEC_CHUNK.min(self.credit);
        match rustix::io::read(&self.outputs[at].1, &mut buffer[..most]) {
            Ok(n @ 1..) => {
                self.credit -= n;
                tell(ExecNews::Output { id: self.id, stderr, bytes: buffer[..n].to_vec() });
                return true;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) | Err(_) => {
                self.outputs.remove(at);
            }
        }
        false
    }

    /// Once it has ended: tells what is left in its pipes, as far as there is credit.
    fn drain(&mut self, tell: Tell<'_>) {
        if self.ended.is_none() {
            return;
        }
        for stderr in [false, true] {
            let mut dry = false;
            while self.credit > 0 && self.after > 0 && !dry {
                let before = self.credit;
                dry = !self.read(stderr, tell);
                self.after = self.after.saturating_sub(before - self.credit);
            }
            if dry || self.after == 0 {
                self.outputs.retain(|(known, _)| *known != stderr);
            }
        }
    }
}

#[cfg(test)]
mod tests;
