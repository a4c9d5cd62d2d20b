//! `insula serve`: the small parent.
//!
//! One thread, no runtime, little code: what must not fail does little. It holds the lock of the home and
//! every listener, starts the worker and starts it again when it dies, and adopts agents whose worker died
//! (it is their subreaper). It decides nothing about services.
//!
//! ```text
//!   serve ──► lock ──► config ──► listeners ──► worker ──► loop { signal | message | timer }
//!                                                 ▲           │
//!                                                 └── died ◄──┘        (see `supervise`)
//! ```

mod announce;
mod listen;
mod lock;
mod supervise;
mod worker;

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Context;
use insula_linux::signals::SignalFd;
use insula_spec::Config;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::agent_image;
use crate::home::Home;
use crate::lifeline::{Boot, Role, ToParent, ToWorker, VERSION};
use crate::printer::Printer;

pub(crate) use listen::{ListenError, Listeners, is_local};
use lock::Lock;
pub(crate) use lock::LockError;
pub(crate) use worker::VERB as WORKER_VERB;

use supervise::{Action, End, Event, Supervisor};
use worker::Worker;

/// Time for requests in flight when the daemon is asked to stop.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// What a stop may take beyond draining and the longest `stop_timeout`.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// Runs until asked to stop. Gives back the exit status.
///
/// # Errors
/// When something that must be there before the first worker is not.
///
/// `text` is that of the configuration; the flag beside it lets anybody on the loopback use the control API.
pub(crate) fn serve(
    home: &Home,
    config: Config,
    (text, insecure_api): (&str, bool),
    printer: Printer,
) -> anyhow::Result<u8> {
    home.prepare()?;
    let lock = Lock::take(&home.lock_file(), |pid| {
        printer.talk(&format!(
            "the daemon of an earlier run (pid {pid}) is gone; waiting for its worker to end"
        ));
    })?;
    let listeners = Listeners::open(&config, &home.control_socket())?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("cannot become the reaper of orphaned agents")?;
    let signals = [Signal::CHILD, Signal::TERM, Signal::INT, Signal::HUP].map(Signal::as_raw);
    let signals = SignalFd::block(&signals).context("cannot receive signals")?;
    let parent = Parent {
        lock,
        boot: Boot {
            version: VERSION,
            home: home.path().to_owned(),
            config_path: config.path.clone(),
            data_dir: config.settings.data_dir.clone(),
            domain: config.settings.domain.clone(),
            port: listeners.port,
            insecure_api,
            fds: 0,
        },
        config_file: agent_image::sealed("insula-config", text.as_bytes(), false)?,
        agent: agent_image::memfd().context("cannot unpack the agent")?,
        listeners: Some(listeners),
        signals,
        supervisor: Supervisor::new(stop_timeout(&config)),
        worker: None,
        began: Instant::now(),
        deadline: None,
        config,
        home: home.clone(),
        announced: false,
        printer,
    };
    parent.run()
}

fn stop_timeout(config: &Config) -> Duration {
    let longest = config.services.values().map(|s| s.stop_timeout).max().unwrap_or_default();
    DRAIN + longest + STOP_MARGIN
}

#[derive(Debug)]
struct Parent {
    home: Home,
    config: Config,
    boot: Boot,
    config_file: OwnedFd,
    agent: OwnedFd,
    /// `None` once asked to stop.
    listeners: Option<Listeners>,
    /// Passed on with the listeners, and closed after them.
    lock: Lock,
    signals: SignalFd,
    supervisor: Supervisor,
    worker: Option<Worker>,
    began: Instant,
    deadline: Option<Instant>,
    announced: bool,
    printer: Printer,
}

impl Parent {
    fn run(mut self) -> anyhow::Result<u8> {
        let mut events = VecDeque::new();
        if let Err(e) = self.launch() {
            return Err(e.context("cannot start the worker"));
        }
        loop {
            while let Some(event) = events.pop_front() {
                let actions = self.supervisor.next(self.began.elapsed(), event);
                for action in actions {
                    if let Action::Quit(code) = action {
                        // Under the lock still: a new daemon makes its own.
                        if let Err(error) = std::fs::remove_file(self.home.control_socket()) {
                            tracing::warn!(%error, "the control socket is left behind");
                        }
                        return Ok(code);
                    }
                    self.perform(action, &mut events);
                }
            }
            self.wait(&mut events)?;
        }
    }

