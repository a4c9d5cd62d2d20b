//! The parent becomes the new program without ending: same process, same children, same listeners.
//!
//! ```text
//! parent (old program) ── state and descriptors into a socket ──► execve(new program) ── reads them ──► parent
//!        │                     (its standard input from then on)
//!        └── first the same to a child that only looks at it: one that cannot read it changes nothing
//! ```
//! The worker of the new program serves already when this is done. Signals stay blocked across it, so none is
//! lost. If the program cannot be executed, the old parent goes on with the new worker.

#[cfg(test)]
mod goldens;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context;
use clap::ValueEnum;
use insula_edge::control::apex_url;
use insula_spec::{Config, InstanceName, Observability};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

use super::door::{Door, Outcome, VERSION, Visitor};
use super::generation::Generation;
use super::listen::Listeners;
use super::lock::Lock;
use super::notify::Notifier;
use super::plan::Plan;
use super::reconfigure::Changes;
use super::supervise::{Event, Supervisor};
use super::worker::Worker;
use super::{Parent, raw};
use crate::agent_image;
use crate::fault;
use crate::home::Home;
use crate::lifeline::{Lifeline, Report, Role};
use crate::printer::Printer;

/// How long the new program may take to look at the state.
const LOOK: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// What a program is to do with the state in its standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Resume {
    /// Go on as the parent.
    Go,
    /// Look whether it could.
    Check,
}

impl Resume {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Check => "check",
        }
    }
}

/// What a parent leaves to itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// [`VERSION`].
    version: u32,
    home: std::path::PathBuf,
    plan: Plan,
    port: u16,
    /// Whether the listeners came from a service manager.
    given: bool,
    json: bool,
    worker: i32,
    retired: Vec<i32>,
    /// What whoever asked for the restart is still to be told.
    report: Report,
    /// How many descriptors follow.
    fds: usize,
}

/// A planned restart that is done but for the parent.
#[derive(Debug)]
pub(super) struct Rebirth {
    /// Whoever asked for it.
    pub(super) visitor: Option<Visitor>,
    /// What the new worker found.
    pub(super) report: Report,
    /// What a new configuration changed.
    pub(super) changes: Option<Changes>,
}

impl Parent {
    /// Ends a planned restart. Where it brought a new program, that takes the parent's place.
    pub(super) fn be_reborn(&mut self) {
        let Some(rebirth) = self.rebirth.take() else { return };
        if self.current.program.is_some() && self.supervisor.is_serving() {
            self.send_away();
            let Err(error) = self.become_new(rebirth.visitor.as_ref(), &rebirth.report);
            tracing::error!("{error:#}; the old program goes on as the parent of the new worker");
        }
        self.notifier.ready(&self.status());
        if let Some(visitor) = rebirth.visitor {
            let (pid, port) = (std::process::id(), self.current.port);
            let (report, changes) = (rebirth.report, rebirth.changes);
            visitor.answer(&Outcome::Done { report, pid, port, changes });
        }
    }

    /// What the service manager shows.
    pub(super) fn status(&self) -> String {
        format!("serving at {}", apex_url(&self.current.plan.domain, self.current.port))
    }

    /// Becomes the new program; comes back only when that cannot be.
    fn become_new(&self, visitor: Option<&Visitor>, report: &Report) -> anyhow::Result<Infallible> {
        let program = self.current.program.as_ref().context("there is no new program")?;
        let path = format!("/proc/self/fd/{}", program.as_raw_fd());
        let command = |resume: Resume, input: OwnedFd| {
            let mut command = Command::new(&path);
            // The configuration is named for whoever looks at the list of processes.
            command.arg0("insula").args(["serve", "--config"]).arg(&self.current.plan.path);
            command.args(["--resume", resume.as_str()]).stdin(Stdio::from(input));
            command
        };
        let check = command(Resume::Check, self.pour(visitor, report)?);
        look(check).context("the new program cannot take over the parent")?;
        tracing::info!("becoming the new program");
        Err(command(Resume::Go, self.pour(visitor, report)?).exec()).context("cannot execute the new program")
    }

    /// All of the state, in a socket that holds it until it is read.
    fn pour(&self, visitor: Option<&Visitor>, report: &Report) -> anyhow::Result<OwnedFd> {
        let worker = self.worker.as_ref().context("there is no worker")?;
        let listeners = self.current.listeners.as_ref().context("there are no listeners")?;
        let mut fds: Vec<(Role, BorrowedFd<'_>)> = vec![
            (Role::Lock, self.lock.as_fd()),
            (Role::Config, self.current.config.as_fd()),
            (Role::Control, listeners.control.as_fd()),
            (Role::Heirs, listeners.heirs.as_fd()),
            (Role::Door, self.door.as_fd()),
            (Role::Lifeline, worker.lifeline()),
        ];
        fds.extend(listeners.http.iter().map(|l| (Role::Http, l.as_fd())));
        fds.extend(listeners.tcp.iter().map(|(name, _, l)| (Role::Tcp(name.clone()), l.as_fd())));
        fds.extend(visitor.map(|v| (Role::Visitor, v.as_fd())));
        let state = State {
            version: VERSION,
            home: self.home.path().to_owned(),
            plan: self.current.plan.clone(),
            port: self.current.port,
            given: listeners.given,
            json: self.printer.json,
            worker: raw(worker.pid()),
            retired: self.retired.iter().map(|w| raw(w.pid())).collect(),
            report: report.clone(),
            fds: fds.len(),
        };
        let (near, far) = Lifeline::pair()?;
        // What does not fit is an error, not a wait for a reader that is not there yet.
        rustix::io::ioctl_fionbio(&near, true)?;
        near.send(&state, &[])?;
        near.send_fds(&fds)?;
        Ok(far)
    }
}

