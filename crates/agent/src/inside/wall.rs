//! A wall that the agent executes, and the workload behind it.
//!
//! ```text
//! Blank ──Launch{Wall}──► Raising ──executed──► Silent ──its agent greets──► Vacant ──Launch{Guest}──► Entering
//!                                                                                                         │
//!                 Entering ◄──Launch{Guest}── Exited ◄──its agent: Exited── Running ◄──its agent: Started──┘
//! ```
//! When the wall itself ends, what is behind it is gone: a running workload counts as killed.

use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::path::Path;

use insula_frames::{Ended, FromAgent, LaunchPlan, Role, Step, ToAgent};
use insula_linux::credentials;

use super::Agent;
use super::workload::{Failure, KEPT, forget_socket};
use crate::life::{Life, Running};
use crate::probe::Prober;
use crate::reaper;
use crate::view::{self, Complete};

impl Agent {
    /// Lets the agent behind the wall execute a workload, in the view that is completed for it the first time.
    pub(super) fn launch_inside(&mut self, plan: LaunchPlan, fds: Vec<OwnedFd>) -> Result<(), Failure> {
        let failed = |detail: &str| {
            let detail = detail.to_owned();
            move |e: io::Error| (Step::View, e, detail)
        };
        match (mem::replace(&mut self.life, Life::Spent), &self.behind) {
            (Life::Vacant | Life::Exited(_, None), Some(_)) => {}
            _ => return Err(failed("no wall waits for a workload")(io::ErrorKind::NotFound.into())),
        }
        if let Some(view) = &plan.view {
            view::extend(view, fds, plan.ids).map_err(|f| (Step::View, f.error, f.on))?;
            view::leave_old_root(Complete::Later).map_err(failed("old root"))?;
            credentials::keep_only(KEPT).map_err(|e| (Step::Ids, e, "capabilities".to_owned()))?;
            self.meeting_place = Path::new(&plan.probe.socket).parent().map(Path::to_owned);
        }
        forget_socket(&plan.probe)?;
        self.stop_signal = plan.stop_signal;
        let probe = plan.probe.clone();
        let inner = ToAgent::Launch(Box::new(LaunchPlan { view: None, spill: false, ..plan }));
        self.tell_guest(&inner).map_err(failed("tell the agent behind the wall"))?;
        self.life = Life::Entering(Prober::new(probe));
        Ok(())
    }

    pub(super) fn tell_guest(&mut self, frame: &ToAgent) -> io::Result<()> {
        self.behind.as_mut().map_or_else(|| Err(io::ErrorKind::NotFound.into()), |behind| behind.tell(frame))
    }

    /// Takes in what the agent behind the wall says. Whatever breaks the rules ends everything behind it.
    pub(super) fn hear_guest(&mut self) -> io::Result<()> {
        let Some(behind) = &mut self.behind else { return Ok(()) };
        let open = behind.exchange();
        loop {
            let Some(behind) = &mut self.behind else { return Ok(()) };
            let kept = match behind.next_frame() {
                Ok(Some(frame)) => self.believe(frame)?,
                Ok(None) => break,
                Err(_) => false,
            };
            if !kept {
                return reaper::kill_all(self.material.own_pids);
            }
        }
        // Nobody is there any more: the wall ends, or is to.
        if open.is_err() { reaper::kill_all(self.material.own_pids) } else { Ok(()) }
    }

    /// Answers whether this could be said now.
    fn believe(&mut self, frame: FromAgent) -> io::Result<bool> {
        let frame = match frame {
            FromAgent::Exec(news) => {
                self.believe_exec(news);
                return Ok(true);
            }
            frame => frame,
        };
        if matches!(self.life, Life::Raising(_)) {
            // The wall may greet before its execution was noticed.
            self.settle_start();
        }
        match (frame, mem::replace(&mut self.life, Life::Spent)) {
            (FromAgent::ShellReady { .. }, Life::Silent) => {
                self.life = Life::Vacant;
                self.tell(&FromAgent::Started);
            }
            (FromAgent::Started, Life::Entering(prober)) => {
                let Some(main) = self.behind.as_ref().map(|behind| behind.wall) else { return Ok(false) };
                self.life = Life::Running(Running { main, prober: Some(prober), listening: None });
                self.tell(&FromAgent::Started);
            }
            (FromAgent::Failed { step, errno, detail }, Life::Entering(_)) => {
                self.tell(&FromAgent::Failed { step, errno, detail });
            }
            (FromAgent::Exited { ended, .. }, Life::Running(_)) => self.left(ended)?,
            (_, life) => {
                self.life = life;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The workload ended, and everything with it; the wall stands.
    fn left(&mut self, ended: Ended) -> io::Result<()> {
        if let Some(behind) = &mut self.behind {
            behind.forget_commands();
        }
        for output in &mut self.outputs {
            let (stderr, log) = (output.stderr, &mut self.log);
            output.settle(|line| log.push(stderr, line))?;
        }
        self.speak();
        self.tell(&FromAgent::Exited { ended, next_line: self.log.next() });
        self.life = Life::Exited(ended, None);
        Ok(())
    }

    /// The process of the wall ended.
    pub(super) fn wall_ended(&mut self, ended: Ended) -> io::Result<()> {
        self.behind = None;
        match mem::replace(&mut self.life, Life::Spent) {
            Life::Raising(_) | Life::Silent | Life::Entering(_) => {
                let detail = self.last_words(ended)?;
                self.tell(&FromAgent::Failed { step: Step::Walls, errno: 0, detail });
            }
            Life::Vacant => self.over = true,
            // It cannot have ended in order: its agent would have said so.
            Life::Running(_) => self.life = Life::Ending(Ended::Signal(libc::SIGKILL)),
            other => self.life = other,
        }
        Ok(())
    }

    /// The last line that the wall wrote about itself.
    fn last_words(&mut self, ended: Ended) -> io::Result<String> {
        let mut last = match ended {
            Ended::Code(code) => format!("it ended with status {code}"),
            Ended::Signal(signal) => format!("it was killed by signal {signal}"),
        };
        for output in &mut self.outputs {
            let (stderr, log) = (output.stderr, &mut self.log);
            output.settle(|line| {
                log.push(stderr, line);
                last = String::from_utf8_lossy(line).into_owned();
            })?;
        }
        Ok(last)
    }
}

/// Whether this is a launch behind a wall.
pub(super) fn is_inside(plan: &LaunchPlan) -> bool {
    matches!(plan.role, Role::Guest(_))
}
