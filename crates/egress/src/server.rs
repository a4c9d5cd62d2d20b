//! The egress process: who is judged by what, and to whom refusals are told.
//!
//! ```text
//! started: Boot over standard input ──► gives up its rights ──► serves
//!    worker gone ──► goes on; refusals wait, a bounded number of them
//!    no worker, no instance for a while ──► ends        Bye ──► ends
//!    a worker of another version ──► lets go of its socket, ends with its last connection
//! ```

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use insula_linux::{credentials, landlock, seccomp};
use insula_spec::{InstanceName, Outside};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::denial::{Denial, Told};
use crate::internet::{Internet, TestInternet};
use crate::member::{Inside, Sockets, Surroundings};
use crate::sibling::Calls;
use crate::wire::{FromEgress, Line, ToEgress, VERSION};

/// Refusals that may wait to be told, and between the tasks.
const DENIALS: usize = 256;
/// Calls of instances to each other that may wait to be told.
const CALLS: usize = 64;
/// How long it stays without a worker and without an instance.
const LINGER: Duration = Duration::from_secs(5);
/// Connections of workers that may wait.
const BACKLOG: i32 = 4;
/// The user that nobody is.
const NOBODY: u32 = 65_534;

/// Why the process could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It was not started by a worker.
    #[error("this process is started by the daemon alone")]
    NotStarted(#[source] io::Error),
    /// It could not give up its rights.
    #[error("cannot give up rights")]
    Rights(#[source] io::Error),
    /// The runtime or a socket failed.
    #[error("cannot serve")]
    Io(#[source] io::Error),
}

impl ServeError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotStarted(_) => "run `insula serve`",
            Self::Rights(_) | Self::Io(_) => "run `insula doctor` to see what this host lacks",
        }
    }
}

/// Serves until there is nobody left to serve. `control` is the end of the pair that the worker made.
///
/// To be called while the process has one thread.
///
/// # Errors
/// When it cannot begin.
pub fn serve(control: OwnedFd, test: Option<TestInternet>) -> Result<(), ServeError> {
    let owner = rustix::process::geteuid().as_raw();
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|e| ServeError::Rights(e.into()))?;
    if owner == 0 {
        credentials::empty_bounding_set().map_err(ServeError::Rights)?;
        credentials::become_id(NOBODY).map_err(ServeError::Rights)?;
    }
    credentials::renounce().map_err(ServeError::Rights)?;
    if !landlock::only_read().map_err(ServeError::Rights)? {
        tracing::debug!("this kernel has no Landlock: the filter and the missing rights stand alone");
    }
    let filter = seccomp::carrier_profile().map_err(|e| ServeError::Rights(io::Error::other(e)))?;
    seccomp::install(&filter).map_err(ServeError::Rights)?;
    // One thread: what it does for a request is passing bytes on, and threads that share tasks wake each other for it.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Io)?;
    runtime.block_on(async {
        let line = Line::new(control).map_err(ServeError::NotStarted)?;
        let boot = line.recv::<ToEgress>().await.map_err(ServeError::NotStarted)?;
        let Some((ToEgress::Boot, mut fds)) = boot else {
            return Err(ServeError::NotStarted(io::ErrorKind::InvalidData.into()));
        };
        let socket = fds.pop().ok_or_else(|| ServeError::NotStarted(io::ErrorKind::InvalidData.into()))?;
        let held = Server::open(socket, owner, test).map_err(ServeError::Io)?.run(line).await;
        // The worker takes the end of the connection for the end of the process, so it is left to that.
        std::mem::forget(held);
        Ok(())
    })
}

/// Who is told.
enum Host {
    /// A worker.
    Worker(Line),
    /// Nobody, since then.
    Nobody(Instant),
}

struct Member {
    outside: watch::Sender<Outside>,
    stop: CancellationToken,
    /// Another process serves it: what is open here goes on.
    retire: CancellationToken,
}

