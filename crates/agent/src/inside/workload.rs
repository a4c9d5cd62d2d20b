//! What the agent does with its workload: starts it, looks for its listener, reaps it, tells its end.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use insula_frames::{Ended, FromAgent, LaunchPlan, Probe, Role, Step};
use insula_linux::credentials;
use insula_linux::seccomp::Listens;
use rustix::process::DumpableBehavior;
use rustix::thread::CapabilitySet;

use super::{Agent, wall};
use crate::behind::Behind;
use crate::launchpad::{Launchpad, Outcome};
use crate::life::{Life, Running};
use crate::output::Found;
use crate::probe::Prober;
use crate::reaper::{self, Reaped};
use crate::view::{self, Complete};

/// What the agent keeps of its power once a workload runs: what ending it and starting it again takes.
pub(super) const KEPT: CapabilitySet = CapabilitySet::KILL
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER);

/// A step that failed, why, and on what.
pub(super) type Failure = (Step, io::Error, String);

/// Lets go of the host's root, and of more power than the next run will take. Before a wall that is later.
fn close_up(plan: &LaunchPlan) -> Result<(), Failure> {
    let last = plan.role != Role::Wall;
    if plan.view.is_some() && last {
        view::leave_old_root(Complete::Now).map_err(|e| (Step::View, e, "old root".to_owned()))?;
    }
    if (plan.view.is_some() || plan.ids.is_some()) && last {
        credentials::keep_only(KEPT).map_err(|e| (Step::Ids, e, "capabilities".to_owned()))?;
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| (Step::Walls, e.into(), "non-dumpable".to_owned()))
}

/// Removes the socket of an earlier run.
pub(super) fn forget_socket(probe: &Probe) -> Result<(), Failure> {
    match std::fs::remove_file(&probe.socket) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err((Step::View, e, probe.socket.clone()))
        }
        _ => Ok(()),
    }
}

/// Why a launchpad does not listen: it may have told, and is not there any more.
fn broken(pad: &mut Launchpad, e: io::Error) -> Failure {
    let (step, e) = match pad.outcome() {
        Outcome::Failed(step, errno) => (step, io::Error::from_raw_os_error(errno)),
        Outcome::Executed | Outcome::Undecided => (Step::Exec, e),
    };
    (step, e, "launchpad".to_owned())
}

impl Agent {
    pub(super) fn launch(&mut self, plan: LaunchPlan, mut fds: Vec<OwnedFd>) -> Result<(), Failure> {
        if plan.spill
            && let Some(file) = fds.pop()
        {
            self.log.spill_into(File::from(file));
        }
        self.remember(&plan);
        if wall::is_inside(&plan) {
            return self.launch_inside(plan, fds);
        }
        let busy =
            || (Step::Exec, io::Error::from_raw_os_error(libc::EBUSY), "these walls are in use".to_owned());
        let mut pad = match mem::replace(&mut self.life, Life::Spent) {
            Life::Blank(pad) | Life::Exited(_, Some(pad)) => pad,
            _ => return Err(busy()),
        };
        if plan.ids.is_some_and(|ids| ids.agent_root) {
            credentials::become_id(0).map_err(|e| (Step::Ids, e, "agent".to_owned()))?;
        }
        self.furnish(&plan, fds)?;
        self.stop_signal = plan.stop_signal;
        self.listens = None;
        // From here on the launchpad gets ready while the agent closes the walls; it executes nothing before `go`.
        if let Err(e) = pad.ready().and_then(|listens| {
            self.listens = listens;
            pad.launch(&plan)?;
            if plan.role == Role::Wall {
                self.behind = Some(Behind::new(pad.guest()?, pad.pid())?);
            }
            Ok(())
        }) {
            return Err(broken(&mut pad, e));
        }
        close_up(&plan)?;
        if let Err(e) = pad.go() {
            return Err(broken(&mut pad, e));
        }
        self.life = match plan.role {
            Role::Wall => Life::Raising(pad),
            _ => Life::Starting(pad, Prober::new(plan.probe)),
        };
        Ok(())
    }

    /// Puts everything in its place for a run.
    fn furnish(&mut self, plan: &LaunchPlan, fds: Vec<OwnedFd>) -> Result<(), Failure> {
        forget_socket(&plan.probe)?;
        match &plan.view {
            Some(view) => {
                let complete = if plan.role == Role::Wall { Complete::Later } else { Complete::Now };
                let built = view::build(view, fds, plan.ids, complete);
                self.scratch = built.map_err(|f| (Step::View, f.error, f.on))?;
                self.meeting_place = Path::new(&plan.probe.socket).parent().map(Path::to_owned);
            }
            None => view::empty(&self.scratch).map_err(|e| (Step::View, e, "empty scratch".to_owned()))?,
        }
        Ok(())
    }