    /// Waits for the next thing to happen.
    fn wait(&mut self, events: &mut VecDeque<Event>) -> anyhow::Result<()> {
        let timeout = self.deadline.map(|d| timespec(d.saturating_duration_since(Instant::now())));
        let mut fds = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        let messages = self.worker.as_ref().and_then(Worker::messages);
        fds.extend(messages.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e).context("cannot wait for signals"),
        }
        let speaks = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        drop(fds);
        if speaks {
            self.listen_to_worker(events);
        }
        while let Some(signal) = self.signals.next().context("cannot read signals")? {
            if signal == Signal::CHILD.as_raw() {
                self.reap(events)?;
            } else {
                events.push_back(Event::Asked);
            }
        }
        if self.deadline.is_some_and(|d| d <= Instant::now()) {
            self.deadline = None;
            events.push_back(Event::Elapsed);
        }
        Ok(())
    }

    fn listen_to_worker(&mut self, events: &mut VecDeque<Event>) {
        let Some(worker) = &mut self.worker else { return };
        match worker.recv() {
            Ok(Some(ToParent::Ready(report))) => {
                if !self.announced {
                    announce::ready(self.printer, &self.home, &self.config, (&self.boot, &report));
                    self.announced = true;
                }
                tracing::info!(pid = raw(worker.pid()), epoch = report.epoch, "worker ready");
                events.push_back(Event::Ready);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the worker said something that is not a message"),
        }
    }

    /// Takes note of every process that ended: the worker, and agents whose worker died before them.
    fn reap(&mut self, events: &mut VecDeque<Event>) -> anyhow::Result<()> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if self.worker.as_ref().is_some_and(|w| w.pid() == pid) => {
                    self.worker = None;
                    tracing::info!(pid = raw(pid), how = describe(status), "worker ended");
                    events.push_back(Event::Died(end(status)));
                }
                Ok(Some((pid, _))) => tracing::debug!(pid = raw(pid), "agent reaped"),
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e).context("cannot wait for children"),
            }
        }
    }

    fn perform(&mut self, action: Action, events: &mut VecDeque<Event>) {
        match action {
            Action::Launch => {
                if let Err(error) = self.launch() {
                    tracing::error!("the worker could not be started: {error:#}");
                    events.push_back(Event::Died(End::NotStarted));
                }
            }
            Action::Shutdown => {
                self.printer.talk("stopping: draining requests, then stopping instances");
                self.tell(&ToWorker::Shutdown);
            }
            Action::Hurry => self.tell(&ToWorker::Hurry),
            Action::Kill => {
                self.printer.talk("the worker is killed; instances are left running");
                if let Some(worker) = &self.worker {
                    worker.kill();
                }
            }
            Action::CloseListeners => self.listeners = None,
            Action::Arm(delay) => self.deadline = Some(Instant::now() + delay),
            Action::Disarm => self.deadline = None,
            // Ends the loop in `run`.
            Action::Quit(_) => {}
        }
    }

    fn tell(&self, message: &ToWorker) {
        if let Some(worker) = &self.worker {
            worker.tell(message);
        }
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let mut fds = vec![
            (Role::Lock, self.lock.as_fd()),
            (Role::Config, self.config_file.as_fd()),
            (Role::Agent, self.agent.as_fd()),
        ];
        if let Some(listeners) = &self.listeners {
            fds.push((Role::Control, listeners.control.as_fd()));
            fds.extend(listeners.http.iter().map(|l| (Role::Http, l.as_fd())));
            fds.extend(listeners.tcp.iter().map(|(name, l)| (Role::Tcp(name.clone()), l.as_fd())));
        }
        self.worker = Some(Worker::launch(&self.boot, &fds)?);
        Ok(())
    }
}

fn end(status: WaitStatus) -> End {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => End::Code(u8::try_from(code).unwrap_or(1)),
        (None, Some(signal)) => End::Signal(signal),
        (None, None) => End::Code(1),
    }
}

fn describe(status: WaitStatus) -> String {
    match end(status) {
        End::Code(code) => format!("exited with status {code}"),
        End::Signal(signal) => format!("killed by signal {signal}"),
        End::NotStarted => "not started".to_owned(),
    }
}

fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

fn timespec(duration: Duration) -> Timespec {
    // Rounded up to a millisecond, so that the timer has gone off when the wait ends.
    let duration = duration + Duration::from_millis(1);
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