/// Runs a program that looks at the state, and says whether it could go on with it.
fn look(mut command: Command) -> anyhow::Result<()> {
    let mut child = command.spawn()?;
    let pidfd = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&LOOK))?;
    if ended == 0 {
        child.kill()?;
    }
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "it said {status}");
    Ok(())
}

/// Goes on as the parent that another program was, or only looks whether that can be.
///
/// # Errors
/// When what stands in standard input is not such a state.
pub(crate) fn resume(how: Resume) -> anyhow::Result<u8> {
    let lifeline = Lifeline::from_stdin().context("there is nothing to go on with")?;
    let state: State = lifeline.recv(&mut Vec::new())?.context("there is no state")?;
    anyhow::ensure!(state.version == VERSION, "the state has version {}, not {VERSION}", state.version);
    let given = lifeline.recv_fds(state.fds)?.context("the state is not whole")?;
    let parts = Parts::sort(given)?;
    if how == Resume::Check {
        fault::point("parent.check");
        // Closed in any order: another process has them all, too.
        return Ok(0);
    }
    let mut parent = parts.join(state)?;
    crate::trace::init(&observability(&parent.current))?;
    let mut events = VecDeque::from([Event::Ready]);
    // What ended while nobody looked.
    parent.reap(&mut events)?;
    parent.notifier.ready(&parent.status());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the parent is the new program now");
    parent.go_on(events)
}

/// What the configuration says of the log. Its text was checked before it came here.
fn observability(current: &Generation) -> Observability {
    let text =
        fs::read_to_string(format!("/proc/self/fd/{}", current.config.as_raw_fd())).unwrap_or_default();
    Config::parse(&text, &current.plan.path).map(|config| config.observability).unwrap_or_default()
}

/// Descriptors in their real types.
#[derive(Debug)]
struct Parts {
    lock: Lock,
    config: OwnedFd,
    door: Door,
    lifeline: Lifeline,
    visitor: Option<Visitor>,
    listeners: Listeners,
}

impl Parts {
    fn sort(fds: Vec<(Role, OwnedFd)>) -> anyhow::Result<Self> {
        let (mut http, mut tcp) = (Vec::new(), Vec::<(InstanceName, u16, std::net::TcpListener)>::new());
        let [mut lock, mut config, mut door, mut lifeline, mut visitor, mut control, mut heirs] =
            [const { None }; 7];
        for (role, fd) in fds {
            match role {
                Role::Lock => lock = Some(fd),
                Role::Config => config = Some(fd),
                Role::Door => door = Some(fd),
                Role::Lifeline => lifeline = Some(fd),
                Role::Visitor => visitor = Some(fd),
                Role::Control => control = Some(fd),
                Role::Heirs => heirs = Some(fd),
                Role::Agent => {}
                Role::Http => http.push(fd.into()),
                Role::Tcp(name) => {
                    let listener = std::net::TcpListener::from(fd);
                    tcp.push((name, listener.local_addr()?.port(), listener));
                }
            }
        }
        let listeners = Listeners {
            http,
            port: 0,
            tcp,
            control: control.context("no control listener")?.into(),
            heirs: heirs.context("no listener for earlier workers")?.into(),
            given: false,
        };
        Ok(Self {
            lock: Lock::over(lock.context("no lock")?),
            config: config.context("no configuration")?,
            door: Door::over(door.context("no door")?),
            lifeline: Lifeline::over(lifeline.context("no lifeline")?),
            visitor: visitor.map(Visitor::over).transpose()?,
            listeners,
        })
    }

    fn join(self, state: State) -> anyhow::Result<Parent> {
        let mut listeners = self.listeners;
        (listeners.port, listeners.given) = (state.port, state.given);
        let worker = Worker::again(state.worker, self.lifeline)?;
        // A lifeline that leads nowhere: those that gave way are not spoken to any more.
        let retired = state.retired.into_iter().filter_map(|pid| {
            let (near, _far) = Lifeline::pair().ok()?;
            Worker::again(pid, near).ok()
        });
        if let Some(visitor) = self.visitor {
            let (pid, port) = (std::process::id(), state.port);
            visitor.answer(&Outcome::Done { report: state.report, pid, port, changes: None });
        }
        Ok(Parent {
            lock: self.lock,
            door: self.door,
            signals: super::signals()?,
            supervisor: Supervisor::new(state.plan.stop_timeout()),
            current: Generation {
                plan: state.plan,
                config: self.config,
                program: None,
                agent: Some(agent_image::memfd().context("cannot unpack the agent")?),
                listeners: Some(listeners),
                port: state.port,
            },
            worker: Some(worker),
            retired: retired.collect(),
            visitors: Vec::new(),
            unwritten: VecDeque::new(),
            swap: None,
            asked_meanwhile: 0,
            reload_meanwhile: false,
            rebirth: None,
            began: Instant::now(),
            deadline: None,
            greeting: None,
            home: Home::locate(Some(state.home))?,
            printer: Printer { json: state.json },
            notifier: Notifier::from_environment(),
        })
    }
}
