//! Writes what happened to an instance into the store, in order, without making the keeper wait.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use insula_isolation::BoxFuture;
use insula_spec::InstanceName;
use insula_store::{Change, ChangeError, Event, EventKind, Store, Wanted};
use tokio::sync::oneshot;

use super::machine::{Cause, Health, Note};
use crate::counts::Counter;
use crate::disk::Hint;
use crate::failure::Failure;
use crate::shared::Shared;

/// Lines waiting beyond which the keeper waits for the store.
const QUEUE_MAX: usize = 64;

type Written = Result<(), ChangeError>;

/// One line to write.
#[derive(Debug)]
struct Line {
    change: Change,
    event: Event,
    reply: Option<oneshot::Sender<Written>>,
}

/// The lines of one instance that are not written yet.
pub(super) struct Journal {
    store: Store,
    counter: Arc<Counter>,
    /// Where its directory has a limit.
    disk: Option<Hint>,
    name: InstanceName,
    queue: VecDeque<Line>,
    writing: Option<BoxFuture<'static, ()>>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("name", &self.name)
            .field("queue", &self.queue.len())
            .finish_non_exhaustive()
    }
}

impl Journal {
    pub(super) fn new(shared: &Shared, name: InstanceName) -> Self {
        let (store, counter) = (shared.store.clone(), shared.counts.of(&name.service));
        let disk = shared.meter.hint(shared.spec(&name.service).as_deref());
        Self { store, counter, disk, name, queue: VecDeque::new(), writing: None }
    }

    /// Adds a line.
    pub(super) fn add(&mut self, (change, event): (Change, Event)) {
        self.saw(&event);
        self.queue.push_back(Line { change, event, reply: None });
    }

    /// Adds a line and tells when it, and all before it, are written.
    pub(super) fn confirm(&mut self, (change, event): (Change, Event)) -> oneshot::Receiver<Written> {
        let (reply, written) = oneshot::channel();
        self.saw(&event);
        self.queue.push_back(Line { change, event, reply: Some(reply) });
        written
    }

    fn saw(&self, event: &Event) {
        self.counter.saw(event);
        if let Some(disk) = &self.disk {
            disk.saw(&self.name, event);
        }
    }

    /// Whether the keeper should wait for the store before it takes more.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= QUEUE_MAX
    }

    /// Writes line after line. Cancel-safe; never ends.
    pub(super) async fn drive(&mut self) -> Infallible {
        loop {
            if !self.write_one().await {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Writes until nothing is left.
    pub(super) async fn flush(&mut self) {
        while self.write_one().await {}
    }

    /// Writes the next line, if there is one. Cancel-safe.
    pub(super) async fn write_one(&mut self) -> bool {
        if self.writing.is_none() {
            let Some(line) = self.queue.pop_front() else { return false };
            self.writing = Some(Box::pin(write(self.store.clone(), self.name.clone(), line)));
        }
        if let Some(writing) = &mut self.writing {
            writing.await;
        }
        self.writing = None;
        true
    }
}

async fn write(store: Store, name: InstanceName, line: Line) {
    let kind = line.event.kind;
    let written = store.transition(&name, line.change, line.event).await;
    if let Err(error) = &written {
        tracing::error!(instance = %name, event = kind.as_str(), %error, "cannot record what happened");
    }
    if let Some(reply) = line.reply
        && reply.send(written).is_err()
    {
        tracing::debug!(instance = %name, "nobody waits for the record any more");
    }
}

/// What a start writes, together with the record of the sandbox.
pub(super) fn started(cause: Cause, record: String, why: Option<&str>) -> (Change, Event) {
    let change = Change::started(record).wanted(Wanted::Up);
    match cause {
        Cause::Woken => (change.wake(), Event::new(EventKind::Woken, "a request came")),
        Cause::Spawned => (change, Event::new(EventKind::Spawned, "asked by the operator or `[instances]`")),
        Cause::Restarted => (change, Event::new(EventKind::Spawned, "restart asked by the operator")),
        Cause::Replaced { .. } => (change, Event::new(EventKind::Spawned, "deployed by the operator")),
        Cause::Recovered => {
            let why = why.unwrap_or("it ended");
            (change.restart(), Event::new(EventKind::Restarted, format!("started again: {why}")))
        }
    }
}

/// What a note writes. `why` is what the status says.
pub(super) fn noted(note: &Note, wanted: Wanted, why: Option<&str>) -> (Change, Event) {
    let because = |or: &str| why.unwrap_or(or).to_owned();
    match note {
        Note::Ready => (Change::none(), Event::new(EventKind::Ready, "it accepts connections")),
        Note::Adopted => (
            Change::none().wanted(wanted),
            Event::new(EventKind::Adopted, "found running by a new process of Insula"),
        ),
        Note::Exited(exit) => {
            let detail = Failure::Ended { exit: *exit }.detail();
            (Change::ended(), Event::new(EventKind::Exited, exit.to_string()).detail(detail))
        }
        Note::StartFailed(why) => {
            let failure = why.failure().map_or(Failure::NotStarted { hint: None }.detail(), Failure::detail);
            (Change::ended(), Event::new(EventKind::StartFailed, &**why).detail(failure))
        }
        Note::Failed(why) => (Change::failed(&**why).wanted(wanted), Event::new(EventKind::Failed, &**why)),
        Note::Slept => (Change::ended().wanted(wanted), Event::new(EventKind::Slept, because("idle"))),
        Note::Frozen => (Change::none().wanted(wanted), Event::new(EventKind::Frozen, because("idle"))),
        Note::Thawed => {
            (Change::none().wanted(Wanted::Up).wake(), Event::new(EventKind::Thawed, "a request came"))
        }
        Note::Stopped => {
            let change = Change::ended().recovered().wanted(Wanted::Stopped);
            (change, Event::new(EventKind::Stopped, "stopped by the operator"))
        }
        Note::Down => {
            (Change::ended().wanted(wanted), Event::new(EventKind::Stopped, "Insula is shutting down"))
        }
        Note::Health(health) => {
            let event = Event::new(EventKind::Health, health_text(health));
            (Change::none(), event.detail(health_detail(health)))
        }
        Note::Refused(why) => (Change::none(), Event::new(EventKind::Refused, &**why)),
    }
}

fn health_text(health: &Health) -> String {
    match health {
        Health::Unknown => "unknown".to_owned(),
        Health::Healthy => "healthy".to_owned(),
        Health::Failing { failures, ill, why } => {
            let word = if *ill { "unhealthy" } else { "degraded" };
            format!("{word} after {failures} failed checks: {why}")
        }
    }
}

fn health_detail(health: &Health) -> serde_json::Value {
    match health {
        Health::Unknown | Health::Healthy => serde_json::Value::Null,
        Health::Failing { failures, ill, .. } => {
            Failure::Unhealthy { failures: *failures, ill: *ill }.detail()
        }
    }
}
