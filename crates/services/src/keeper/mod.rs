//! The keeper: one task per living instance, the owner of its sandbox.
//!
//! ```text
//!  lease, spawn, stop ──inbox──►┐
//!  sandbox.event() ────────────►│            next(machine, event)
//!  operation under way ────────►├─► event ─────────────────────────► actions ─► operation, gate,
//!  gate.quiet() ───────────────►│                                               waiters, journal
//!  health check ───────────────►│
//!  one timer ──────────────────►┘
//! ```
//! It decides nothing itself ([`machine`] does) and waits for nothing but its next input: whatever takes
//! time is an operation that owns the sandbox and gives it back. When nothing runs and nobody waits, the
//! keeper leaves; the entry in the directory stays.

mod act;
mod input;
mod journal;
mod machine;
mod message;
mod ops;
#[cfg(test)]
mod tests;
mod waiters;

use std::collections::VecDeque;
use std::sync::Arc;

use insula_isolation::{Adopted, BoxFuture, Sandbox};
use insula_spec::Level;
use insula_store::Wanted;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::input::Input;
use self::journal::Journal;
pub(crate) use self::machine::PAUSE;
use self::machine::{By, Event, Machine, State, Why};
pub(crate) use self::message::{Message, has_room, inbox};
use self::ops::Done;
use self::waiters::{Waiter, Waiters};
use crate::census::Seat;
use crate::gate::IdleCheck;
use crate::lease::{LeaseError, Run};
use crate::services::NotRoused;
use crate::shared::{Phase, Site};
use crate::status::{Observed, Status};

/// The owner of one living instance.
pub(crate) struct Keeper {
    site: Site,
    /// Its place among those that are up; `None` at rest.
    seat: Option<Seat>,
    machine: Machine,
    inbox: mpsc::Receiver<Message>,
    phase: watch::Receiver<Phase>,
    /// The phase that it acted on last.
    seen: Phase,
    sandbox: Option<Box<dyn Sandbox>>,
    level: Option<Level>,
    run: Option<Arc<Run>>,
    /// Requests that are in the directory and not in the journal yet.
    unwritten: u64,
    operation: Option<BoxFuture<'static, Done>>,
    check: Option<BoxFuture<'static, Result<(), Why>>>,
    waiters: Waiters,
    journal: Journal,
    /// Whether the workload is frozen.
    frozen: bool,
    /// What the directory was told last.
    told: (Observed, Wanted, Option<Why>),
    /// Events that follow from actions.
    next: VecDeque<Event>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper")
            .field("name", &self.site.name)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

/// A keeper that panics takes the process with it. The next one adopts what runs; if this one went on,
/// nobody would own the instance, and the next request would start it a second time on the same data.
impl Drop for Keeper {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(instance = %self.site.name, "its keeper panicked, ending the process");
            std::process::abort();
        }
    }
}

impl Keeper {
    /// A keeper of an instance of which nothing runs.
    pub(crate) fn new(site: Site, inbox: mpsc::Receiver<Message>, seat: Seat, status: &Status) -> Self {
        let state = match status.observed {
            Observed::Stopped => State::Stopped,
            Observed::Failed => State::Failed {
                why: status.why.as_deref().unwrap_or("it failed").into(),
                retry_at: Instant::now(),
            },
            _ => State::Asleep,
        };
        let mut machine = Machine::new(state, status.wanted);
        machine.why = status.why.as_deref().map(Into::into);
        let told = (machine.observed(), machine.wanted, machine.why.clone());
        Self {
            phase: site.shared.phase.subscribe(),
            seen: Phase::Serving,
            journal: Journal::new(&site.shared, site.name.clone()),
            site,
            seat: Some(seat),
            machine,
            inbox,
            sandbox: None,
            level: None,
            run: None,
            unwritten: 0,
            operation: None,
            check: None,
            waiters: Waiters::default(),
            frozen: false,
            told,
            next: VecDeque::new(),
        }
    }

    /// After a failure, a request may try again at this time.
    pub(crate) fn retry_at(mut self, at: Option<Instant>) -> Self {
        if let (State::Failed { retry_at, .. }, Some(at)) = (&mut self.machine.state, at) {
            *retry_at = at;
        }
        self
    }