    /// Looks whether the launchpad has become the workload.
    pub(super) fn settle_start(&mut self) {
        let (Life::Starting(pad, _) | Life::Raising(pad)) = &mut self.life else { return };
        match pad.outcome() {
            Outcome::Undecided => {}
            Outcome::Failed(step, errno) => {
                self.life = Life::Spent;
                self.tell(&FromAgent::Failed { step, errno, detail: String::new() });
            }
            Outcome::Executed => {
                let pad = match mem::replace(&mut self.life, Life::Silent) {
                    Life::Starting(pad, prober) => {
                        let main = pad.pid();
                        self.life = Life::Running(Running { main, prober: Some(prober), listening: None });
                        self.tell(&FromAgent::Started);
                        pad
                    }
                    Life::Raising(pad) => pad,
                    _ => return,
                };
                self.outputs.extend(pad.outputs);
            }
        }
    }

    pub(super) fn look_for_listener(&mut self) {
        let Life::Running(running) = &mut self.life else { return };
        let Some(prober) = running.prober.as_mut().filter(|p| p.due() <= Instant::now()) else { return };
        let Some(found) = prober.look() else { return };
        if found.unix && self.meeting_place.is_some() {
            // A host whose id is not that of the workload could not connect. No one else gets to the place.
            drop(prober.let_everyone_connect());
        }
        running.prober = None;
        running.listening = Some((found.v6, found.unix));
        let frame = FromAgent::Listening { v6: found.v6, unix: found.unix, passed: true };
        if let Some(host) = &mut self.host {
            host.send_with(&frame, vec![found.connection]);
        }
    }

    /// The workload, or something it started, is about to listen: it goes on, and is looked for at once.
    pub(super) fn pass_listen(&mut self) {
        match self.listens.as_ref().map(Listens::pass) {
            Some(Ok(true)) => match &mut self.life {
                Life::Running(Running { prober: Some(prober), .. })
                | Life::Starting(_, prober)
                | Life::Entering(prober) => prober.hurry(),
                _ => {}
            },
            // Nobody is left. Without this end a call would fail, so it is kept until then.
            Some(Ok(false) | Err(_)) => self.listens = None,
            None => {}
        }
    }

    pub(super) fn reap(&mut self) -> io::Result<()> {
        while self.signals.next()?.is_some() {}
        self.look_if_paused()?;
        loop {
            match reaper::reap(|pid| self.execs.leaving(pid))? {
                Reaped::One(pid, ended) if self.reaped_exec(pid, ended) => {}
                Reaped::One(pid, ended) => {
                    // The program may have ended before its execution was noticed.
                    self.settle_start();
                    if self.behind.as_ref().is_some_and(|behind| behind.wall == pid) {
                        self.wall_ended(ended)?;
                    } else if self.life.main() == Some(pid) {
                        self.cut_execs();
                        self.life = Life::Ending(ended);
                        self.look_if_paused()?;
                    }
                }
                Reaped::None => break,
                Reaped::Alone => return self.all_gone(),
            }
        }
        if matches!(self.life, Life::Ending(_)) {
            reaper::kill_all(self.material.own_pids)?;
        }
        Ok(())
    }

    /// No process is left but the agent: the rest of the output is read, and the end is told.
    fn all_gone(&mut self) -> io::Result<()> {
        let Life::Ending(ended) = self.life else { return Ok(()) };
        for mut output in mem::take(&mut self.outputs) {
            let stderr = output.stderr;
            while output.read(|line| self.log.push(stderr, line))? == Found::More {}
        }
        self.exited(ended);
        Ok(())
    }

    /// The end is told first: the host gets ready for what comes next while a new launchpad does.
    fn exited(&mut self, ended: Ended) {
        self.speak();
        self.tell(&FromAgent::Exited { ended, next_line: self.log.next() });
        self.speak();
        self.life =
            Life::Exited(ended, Launchpad::prepare(&self.material.app_groups, &self.material.filters).ok());
    }

    pub(super) fn read_output(&mut self, n: usize) -> io::Result<()> {
        let Some(output) = self.outputs.get_mut(n) else { return Ok(()) };
        let (stderr, log) = (output.stderr, &mut self.log);
        if output.read(|line| log.push(stderr, line))? == Found::End {
            self.outputs.remove(n);
        }
        Ok(())
    }

    /// Leaves nothing behind. In a pid namespace the kernel sees to it; elsewhere it takes as many rounds as
    /// processes hide behind others.
    pub(super) fn end_everything(&self) -> io::Result<()> {
        if matches!(self.life, Life::Exited(..)) {
            // A host without rights over the ids in here cannot remove what they made.
            view::empty(self.meeting_place.as_slice())?;
        }
        if self.material.own_pids {
            return Ok(());
        }
        loop {
            reaper::kill_all(false)?;
            match rustix::process::wait(rustix::process::WaitOptions::empty()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }
}
