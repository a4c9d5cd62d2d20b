//! The worker's end: finds the egress process or starts it, and keeps every instance known to it.
//!
//! ```text
//! Member (one per instance) ──Join──► Hub ──► process
//!    ▲  policy changed: Join again     │
//!    └── generation grows ◄── process gone: the next Join starts another one
//! ```

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use insula_spec::{InstanceName, NetPolicy};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::denial::Denial;
use crate::wire::{self, FromEgress, Line, ToEgress, VERSION};

/// Requests that may wait.
const REQUESTS: usize = 64;
/// Refusals that may wait to be recorded; more are dropped.
const DENIALS: usize = 256;
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
    policy: watch::Sender<NetPolicy>,
    task: AbortHandle,
}

impl Egress {
    /// Begins; nothing is started before it is needed. What is refused comes out of the receiver, with how often.
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn new(config: EgressConfig) -> (Self, mpsc::Receiver<(Denial, u64)>) {
        let (requests, inbox) = mpsc::channel(REQUESTS);
        let (grow, generation) = watch::channel(0);
        let (deny, denials) = mpsc::channel(DENIALS);
        let hub = Hub { config, grow, deny, line: None, waiting: HashMap::new() };
        tokio::spawn(hub.run(inbox));
        (Self { requests, generation }, denials)
    }

