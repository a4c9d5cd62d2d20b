//! The worker's end: finds the egress process or starts it, and keeps every instance known to it.
//!
//! ```text
//! Member (one per instance) ──Join──► Hub ──► process
//!    ▲  policy changed: Join again     │
//!    └── generation grows ◄── process gone: the next Join starts another one
//! ```

mod hub;
mod visits;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use insula_spec::{InstanceName, Outside};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::denial::Denial;
use crate::wire::ToEgress;
use hub::Hub;
pub use visits::Visit;
use visits::Visits;

/// Requests that may wait.
const REQUESTS: usize = 64;
/// Refusals that may wait to be recorded; more are dropped.
const DENIALS: usize = 256;
/// Calls of instances to each other that may wait; more are refused.
const VISITS: usize = 256;
/// How long the process may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Time until another try after one that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// What it takes to find or start the process.
#[derive(Debug, Clone)]
pub struct EgressConfig {
    /// Where its socket is: in a directory that is closed to other users.
    pub socket: PathBuf,
    /// The program and its arguments.
    pub program: (PathBuf, Vec<String>),
    /// Generation of this worker.
    pub epoch: u64,
}

/// Why an instance is not connected to the outside.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The process cannot be started or does not answer.
    #[error("the egress process cannot be reached")]
    Process(#[source] io::Error),
    /// The instance has no listeners.
    #[error("the network wall of the instance cannot be used")]
    Wall(#[source] io::Error),
}

impl EgressError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Process(_) => "look into the log of the daemon; it tries again by itself",
            Self::Wall(_) => "the kernel needs nf_tables with NAT: `modprobe nf_tables nft_redir nf_nat`",
        }
    }
}

/// Fetches listeners and the pidfd of the agent, whenever they are needed.
pub type Fetch =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = io::Result<Vec<OwnedFd>>> + Send>> + Send + Sync>;

enum Request {
    Join { message: ToEgress, fds: Vec<OwnedFd>, reply: oneshot::Sender<io::Result<bool>> },
    Leave { key: String },
    End { reply: oneshot::Sender<()> },
}

/// What comes from the process by itself.
#[derive(Debug)]
pub struct Heard {
    /// What is refused, with how often.
    pub denials: mpsc::Receiver<(Denial, u64)>,
    /// What instances want of each other.
    pub visits: mpsc::Receiver<Visit>,
}

/// The way to the egress process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Egress {
    requests: mpsc::Sender<Request>,
    /// Grows when a process was lost.
    generation: watch::Receiver<u64>,
}

/// One instance that is known to the process as long as this lives. Dropping it leaves it known; see
/// [`Member::leave`].
#[derive(Debug)]
pub struct Member {
    key: String,
    egress: Egress,
    outside: watch::Sender<Outside>,
    task: AbortHandle,
}

impl Egress {
    /// Begins; nothing is started before it is needed. Must be called within a tokio runtime.
    #[must_use]
    pub fn new(config: EgressConfig) -> (Self, Heard) {
        let (requests, inbox) = mpsc::channel(REQUESTS);
        let (grow, generation) = watch::channel(0);
        let (deny, denials) = mpsc::channel(DENIALS);
        let (visit, visits) = mpsc::channel(VISITS);
        let visiting = Visits::new(visit);
        let hub = Hub { config, grow, deny, visits: visiting, line: None, waiting: HashMap::new() };
        tokio::spawn(hub.run(inbox));
        (Self { requests, generation }, Heard { denials, visits })
    }

    /// Makes an instance known, and keeps it so whatever happens to the process.
    #[must_use]
    pub fn member(&self, key: &str, instance: InstanceName, outside: Outside, fetch: Fetch) -> Member {
        let (outside, watched) = watch::channel(outside);
        let keep = keep(self.clone(), (key.to_owned(), instance), watched, fetch);
        let task = tokio::spawn(keep).abort_handle();
        Member { key: key.to_owned(), egress: self.clone(), outside, task }
    }

    /// Ends the process: every instance is gone.
    pub async fn end(&self) {
        let (reply, ended) = oneshot::channel();
        if self.requests.send(Request::End { reply }).await.is_ok() {
            // Whether it heard it or was gone makes no difference.
            drop(timeout(ANSWER, ended).await);
        }
    }

    async fn join(&self, message: ToEgress, fds: Vec<OwnedFd>) -> io::Result<bool> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Join { message, fds, reply }).await.map_err(|_| gone())?;
        timeout(ANSWER, answer).await.map_err(|_| io::ErrorKind::TimedOut)?.map_err(|_| gone())?
    }
}

impl Member {
    /// Judges it by something else from now on.
    pub fn set(&self, outside: Outside) {
        self.outside.send_if_modified(|held| std::mem::replace(held, outside.clone()) != outside);
    }

    /// It is gone.
    pub fn leave(&self) {
        self.task.abort();
        if self.egress.requests.try_send(Request::Leave { key: self.key.clone() }).is_err() {
            tracing::debug!(key = self.key, "the egress process learns of an end from the agent's alone");
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps one instance known.
async fn keep(
    egress: Egress,
    (key, instance): (String, InstanceName),
    mut outside: watch::Receiver<Outside>,
    fetch: Fetch,
) {
    let mut generation = egress.generation.clone();
    loop {
        generation.mark_unchanged();
        let now = outside.borrow_and_update().clone();
        let join = ToEgress::Join { key: key.clone(), instance: instance.clone(), outside: now };
        match introduce(&egress, join, &fetch).await {
            Ok(()) => {}
            Err(error @ EgressError::Wall(_)) => {
                tracing::warn!(%instance, error = %chain(&error), hint = error.hint(), "nothing outside can be reached");
                return;
            }
            Err(error) => {
                tracing::warn!(%instance, error = %chain(&error), hint = error.hint(), "nothing outside can be reached now");
                // What is missing is not ours to know of, so it is tried again.
                sleep(AGAIN).await;
                continue;
            }
        }
        tokio::select! {
            changed = outside.changed() => if changed.is_err() { return },
            changed = generation.changed() => if changed.is_err() { return },
        }
    }
}

async fn introduce(egress: &Egress, join: ToEgress, fetch: &Fetch) -> Result<(), EgressError> {
    if egress.join(join.clone(), Vec::new()).await.map_err(EgressError::Process)? {
        return Ok(());
    }
    let fds = fetch().await.map_err(EgressError::Wall)?;
    match egress.join(join, fds).await.map_err(EgressError::Process)? {
        true => Ok(()),
        false => Err(EgressError::Process(io::ErrorKind::InvalidData.into())),
    }
}

fn chain(error: &EgressError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