struct Server {
    /// `None` once another process takes the place of this one.
    socket: Option<UnixListener>,
    owner: u32,
    epoch: u64,
    host: Host,
    /// Keeps the connection to the worker open to the end of the process.
    held: Option<OwnedFd>,
    members: HashMap<String, Member>,
    /// Each ends with its key when the instance is gone.
    serving: JoinSet<String>,
    around: Surroundings,
    calls: Calls,
    denials: mpsc::Receiver<Denial>,
    told: Told,
    untold: VecDeque<(Denial, u64)>,
}

/// Something that happened.
enum Event {
    Heard(io::Result<Option<(ToEgress, Vec<OwnedFd>)>>),
    Visitor(io::Result<Line>),
    Denied(Denial),
    Called(FromEgress),
    Gone(String),
    Alone,
}

impl Server {
    fn open(socket: OwnedFd, owner: u32, test: Option<TestInternet>) -> io::Result<Self> {
        rustix::net::listen(&socket, BACKLOG)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        let (deny, denials) = mpsc::channel(DENIALS);
        let (calls, called) = mpsc::channel(CALLS);
        Ok(Self {
            socket: Some(UnixListener::from_std(socket.into())?),
            owner,
            epoch: 0,
            host: Host::Nobody(Instant::now()),
            held: None,
            members: HashMap::new(),
            serving: JoinSet::new(),
            around: Surroundings { internet: Arc::new(Internet::new(test)), deny, calls },
            calls: Calls::new(called),
            denials,
            told: Told::default(),
            untold: VecDeque::new(),
        })
    }

    /// Serves to the end. Gives back what keeps the connection to the worker open.
    async fn run(mut self, first: Line) -> Option<OwnedFd> {
        self.hold(first);
        loop {
            let over = match self.next().await {
                Event::Heard(Ok(Some((message, fds)))) => self.obey(message, fds).await,
                Event::Heard(_) => {
                    self.host = Host::Nobody(Instant::now());
                    false
                }
                Event::Visitor(Ok(line)) => self.meet(line).await,
                Event::Visitor(Err(error)) => {
                    tracing::debug!(%error, "a worker cannot be met");
                    false
                }
                Event::Denied(denial) => {
                    self.note(denial).await;
                    false
                }
                Event::Called(message) => {
                    self.answer(message).await;
                    false
                }
                Event::Gone(key) => {
                    self.members.remove(&key);
                    self.members.is_empty() && self.socket.is_none()
                }
                Event::Alone => true,
            };
            if over {
                break;
            }
        }
        for member in self.members.values() {
            member.stop.cancel();
        }
        while self.serving.join_next().await.is_some() {}
        self.held
    }

    /// Obeys this worker from now on.
    fn hold(&mut self, line: Line) {
        self.held = line.hold().ok();
        self.host = Host::Worker(line);
    }

    async fn next(&mut self) -> Event {
        let Self { socket, host, members, serving, denials, calls, .. } = self;
        let idle = match host {
            Host::Nobody(since) if members.is_empty() => Some(*since + LINGER),
            _ => None,
        };
        tokio::select! {
            heard = hear(host) => Event::Heard(heard),
            visitor = visit(socket.as_ref()) => Event::Visitor(visitor),
            Some(denial) = denials.recv() => Event::Denied(denial),
            called = calls.next() => Event::Called(called),
            Some(gone) = serving.join_next(), if !serving.is_empty() => Event::Gone(gone.unwrap_or_default()),
            () = sleep(idle.map_or(LINGER, |at| at.duration_since(Instant::now()))), if idle.is_some() => Event::Alone,
        }
    }

    /// A worker comes. It is obeyed if it is a newer one than the last; one of another version is answered, and
    /// starts a process of its own.
    async fn meet(&mut self, line: Line) -> bool {
        let trusted = line.peer().is_ok_and(|user| user == self.owner);
        let hello = tokio::time::timeout(LINGER, line.recv::<ToEgress>()).await;
        let Ok(Ok(Some((ToEgress::Hello { version, epoch }, _)))) = hello else { return false };
        if !trusted || epoch < self.epoch {
            return false;
        }
        if let Err(error) = line.send(&FromEgress::Welcome { version: VERSION }, &[]).await {
            tracing::debug!(%error, "a worker went away");
            return false;
        }
        if version != VERSION {
            self.socket = None;
            self.members.values().for_each(|member| member.retire.cancel());
            return self.members.is_empty();
        }
        self.epoch = epoch;
        self.hold(line);
        self.tell_calls().await;
        while let Some((denial, times)) = self.untold.pop_front() {
            self.tell(denial, times).await;
        }
        false
    }