    /// Starts at this level if there is no other wish.
    pub(crate) fn at_level(mut self, level: Option<Level>) -> Self {
        self.level = level;
        self
    }

    /// Takes over a sandbox that was found running.
    pub(crate) fn adopt(mut self, adopted: Adopted) -> Self {
        self.sandbox = Some(adopted.sandbox);
        self.frozen = adopted.paused;
        self.take_logs();
        self.next.push_back(Event::Adopted { listening: adopted.listening, paused: adopted.paused });
        self
    }

    /// Lives until nothing runs and nobody waits.
    pub(crate) async fn run(mut self) {
        // Of a sandbox that was adopted. Not before: who adopts holds the lock of the directory.
        self.judge();
        self.feed();
        loop {
            if self.machine.at_rest() {
                self.journal.flush().await;
                if self.leave() {
                    return;
                }
            }
            match self.input().await {
                Input::Phase(Phase::Detached) => return self.detach().await,
                input => self.take(input),
            }
            while self.journal.is_full() {
                self.journal.write_one().await;
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Message(message) => self.message(message),
            Input::Sandbox(insula_isolation::Event::Listening) => {
                tracing::trace!(target: "insula::wake", at = "listening");
                self.next.push_back(Event::Listening);
            }
            Input::Sandbox(insula_isolation::Event::Exited(exit)) => self.next.push_back(Event::Exited(exit)),
            Input::Done(done) => self.done(done),
            Input::Checked(result) => self.next.push_back(Event::Checked(result)),
            Input::Quiet => self.quiet(),
            Input::Timer => self.timer(),
            Input::Phase(Phase::Down { drain }) => self.next.push_back(Event::DownAsked { drain }),
            Input::Phase(Phase::Serving | Phase::Detached) => {}
        }
        self.feed();
    }

    /// Takes a place among those that are up, unless it has one.
    fn sit_down(&mut self) -> Result<(), NotRoused> {
        if self.seat.is_none() {
            let Site { shared, name, .. } = &self.site;
            let seat = shared.census.admit(&name.service, &shared.plan().config);
            self.seat = Some(seat.map_err(NotRoused::Full)?);
        }
        Ok(())
    }

    fn message(&mut self, message: Message) {
        let starts = match &message {
            Message::Lease(_) => self.machine.state != State::Stopped,
            Message::Spawn(_) | Message::Restart(_) | Message::Replace(..) => true,
            Message::Stop(_) | Message::Sleep | Message::Net | Message::Usage(_) => false,
        };
        let seated = if starts { self.sit_down() } else { Ok(()) };
        match (message, seated) {
            (Message::Lease(reply), Err(full)) => waiters::refuse(reply, full.into()),
            (Message::Spawn(reply) | Message::Restart(reply) | Message::Replace(reply, _), Err(full)) => {
                waiters::refuse(reply, full.into());
            }
            (message, _) => self.admitted(message),
        }
    }

    fn admitted(&mut self, message: Message) {
        match message {
            Message::Lease(reply) => {
                let gone = self.waiters.forget_gone(self.site.spec.hold_queue);
                self.next.push_back(Event::GaveUp(gone));
                if self.waiters.len() >= self.site.spec.hold_queue {
                    return waiters::refuse(
                        reply,
                        LeaseError::QueueFull { retry_after: machine::RETRY_SOON },
                    );
                }
                let woke = !self.machine.observed().is_open();
                self.waiters.add(Waiter::Lease { reply, woke });
                self.next.push_back(Event::Wanted(By::Request));
            }
            Message::Spawn(reply) => {
                self.waiters.add(Waiter::Operator(reply));
                self.next.push_back(Event::Wanted(By::Operator));
            }
            Message::Restart(reply) => {
                self.waiters.add(Waiter::Operator(reply));
                self.next.push_back(Event::RestartAsked);
            }
            Message::Replace(reply, until) => {
                self.waiters.add(Waiter::Operator(reply));
                self.next.push_back(Event::ReplaceAsked { until });
            }
            Message::Stop(reply) => {
                self.waiters.add_stopper(reply);
                self.next.push_back(Event::StopAsked);
            }
            Message::Sleep => self.next.push_back(Event::SleepAsked),
            Message::Net => self.judge(),
            Message::Usage(reply) => {
                let usage = self.sandbox.as_ref().map(|s| s.usage());
                if reply.send(usage).is_err() {
                    tracing::debug!(instance = %self.site.name, "nobody waits for the usage any more");
                }
            }
        }
    }

    fn done(&mut self, done: Done) {
        let event = match done {
            Done::Launched { sandbox, level } => {
                self.level = Some(level);
                self.sandbox = Some(sandbox);
                self.take_logs();
                Event::Launched
            }
            Done::LaunchFailed { why, permanent } => Event::LaunchFailed { why, permanent },
            Done::Committed { sandbox, result } => {
                self.sandbox = Some(sandbox);
                result.map_or_else(Event::CommitFailed, |()| Event::Committed)
            }
            Done::Froze { sandbox, result } => {
                self.sandbox = Some(sandbox);
                self.frozen = result.is_ok();
                Event::Froze(result)
            }
            Done::Thawed { sandbox, result } => {
                self.sandbox = Some(sandbox);
                self.frozen = result.is_err();
                Event::Thawed(result)
            }
            Done::Ended(exit) => {
                tracing::debug!(instance = %self.site.name, %exit, "stopped");
                self.frozen = false;
                Event::Ended
            }
        };
        // It may have changed while the sandbox was away.
        self.judge();
        self.next.push_back(event);
    }

    /// Judges what the workload reaches outside by the policy of this moment.
    fn judge(&mut self) {
        let outside = self.site.outside();
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.set_net(&outside);
        }
    }