    /// Makes an instance known, and keeps it so whatever happens to the process.
    #[must_use]
    pub fn member(&self, key: &str, instance: InstanceName, policy: NetPolicy, fetch: Fetch) -> Member {
        let (policy, watched) = watch::channel(policy);
        let keep = keep(self.clone(), (key.to_owned(), instance), watched, fetch);
        let task = tokio::spawn(keep).abort_handle();
        Member { key: key.to_owned(), egress: self.clone(), policy, task }
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
    /// Judges it by another policy from now on.
    pub fn set(&self, policy: NetPolicy) {
        self.policy.send_if_modified(|held| std::mem::replace(held, policy.clone()) != policy);
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
    mut policy: watch::Receiver<NetPolicy>,
    fetch: Fetch,
) {
    let mut generation = egress.generation.clone();
    loop {
        generation.mark_unchanged();
        let now = policy.borrow_and_update().clone();
        let join = ToEgress::Join { key: key.clone(), instance: instance.clone(), policy: now };
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
            changed = policy.changed() => if changed.is_err() { return },
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

/// The owner of the connection.
struct Hub {
    config: EgressConfig,
    grow: watch::Sender<u64>,
    deny: mpsc::Sender<(Denial, u64)>,
    line: Option<Arc<Line>>,
    /// Who waits for an answer about which key.
    waiting: HashMap<String, oneshot::Sender<io::Result<bool>>>,
}

impl Hub {
    async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        loop {
            tokio::select! {
                request = inbox.recv() => match request {
                    Some(Request::Join { message, fds, reply }) => self.join(message, fds, reply).await,
                    Some(Request::Leave { key }) => self.say(&ToEgress::Leave { key }).await,
                    Some(Request::End { reply }) => {
                        self.end().await;
                        if reply.send(()).is_err() {
                            tracing::debug!("nobody waits for the end of the egress process any more");
                        }
                        return;
                    }
                    None => return,
                },
                heard = hear(self.line.clone()) => match heard {
                    Ok(Some(message)) => self.hear(message),
                    Ok(None) | Err(_) => self.lose(),
                },
            }
        }
    }

    async fn join(&mut self, message: ToEgress, fds: Vec<OwnedFd>, reply: oneshot::Sender<io::Result<bool>>) {
        if let Err(error) = self.connect().await {
            // Whoever asked may have given up waiting.
            return drop(reply.send(Err(error)));
        }
        let ToEgress::Join { key, .. } = &message else { return };
        self.waiting.insert(key.clone(), reply);
        let Some(line) = self.line.clone() else { return };
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        if line.send(&message, &fds).await.is_err() {
            self.lose();
        }
    }

    /// Tells the process something that it need not answer.
    async fn say(&mut self, message: &ToEgress) {
        let Some(line) = self.line.clone() else { return };
        if line.send(message, &[]).await.is_err() {
            self.lose();
        }
    }

    fn hear(&mut self, message: FromEgress) {
        match message {
            FromEgress::Welcome { .. } => {}
            FromEgress::Joined { key } => self.reply(&key, true),
            FromEgress::Unknown { key } => self.reply(&key, false),
            FromEgress::Denied { denial, times } => {
                tracing::debug!(instance = %denial.instance, times, "{denial}");
                if self.deny.try_send((denial, times)).is_err() {
                    tracing::debug!("a refusal goes unrecorded");
                }
            }
        }
    }

    fn reply(&mut self, key: &str, known: bool) {
        if let Some(reply) = self.waiting.remove(key) {
            // Whoever asked may have given up waiting.
            drop(reply.send(Ok(known)));
        }
    }

    fn lose(&mut self) {
        tracing::info!("the connection to the egress process has ended");
        self.line = None;
        // Whoever waits sees the end of the channel.
        self.waiting.clear();
        self.grow.send_modify(|generation| *generation += 1);
    }

    async fn connect(&mut self) -> io::Result<()> {
        if self.line.is_none() {
            let line = match self.find().await? {
                Some(line) => line,
                None => self.start().await?,
            };
            self.line = Some(Arc::new(line));
        }
        Ok(())
    }

    /// One that runs already, of the same version. One that obeys a newer worker is an error.
    async fn find(&self) -> io::Result<Option<Line>> {
        let address = SocketAddrUnix::new(&self.config.socket)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        if rustix::net::connect(&socket, &address).is_err() {
            return Ok(None);
        }
        let line = Line::new(socket)?;
        let hello = ToEgress::Hello { version: VERSION, epoch: self.config.epoch };
        line.send(&hello, &[]).await?;
        match timeout(ANSWER, line.recv::<FromEgress>()).await.map_err(|_| io::ErrorKind::TimedOut)?? {
            Some((FromEgress::Welcome { version: VERSION }, _)) => Ok(Some(line)),
            Some(_) => Ok(None),
            None => Err(io::Error::other("it obeys a newer worker")),
        }
    }

    /// A new one. It takes the socket, so that later workers find it.
    async fn start(&self) -> io::Result<Line> {
        match std::fs::remove_file(&self.config.socket) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&self.config.socket)?)?;
        let (ours, theirs) = wire::pair()?;
        let (program, arguments) = &self.config.program;
        let mut child = Command::new(program)
            .arg0("insula")
            .args(arguments)
            .env_clear()
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        tokio::spawn(async move {
            match child.wait().await {
                Ok(status) => tracing::debug!(%status, "the egress process ended"),
                Err(error) => tracing::warn!(%error, "cannot wait for the egress process"),
            }
        });
        let line = Line::new(ours)?;
        line.send(&ToEgress::Boot, &[socket.as_fd()]).await?;
        line.send(&ToEgress::Hello { version: VERSION, epoch: self.config.epoch }, &[]).await?;
        match timeout(ANSWER, line.recv::<FromEgress>()).await.map_err(|_| io::ErrorKind::TimedOut)?? {
            Some((FromEgress::Welcome { version: VERSION }, _)) => Ok(line),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the egress process did not begin")),
        }
    }

    /// Ends the process and waits for it: its end of the connection closes.
    async fn end(&mut self) {
        self.say(&ToEgress::Bye).await;
        if let Some(line) = self.line.take() {
            while let Ok(Ok(Some(_))) = timeout(ANSWER, line.recv::<FromEgress>()).await {}
        }
        match std::fs::remove_file(&self.config.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the socket of the egress process is left behind");
            }
            _ => {}
        }
    }
}

async fn hear(line: Option<Arc<Line>>) -> io::Result<Option<FromEgress>> {
    match line {
        Some(line) => Ok(line.recv().await?.map(|(message, _)| message)),
        None => std::future::pending().await,
    }
}
