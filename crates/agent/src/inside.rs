//! The agent's event loop.

mod commands;
pub(crate) mod wall;
mod workload;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use insula_frames::{FromAgent, ToAgent, VERSION};
use insula_linux::seccomp::Listens;
use insula_linux::signals::{self, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, accept_with};

use crate::behind::Behind;
use crate::exec::{self, Execs};
use crate::host::Connection;
use crate::launchpad::Launchpad;
use crate::life::{Life, Running};
use crate::log::Log;
use crate::output::OutputPipe;
use crate::probe;
use crate::reaper;
use crate::stage0::Material;

/// Most connections that have not said `Hello` yet.
const VISITORS: usize = 4;

/// A source of events.
#[derive(Debug, Clone, Copy)]
enum Source {
    Children,
    Listener,
    Host,
    Visitor(usize),
    Output(usize),
    Launchpad,
    Listens,
    Guest,
    Exec(exec::Source),
}

fn readable(source: Source, fd: BorrowedFd<'_>) -> (Source, PollFd<'_>) {
    (source, PollFd::from_borrowed_fd(fd, PollFlags::IN))
}

/// The program behind the wall.
pub(crate) struct Agent {
    material: Material,
    signals: SignalFd,
    host: Option<Connection>,
    epoch: u64,
    visitors: Vec<Connection>,
    committed: bool,
    over: bool,
    /// A host waits to hear that the workload has stopped.
    pausing: bool,
    log: Log,
    outputs: Vec<OutputPipe>,
    scratch: Vec<PathBuf>,
    /// Inside a view, the directory in which the workload makes its socket.
    meeting_place: Option<PathBuf>,
    /// Tells when the workload begins to listen, where the kernel can.
    listens: Option<Listens>,
    /// What the workload wants to hear in the place of SIGTERM.
    stop_signal: Option<i32>,
    /// The agent behind the wall that was executed.
    behind: Option<Behind>,
    /// Commands beside the workload.
    execs: Execs,
    life: Life,
}

impl Agent {
    pub(crate) fn new(host: Connection, material: Material, launchpad: Launchpad) -> io::Result<Self> {
        Ok(Self {
            epoch: material.epoch,
            material,
            signals: SignalFd::block(&[libc::SIGCHLD])?,
            host: Some(host),
            visitors: Vec::new(),
            committed: false,
            over: false,
            pausing: false,
            log: Log::new(),
            outputs: Vec::new(),
            scratch: Vec::new(),
            meeting_place: None,
            listens: None,
            stop_signal: None,
            behind: None,
            execs: Execs::default(),
            life: Life::Blank(launchpad),
        })
    }

    /// Serves until `Bye`, or until the launcher goes away before `Commit`.
    pub(crate) fn run(mut self) -> io::Result<()> {
        while !self.over {
            self.speak();
            for source in self.wait()? {
                self.handle(source)?;
            }
            self.look_for_listener();
        }
        self.end_everything()
    }

    /// Hands log lines to the host as fast as it takes them, and writes what waits.
    fn speak(&mut self) {
        let Some(host) = &mut self.host else { return };
        while !host.is_busy() && self.log.has_news() {
            let Some(batch) = self.log.take_batch() else { break };
            host.send(&batch);
        }
        if host.flush().is_err() {
            self.lose_host();
        }
    }