    /// The last lease is gone, perhaps.
    fn quiet(&mut self) {
        let Some(run) = &self.run else { return };
        match self.machine.state {
            State::Draining { .. } if run.gate.close() => self.next.push_back(Event::Quiet),
            State::Running { .. } => {
                if let Some(timeout) = self.site.spec.idle_timeout {
                    self.next.push_back(Event::IdleAt(run.gate.last_left() + timeout));
                }
            }
            _ => {}
        }
    }

    fn timer(&mut self) {
        let now = Instant::now();
        if let State::Running { idle_at: Some(at), .. } = self.machine.state
            && at <= now
            && let (Some(run), Some(timeout)) = (&self.run, self.site.spec.idle_timeout)
        {
            let event = match run.gate.close_if_idle(now, timeout) {
                IdleCheck::Closed => Event::Idle,
                IdleCheck::Busy => Event::Busy,
                IdleCheck::NotBefore(at) => Event::IdleAt(at),
            };
            self.next.push_back(event);
        }
        self.next.push_back(Event::Tick);
    }

    /// Ends this task, if nothing came in the meantime.
    fn leave(&mut self) -> bool {
        let retry_at = match self.machine.state {
            State::Failed { retry_at, .. } => Some(retry_at),
            _ => None,
        };
        let mut map = self.site.shared.directory.write();
        // Senders send under the read lock: what is not here now will not come.
        if !self.inbox.is_empty() {
            return false;
        }
        if let Some(entry) = map.get_mut(&self.site.name) {
            entry.keeper = None;
            entry.retry_at = retry_at;
        }
        drop(map);
        self.site.shared.directory.changed();
        true
    }

    /// Leaves the instance running and ends.
    async fn detach(mut self) {
        // An uncommitted start dies with its operation; any other one is waited for.
        if !matches!(self.machine.state, State::Starting { step: machine::Step::Launching, .. })
            && let Some(operation) = self.operation.take()
        {
            // A commit waits for the journal.
            let done = tokio::select! {
                done = operation => done,
                never = self.journal.drive() => match never {},
            };
            self.done(done);
        }
        self.journal.flush().await;
        let requests = self.take_requests();
        if requests > 0
            && let Err(error) = self.site.shared.store.count_requests(&self.site.name, requests).await
        {
            tracing::warn!(instance = %self.site.name, requests, %error, "requests are not counted");
        }
        if let Some(run) = self.run.take() {
            // Of one that drains, too: whoever is inside stays there.
            self.site.shared.directory.update(&self.site.name, |entry| entry.run = Some(run));
        }
        if let Some(sandbox) = self.sandbox.take() {
            sandbox.detach();
        }
    }
}