    async fn obey(&mut self, message: ToEgress, fds: Vec<OwnedFd>) -> bool {
        match message {
            ToEgress::Hello { epoch, .. } => {
                self.epoch = epoch;
                self.answer(FromEgress::Welcome { version: VERSION }).await;
                self.tell_calls().await;
            }
            ToEgress::Join { key, instance, outside } => self.join(key, instance, outside, fds).await,
            ToEgress::Reached { call } => match fds.into_iter().next() {
                Some(socket) => self.calls.answered(call, Ok(socket)),
                None => self.calls.answered(call, Err(None)),
            },
            ToEgress::Unreached { call, reason } => self.calls.answered(call, Err(reason)),
            ToEgress::HangUp { call } => self.calls.hang_up(call),
            ToEgress::Leave { key } => {
                if let Some(member) = self.members.get(&key) {
                    member.stop.cancel();
                }
            }
            ToEgress::Bye => return true,
            ToEgress::Boot => {}
        }
        false
    }

    /// Tells a worker what instances want of each other, and what they have.
    async fn tell_calls(&mut self) {
        for call in self.calls.all() {
            self.answer(call).await;
        }
    }

    async fn join(&mut self, key: String, instance: InstanceName, outside: Outside, fds: Vec<OwnedFd>) {
        if let Some(member) = self.members.get(&key) {
            member.outside.send_if_modified(|held| std::mem::replace(held, outside.clone()) != outside);
            return self.answer(FromEgress::Joined { key }).await;
        }
        let sockets = match Sockets::sort(fds) {
            Ok(sockets) => sockets,
            Err(_) => return self.answer(FromEgress::Unknown { key }).await,
        };
        let (outside, watched) = watch::channel(outside);
        let inside = Inside::new(instance, watched, self.around.clone());
        let (stop, retire) = (CancellationToken::new(), CancellationToken::new());
        let (name, ends) = (key.clone(), (stop.clone(), retire.clone()));
        self.serving.spawn(async move {
            inside.serve(sockets, ends.0, ends.1).await;
            name
        });
        self.members.insert(key.clone(), Member { outside, stop, retire });
        self.answer(FromEgress::Joined { key }).await;
    }

    async fn note(&mut self, denial: Denial) {
        if let Some(times) = self.told.count(&denial, Instant::now()) {
            self.tell(denial, times).await;
        }
    }

    async fn tell(&mut self, denial: Denial, times: u64) {
        match &self.host {
            Host::Worker(_) => self.answer(FromEgress::Denied { denial, times }).await,
            Host::Nobody(_) => {
                if self.untold.len() == DENIALS {
                    self.untold.pop_front();
                }
                self.untold.push_back((denial, times));
            }
        }
    }

    /// Tells the worker. One that does not read any more is as good as gone.
    async fn answer(&mut self, message: FromEgress) {
        let Host::Worker(line) = &self.host else { return };
        let sent = tokio::time::timeout(LINGER, line.send(&message, &[])).await;
        if !matches!(sent, Ok(Ok(()))) {
            self.host = Host::Nobody(Instant::now());
        }
    }
}

async fn hear(host: &Host) -> io::Result<Option<(ToEgress, Vec<OwnedFd>)>> {
    match host {
        Host::Worker(line) => line.recv().await,
        Host::Nobody(_) => std::future::pending().await,
    }
}

async fn visit(socket: Option<&UnixListener>) -> io::Result<Line> {
    match socket {
        Some(socket) => {
            let (stream, _) = socket.accept().await?;
            Line::new(stream.into_std()?.as_fd().try_clone_to_owned()?)
        }
        None => std::future::pending().await,
    }
}