    /// Waits until something is to be done and tells what.
    fn wait(&self) -> io::Result<Vec<Source>> {
        let timeout = self.life.prober().map(|p| p.due().saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        let (sources, mut fds): (Vec<_>, Vec<_>) = self.watched().into_iter().unzip();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let ready = fds.iter().map(|fd| !fd.revents().is_empty());
        // Later positions first: handling one may remove it from its list.
        Ok(sources.into_iter().zip(ready).filter(|(_, r)| *r).map(|(s, _)| s).rev().collect())
    }

    fn watched(&self) -> Vec<(Source, PollFd<'_>)> {
        let mut all = vec![readable(Source::Children, self.signals.as_fd())];
        if self.committed && self.visitors.len() < VISITORS {
            all.push(readable(Source::Listener, self.material.listener.as_fd()));
        }
        if let Some(host) = &self.host {
            let out = if host.wants_to_write() { PollFlags::OUT } else { PollFlags::empty() };
            all.push((Source::Host, PollFd::from_borrowed_fd(host.as_fd(), PollFlags::IN | out)));
        }
        all.extend(self.visitors.iter().enumerate().map(|(n, v)| readable(Source::Visitor(n), v.as_fd())));
        all.extend(self.outputs.iter().enumerate().map(|(n, o)| readable(Source::Output(n), o.as_fd())));
        if let Some(behind) = &self.behind {
            let out = if behind.wants_to_write() { PollFlags::OUT } else { PollFlags::empty() };
            // What commands write there is not to pile up here.
            let busy = self.host.as_ref().is_some_and(Connection::is_busy);
            let heard = if busy { PollFlags::empty() } else { PollFlags::IN };
            all.push((Source::Guest, PollFd::from_borrowed_fd(behind.as_fd(), heard | out)));
        }
        let hold = self.host.as_ref().is_none_or(Connection::is_busy);
        all.extend(self.execs.watched(hold).into_iter().map(|(source, fd)| (Source::Exec(source), fd)));
        all.extend(self.listens.iter().map(|l| readable(Source::Listens, l.as_fd())));
        all.extend(self.life.starting().map(|pad| readable(Source::Launchpad, pad.as_fd())));
        all
    }

    fn handle(&mut self, source: Source) -> io::Result<()> {
        match source {
            Source::Children => self.reap(),
            Source::Listener => self.accept(),
            Source::Host => self.hear(),
            Source::Visitor(n) => self.greet(n),
            Source::Output(n) => self.read_output(n),
            Source::Launchpad => {
                self.settle_start();
                Ok(())
            }
            Source::Listens => {
                self.pass_listen();
                Ok(())
            }
            Source::Guest => self.hear_guest(),
            Source::Exec(source) => {
                self.handle_exec(source);
                Ok(())
            }
        }
    }

    fn tell(&mut self, frame: &FromAgent) {
        if let Some(host) = &mut self.host {
            host.send(frame);
        }
    }

    fn lose_host(&mut self) {
        self.host = None;
        self.cut_execs();
        self.over |= !self.committed;
    }

    // ── connections ────────────────────────────────────────────────────────────────────────────────────

    fn accept(&mut self) -> io::Result<()> {
        match accept_with(&self.material.listener, SocketFlags::CLOEXEC) {
            Ok(socket) => self.visitors.push(Connection::new(socket)?),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// A visitor with a `Hello` of the newest epoch becomes the host; any other is turned away.
    fn greet(&mut self, n: usize) -> io::Result<()> {
        let mut visitor = self.visitors.remove(n);
        if !visitor.fill().unwrap_or(false) {
            return Ok(());
        }
        match visitor.next_frame() {
            Ok(Some((ToAgent::Hello { version, epoch, logs_from }, _))) => {
                let key = self.material.key.clone();
                let (phase, next_line) = (self.life.phase(), self.log.next());
                visitor.send(&FromAgent::Welcome { version: VERSION, key, phase, next_line });
                if version == VERSION && epoch >= self.epoch {
                    self.epoch = epoch;
                    self.log.start_from(logs_from);
                    match self.life {
                        Life::Running(Running { listening: Some((v6, unix)), .. }) => {
                            visitor.send(&FromAgent::Listening { v6, unix, passed: false });
                        }
                        Life::Exited(ended, _) => visitor.send(&FromAgent::Exited { ended, next_line }),
                        _ => {}
                    }
                    self.cut_execs();
                    self.host = Some(visitor);
                    // More than the greeting may have come already.
                    return self.hear();
                } else {
                    // The answer says why; whether it arrives does not matter.
                    drop(visitor.flush());
                }
            }
            Ok(None) => self.visitors.insert(n, visitor),
            Ok(Some(_)) | Err(_) => {}
        }
        Ok(())
    }

    fn hear(&mut self) -> io::Result<()> {
        let Some(host) = &mut self.host else { return Ok(()) };
        let open = host.fill().unwrap_or(false);
        loop {
            let Some(host) = &mut self.host else { return Ok(()) };
            match host.next_frame() {
                Ok(Some((frame, fds))) => self.obey(frame, fds)?,
                Ok(None) if open => return Ok(()),
                Ok(None) | Err(_) => {
                    self.lose_host();
                    return Ok(());
                }
            }
        }
    }

    fn obey(&mut self, frame: ToAgent, fds: Vec<OwnedFd>) -> io::Result<()> {
        match frame {
            ToAgent::Hello { .. } | ToAgent::Setup(_) => self.lose_host(),
            ToAgent::Launch(plan) => {
                if let Err((step, e, detail)) = self.launch(*plan, fds) {
                    self.life = Life::Spent;
                    let errno = e.raw_os_error().unwrap_or(0);
                    self.tell(&FromAgent::Failed { step, errno, detail });
                }
            }
            ToAgent::Commit => {
                self.committed = true;
                self.tell(&FromAgent::Committed);
            }
            ToAgent::Signal(signal) => {
                let signal = self.stop_signal.filter(|_| signal == libc::SIGTERM).unwrap_or(signal);
                // It may have ended by itself; then its end is on the way to the host already.
                match (&self.behind, self.life.main()) {
                    (Some(_), Some(_)) => drop(self.tell_guest(&ToAgent::Signal(signal))),
                    (None, Some(main)) => drop(signals::signal_child(main, signal)),
                    (_, None) => {}
                }
            }
            ToAgent::KillAll => reaper::kill_all(self.material.own_pids)?,
            ToAgent::Pause => {
                signals::signal_all_others(libc::SIGSTOP)?;
                self.pausing = true;
                self.look_if_paused()?;
            }
            ToAgent::Resume => {
                signals::signal_all_others(libc::SIGCONT)?;
                self.tell(&FromAgent::Done);
            }
            ToAgent::Sockets { count, v6 } => {
                let sockets = probe::unconnected(count, v6);
                let count = u8::try_from(sockets.len()).unwrap_or(0);
                if let Some(host) = &mut self.host {
                    host.send_with(&FromAgent::Sockets { count }, sockets);
                }
            }
            ToAgent::Egress => self.pass_wall()?,
            ToAgent::LogAck { next } => self.log.ack(next),
            ToAgent::Exec(ask) => self.obey_exec(ask)?,
            ToAgent::Bye => self.over = true,
        }
        Ok(())
    }

    /// Passes copies of the listeners out. This process keeps its own, so that what connects waits while nobody
    /// else has them.
    fn pass_wall(&mut self) -> io::Result<()> {
        let (fds, errno) = match &self.material.egress {
            Ok(fds) => (fds.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>()?, 0),
            Err(errno) => (Vec::new(), *errno),
        };
        let count = u8::try_from(fds.len()).unwrap_or(0);
        if let Some(host) = &mut self.host {
            host.send_with(&FromAgent::Egress { count, errno }, fds);
        }
        Ok(())
    }

    /// Tells that the workload has stopped, once it has: a signal is on its way for a moment.
    fn look_if_paused(&mut self) -> io::Result<()> {
        if self.pausing && self.life.main().map_or(Ok(true), reaper::is_stopped)? {
            self.pausing = false;
            self.tell(&FromAgent::Done);
        }
        Ok(())
    }
}
