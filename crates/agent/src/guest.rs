//! The agent behind a wall with a kernel of its own: PID 1 of the guest, and root there.
//!
//! ```text
//! Waiting ──Launch──► Starting ──executed──► Running ──main ended──► Ending ──all gone──┐
//!    ▲                                                                                   │
//!    └──────────────────────────────────── Exited ◄──────────────────────────────────────┘
//! ```
//! Its host is the agent outside, at the other end of its standard input: when that ends, everything here does. What the
//! workload writes goes out by itself, past both agents' hands.

pub(crate) mod rehearsal;
mod room;

use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::ExitCode;

use insula_frames::{
    Ended, ExecNews, FromAgent, GUEST_REHEARSES, GUEST_ROOT, LaunchPlan, Role, Step, ToAgent,
};
use insula_linux::signals::{self, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Pid;

use crate::exec::{self, Execs};
use crate::host::Connection;
use crate::launchpad::{Launchpad, Outcome};
use crate::reaper::{self, Reaped};
use crate::stage0;
use room::Room;

/// Where the workload is in its life.
enum Life {
    Waiting(Launchpad),
    Starting(Launchpad),
    Running(Pid),
    Ending(Ended),
    /// A launch failed; nothing runs here any more.
    Spent,
}

/// What is to be done.
#[derive(Clone, Copy)]
enum Source {
    Host,
    Children,
    Launchpad,
    Exec(exec::Source),
}

struct Guest {
    host: Connection,
    signals: SignalFd,
    room: Room,
    /// Commands beside the workload.
    execs: Execs,
    life: Life,
}

/// Serves until the host goes away. What goes wrong is written where the workload would write: its host reads that.
pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Nobody else could be told.
            drop(writeln!(io::stderr(), "the agent behind the wall failed: {e}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    // SAFETY: the wall was executed with the connection as standard input, and nothing else in this process owns
    // descriptor 0.
    let control = unsafe { OwnedFd::from_raw_fd(0) };
    let mut host = Connection::new(stage0::keep_off_standard_streams(control)?)?;
    let signals = SignalFd::block(&[libc::SIGCHLD])?;
    let life = Life::Waiting(match std::env::args().nth(1).as_deref() {
        Some(GUEST_REHEARSES) => rehearsal::run()?,
        _ => Launchpad::behind_a_wall(GUEST_ROOT, None)?,
    });
    host.send(&FromAgent::ShellReady { pid: rustix::process::getpid().as_raw_nonzero().get() });
    let mut guest = Guest { host, signals, room: Room::at(GUEST_ROOT), execs: Execs::default(), life };
    loop {
        guest.host.flush()?;
        for source in guest.wait()? {
            match source {
                Source::Host if !guest.hear()? => return Ok(()),
                Source::Host => {}
                Source::Children => guest.reap()?,
                Source::Launchpad => guest.settle(),
                Source::Exec(source) => guest.execs.handle(source, &mut tell(&mut guest.host)),
            }
        }
    }
}

/// What is told of commands goes to the host.
fn tell(host: &mut Connection) -> impl FnMut(ExecNews) {
    |news| host.send(&FromAgent::Exec(news))
}

impl Guest {
    fn wait(&self) -> io::Result<Vec<Source>> {
        let out = if self.host.wants_to_write() { PollFlags::OUT } else { PollFlags::empty() };
        let mut all = vec![
            (Source::Children, PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)),
            (Source::Host, PollFd::from_borrowed_fd(self.host.as_fd(), PollFlags::IN | out)),
        ];
        if let Life::Starting(pad) = &self.life {
            all.push((Source::Launchpad, PollFd::from_borrowed_fd(pad.as_fd(), PollFlags::IN)));
        }
        let commands = self.execs.watched(self.host.is_busy());
        all.extend(commands.into_iter().map(|(source, fd)| (Source::Exec(source), fd)));
        let (sources, mut fds): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let ready = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(sources.into_iter().zip(ready).filter_map(|(source, ready)| ready.then_some(source)).collect())
    }

    /// Does what the host says. `false` when it has gone.
    fn hear(&mut self) -> io::Result<bool> {
        let open = self.host.fill()?;
        while let Some((frame, _)) = self.host.next_frame()? {
            match frame {
                ToAgent::Launch(plan) => {
                    if let Err((step, e, detail)) = self.launch(&plan) {
                        self.life = Life::Spent;
                        let errno = e.raw_os_error().unwrap_or(0);
                        self.host.send(&FromAgent::Failed { step, errno, detail });
                    }
                }
                ToAgent::Signal(signal) => {
                    if let Life::Running(main) = self.life {
                        // It may have ended by itself; then its end is told.
                        drop(signals::signal_child(main, signal));
                    }
                }
                ToAgent::Exec(ask) => {
                    let running = matches!(self.life, Life::Running(_));
                    self.execs.obey(ask, running, (&[], &[]), &mut tell(&mut self.host));
                }
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(open)
    }

    fn launch(&mut self, plan: &LaunchPlan) -> Result<(), (Step, io::Error, String)> {
        let of = |step| move |e: io::Error| (step, e, "agent behind the wall".to_owned());
        let Role::Guest(guest) = &plan.role else {
            return Err(of(Step::Exec)(io::ErrorKind::InvalidData.into()));
        };
        let Life::Waiting(mut pad) = mem::replace(&mut self.life, Life::Spent) else {
            return Err(of(Step::Exec)(io::Error::from_raw_os_error(libc::EBUSY)));
        };
        self.execs.beside(plan);
        let sources = self.room.furnish(&guest.root, &guest.view).map_err(|f| (Step::View, f.error, f.on))?;
        let told = pad.ready().and_then(|_| pad.launch(plan)).and_then(|()| pad.go());
        told.map_err(of(Step::Exec))?;
        drop(sources);
        self.life = Life::Starting(pad);
        Ok(())
    }

    /// Looks whether the launchpad has become the workload.
    fn settle(&mut self) {
        let Life::Starting(pad) = &mut self.life else { return };
        match pad.outcome() {
            Outcome::Undecided => {}
            Outcome::Failed(step, errno) => {
                self.life = Life::Spent;
                self.host.send(&FromAgent::Failed { step, errno, detail: String::new() });
            }
            Outcome::Executed => {
                self.life = Life::Running(pad.pid());
                self.host.send(&FromAgent::Started);
            }
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        while self.signals.next()?.is_some() {}
        loop {
            match reaper::reap(|pid| self.execs.leaving(pid))? {
                Reaped::One(pid, ended) if self.execs.reaped(pid, ended, &mut tell(&mut self.host)) => {}
                Reaped::One(pid, ended) => {
                    // The program may have ended before its execution was noticed.
                    self.settle();
                    if matches!(self.life, Life::Running(main) if main == pid) {
                        self.execs.cut();
                        self.life = Life::Ending(ended);
                    }
                }
                Reaped::None => break,
                Reaped::Alone => return self.all_gone(),
            }
        }
        if matches!(self.life, Life::Ending(_)) { reaper::kill_all(true) } else { Ok(()) }
    }

    /// No process is left but this one.
    fn all_gone(&mut self) -> io::Result<()> {
        let Life::Ending(ended) = self.life else { return Ok(()) };
        self.host.send(&FromAgent::Exited { ended, next_line: 0 });
        self.host.flush()?;
        self.life = Life::Waiting(Launchpad::behind_a_wall(GUEST_ROOT, None)?);
        Ok(())
    }
}
