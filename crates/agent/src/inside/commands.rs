//! Commands beside the workload: done here, or by the agent behind the wall.

use std::io;

use insula_frames::{Ended, ExecAsk, ExecNews, FromAgent, Role, Step, ToAgent};
use rustix::process::Pid;

use super::Agent;
use crate::exec::{self, Confines, Execs, Tell};
use crate::life::Life;

impl Agent {
    /// Works on the commands, with a way to tell the host.
    fn with_execs<T>(&mut self, work: impl FnOnce(&mut Execs, Confines<'_>, Tell<'_>) -> T) -> T {
        let Self { execs, host, material, .. } = self;
        let mut tell = |news| {
            if let Some(host) = host {
                host.send(&FromAgent::Exec(news));
            }
        };
        work(execs, (&material.app_groups, &material.filters), &mut tell)
    }

    pub(super) fn obey_exec(&mut self, ask: ExecAsk) -> io::Result<()> {
        let running = matches!(self.life, Life::Running(_));
        if self.behind.is_none() {
            self.with_execs(|execs, confines, tell| execs.obey(ask, running, confines, tell));
            return Ok(());
        }
        if let (ExecAsk::Start(plan), false) = (&ask, running) {
            let failed = ExecNews::Failed { id: plan.id, step: Step::Exec, errno: libc::ESRCH };
            self.tell(&FromAgent::Exec(failed));
            return Ok(());
        }
        if let Some(behind) = &mut self.behind {
            behind.note(&ask);
        }
        self.tell_guest(&ToAgent::Exec(ask))
    }

    pub(super) fn handle_exec(&mut self, source: exec::Source) {
        self.with_execs(|execs, _, tell| execs.handle(source, tell));
    }

    /// Takes in the end of a child, if it was a command.
    pub(super) fn reaped_exec(&mut self, pid: Pid, ended: Ended) -> bool {
        self.with_execs(|execs, _, tell| execs.reaped(pid, ended, tell))
    }

    /// What the agent behind the wall tells of commands; nothing of those that the host knows nothing of any more.
    pub(super) fn believe_exec(&mut self, news: ExecNews) {
        if self.behind.as_mut().is_some_and(|behind| behind.knows(&news)) {
            self.tell(&FromAgent::Exec(news));
        }
    }

    /// Nobody waits for commands any more.
    pub(super) fn cut_execs(&mut self) {
        self.execs.cut();
        if self.behind.as_mut().is_some_and(crate::behind::Behind::forget_commands) {
            // One that does not hear this has gone, and its commands with it.
            drop(self.tell_guest(&ToAgent::Exec(ExecAsk::KillAll)));
        }
    }

    /// From now on commands run beside this.
    pub(super) fn remember(&mut self, plan: &insula_frames::LaunchPlan) {
        if plan.role != Role::Wall {
            self.execs.beside(plan);
        }
    }
}
