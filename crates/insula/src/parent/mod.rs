//! `insula serve`: the small parent.
//!
//! One thread, no runtime, little code: what must not fail does little. It holds the lock of the home and
//! every listener, starts the worker and starts it again when it dies, puts a new one in its place when asked
//! to, and adopts agents whose worker died (it is their subreaper). It decides nothing about services.
//!
//! ```text
//!   serve ──► lock ──► config ──► listeners ──► worker ──► loop { signal | message | request | timer }
//!                                                 ▲           │
//!                                                 ├── died ◄──┤        (see `supervise`)
//!                                                 └── asked ◄─┘        (see `handover`)
//! ```

mod activation;
mod announce;
mod door;
mod generation;
mod handover;
mod listen;
mod lock;
mod notify;
mod plan;
mod reborn;
mod reconfigure;
mod supervise;
mod swap;
mod trail;
mod wait;
mod worker;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;
use insula_linux::signals::SignalFd;
use insula_spec::Config;
use rustix::process::{Pid, Signal};

use crate::deed::{Deed, Ending};
use crate::home::Home;
use crate::lifeline::ToWorker;
use crate::printer::Printer;

pub(crate) use activation::ActivationError;
pub(crate) use door::{Outcome, Request, VERSION as DOOR_VERSION, ask};
pub(crate) use listen::{ListenError, is_local};
use lock::Lock;
pub(crate) use lock::LockError;
pub(crate) use plan::Plan;
pub(crate) use reborn::{Resume, resume};
pub(crate) use worker::VERB as WORKER_VERB;

use door::{Door, Visitor};
use generation::Generation;
use notify::Notifier;
use reborn::Rebirth;
use supervise::{Action, End, Event, Supervisor};
use swap::Swap;
use worker::Worker;

/// Time for requests in flight when the daemon is asked to stop.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// Runs until asked to stop. Gives back the exit status.
///
/// # Errors
/// When something that must be there before the first worker is not.
pub(crate) fn serve(
    home: &Home,
    (config, text): (Config, &str),
    plan: Plan,
    printer: Printer,
) -> anyhow::Result<u8> {
    home.prepare()?;
    let lock = Lock::take(&home.lock_file(), |pid| {
        printer.talk(&format!(
            "the daemon of an earlier run (pid {pid}) is gone; waiting for its worker to end"
        ));
    })?;
    let stop_timeout = plan.stop_timeout();
    let current = Generation::first(home, plan, text)?;
    let door = home.door_socket();
    let door = Door::open(&door).with_context(|| format!("cannot listen on `{}`", door.display()))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("cannot become the reaper of orphaned agents")?;
    let parent = Parent {
        lock,
        door,
        current,
        signals: signals()?,
        supervisor: Supervisor::new(stop_timeout),
        worker: None,
        retired: Vec::new(),
        visitors: Vec::new(),
        unwritten: VecDeque::new(),
        swap: None,
        asked_meanwhile: 0,
        reload_meanwhile: false,
        began: Instant::now(),
        deadline: None,
        rebirth: None,
        greeting: Some(config),
        notifier: Notifier::from_environment(),
        home: home.clone(),
        printer,
    };
    parent.run()
}

/// Every signal that means something to the parent, as readable events.
fn signals() -> anyhow::Result<SignalFd> {
    let signals = [Signal::CHILD, Signal::TERM, Signal::INT, Signal::HUP].map(Signal::as_raw);
    SignalFd::block(&signals).context("cannot receive signals")
}

#[derive(Debug)]
struct Parent {
    home: Home,
    /// What workers are started from.
    current: Generation,
    door: Door,
    /// Passed on with the listeners, and closed after them.
    lock: Lock,
    signals: SignalFd,
    supervisor: Supervisor,
    worker: Option<Worker>,
    /// Workers that gave way and live on for their streams.
    retired: Vec<Worker>,
    /// Those who were let in and have not said yet what they want.
    visitors: Vec<Visitor>,
    /// What was asked for and not done, until a worker can write it down.
    unwritten: VecDeque<(Deed, Ending)>,
    /// A planned restart under way.
    swap: Option<Swap>,
    /// Requests to stop that came during it.
    asked_meanwhile: usize,
    /// Whether a signal to apply the configuration came when that could not be begun.
    reload_meanwhile: bool,
    /// The new program is to take the parent's place, too, as soon as nothing else is to be done.
    rebirth: Option<Rebirth>,
    began: Instant,
    deadline: Option<Instant>,
    /// What the operator is told about when the first worker is ready.
    greeting: Option<Config>,
    printer: Printer,
    notifier: Notifier,
}

impl Parent {
    fn run(mut self) -> anyhow::Result<u8> {
        if let Err(e) = self.launch() {
            return Err(e.context("cannot start the worker"));
        }
        self.go_on(VecDeque::new())
    }

    fn go_on(mut self, mut events: VecDeque<Event>) -> anyhow::Result<u8> {
        loop {
            while let Some(event) = events.pop_front() {
                let actions = self.supervisor.next(self.began.elapsed(), event);
                for action in actions {
                    if let Action::Quit(code) = action {
                        self.leave();
                        return Ok(code);
                    }
                    self.perform(action, &mut events);
                }
            }
            self.remember_reload()?;
            self.be_reborn();
            self.wait(&mut events)?;
        }
    }

    /// The last thing, under the lock still: a new daemon makes its own sockets. What the instances had to
    /// say to clients of earlier workers has been said.
    fn leave(&mut self) {
        for path in [self.home.control_socket(), self.home.heirs_socket(), self.home.door_socket()] {
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "a socket is left behind");
            }
        }
        for worker in self.retired.drain(..) {
            worker.kill();
            worker.wait();
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
                self.notifier.stopping();
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
            Action::CloseListeners => self.current.listeners = None,
            Action::Arm(delay) => self.deadline = Some(Instant::now() + delay),
            Action::Disarm => self.deadline = None,
            // Ends the loop in `go_on`.
            Action::Quit(_) => {}
        }
    }

    fn tell(&self, message: &ToWorker) {
        if let Some(worker) = &self.worker {
            worker.tell(message);
        }
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        self.worker = Some(self.current.launch(&self.home, &self.lock)?);
        Ok(())
    }
}

fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}
