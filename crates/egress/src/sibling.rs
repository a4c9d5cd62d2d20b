//! Other instances of this installation: the worker wakes them and passes a connection to them.
//!
//! ```text
//! relay ──Call──► Calls ──Reach──► worker: both sides allow it? lease, connect
//!   ▲               │ ◄──Reached + socket, Unreached──┘
//!   └──── socket ───┘ ──Over──► worker: the lease ends       (the relay dropped its Visit)
//!                     ◄─HangUp─ worker: it is not allowed any more
//! a new worker: every call is told again, those that are open so that their instances stay awake
//! ```

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use insula_spec::{InstanceName, NetRule, internal};
use rustix::net::{AddressFamily, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::dns::Kind;
use crate::judge::Reason;
use crate::member::Inside;
use crate::relay::{self, Goal, Place, Stop};
use crate::wire::FromEgress;

/// How long a worker may take: longer than any instance takes to begin. The client's patience ends before.
const REACH: Duration = Duration::from_secs(600);

/// What comes of a call: why not, where a policy says so.
pub(crate) type Answer = Result<OwnedFd, Option<Reason>>;

/// Somebody wants to be connected.
#[derive(Debug)]
pub(crate) struct Call {
    from: InstanceName,
    to: InstanceName,
    answer: oneshot::Sender<Answer>,
    hang_up: CancellationToken,
    over: oneshot::Receiver<Infallible>,
}

/// A stream to another instance. As long as it lives, that instance stays awake.
#[derive(Debug)]
pub(crate) struct Visit {
    /// Whom it is to.
    pub(crate) to: InstanceName,
    /// Cancelled when it is not allowed any more.
    pub(crate) hang_up: CancellationToken,
    _over: oneshot::Sender<Infallible>,
}

/// A connection that the worker passed on.
#[derive(Debug)]
pub(crate) enum Server {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Server {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        match sockopt::socket_domain(&socket)? {
            AddressFamily::UNIX => Ok(Self::Unix(UnixStream::from_std(socket.into())?)),
            _ => Ok(Self::Tcp(TcpStream::from_std(socket.into())?)),
        }
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Server {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Server {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Serves a connection to the address that stands for an instance.
pub(crate) async fn serve(
    inside: &Inside,
    mut client: TcpStream,
    to: InstanceName,
    port: u16,
) -> io::Result<()> {
    let goal = Goal { name: Some(called(&to)), place: Place::Instance(to), port };
    match relay::open(inside, &goal).await {
        Ok(way) => relay::flow(inside, (client, way), &[], goal).await,
        Err(stop) => {
            let first = relay::look_if_telling(&mut client, port).await?;
            relay::refuse(client, &first, stop).await
        }
    }
}

/// The name of an instance that stands for it wherever one is.
fn called(to: &InstanceName) -> String {
    format!("{}.{}.internal", to.id, to.service)
}

impl Inside {
    /// The instance that a name stands for. A rule for the name itself makes it one for the resolvers of the host.
    pub(crate) fn sibling(&self, name: &str) -> Option<InstanceName> {
        let rules = |rule: &NetRule| rule.names(name, None);
        internal(name, &self.instance.id).filter(|_| !self.policy().rules().iter().any(rules))
    }

    /// The instance that an address stands for.
    pub(crate) fn sibling_at(&self, address: IpAddr) -> Option<InstanceName> {
        let IpAddr::V4(address) = address else { return None };
        self.policy().instance_at(&self.instance.id, address)
    }

    /// The addresses of an instance: one, of one kind.
    ///
    /// # Errors
    /// When it may not be reached; that was told.
    pub(crate) fn addresses_of(
        &self,
        name: &str,
        to: &InstanceName,
        kind: Kind,
    ) -> Result<Vec<IpAddr>, Stop> {
        self.may_reach((name, to), None)?;
        let found = self.policy().address_of(&self.instance.id, to).filter(|_| kind == Kind::V4);
        Ok(found.map(IpAddr::V4).into_iter().collect())
    }

    /// Whether that instance may be reached, as far as this side goes. Told if not.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn may_reach(&self, (name, to): (&str, &InstanceName), port: Option<u16>) -> Result<(), Stop> {
        let policy = self.policy();
        if policy.reaches(&self.instance.id, to) {
            return Ok(());
        }
        let reason = crate::judge::refusal(&policy);
        self.deny((Some(name), None, port), reason);
        Err(Stop::Refused(reason))
    }

    /// Has the worker connect to an instance, which it wakes if need be.
    ///
    /// # Errors
    /// Why it is not reached; told if it may not be.
    pub(crate) async fn reach(
        &self,
        name: &str,
        to: &InstanceName,
        port: u16,
    ) -> Result<(Server, Visit), Stop> {
        self.may_reach((name, to), Some(port))?;
        let (answer, answered) = oneshot::channel();
        let (_over, over) = oneshot::channel();
        let hang_up = CancellationToken::new();
        let call =
            Call { from: self.instance.clone(), to: to.clone(), answer, hang_up: hang_up.clone(), over };
        let visit = Visit { to: to.clone(), hang_up, _over };
        self.calls.send(call).await.map_err(|_| Stop::Unreachable)?;
        match timeout(REACH, answered).await {
            Ok(Ok(Ok(socket))) => match Server::new(socket) {
                Ok(server) => Ok((server, visit)),
                Err(error) => {
                    tracing::debug!(%to, %error, "a connection to an instance cannot be used");
                    Err(Stop::Unreachable)
                }
            },
            Ok(Ok(Err(Some(reason)))) => {
                self.deny((Some(name), None, Some(port)), reason);
                Err(Stop::Refused(reason))
            }
            _ => Err(Stop::Unreachable),
        }
    }
}

/// A call that has not ended.
#[derive(Debug)]
struct Known {
    from: InstanceName,
    to: InstanceName,
    /// Who waits; `None` once it is answered.
    answer: Option<oneshot::Sender<Answer>>,
    hang_up: CancellationToken,
}

/// All calls. There are never more than connections.
#[derive(Debug)]
pub(crate) struct Calls {
    inbox: mpsc::Receiver<Call>,
    known: HashMap<u64, Known>,
    /// Each ends with its number when nobody holds its visit any more.
    over: JoinSet<u64>,
    next: u64,
}

impl Calls {
    pub(crate) fn new(inbox: mpsc::Receiver<Call>) -> Self {
        Self { inbox, known: HashMap::new(), over: JoinSet::new(), next: 0 }
    }

    /// What to tell the worker next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> FromEgress {
        tokio::select! {
            Some(call) = self.inbox.recv() => self.begin(call),
            Some(over) = self.over.join_next(), if !self.over.is_empty() => {
                let call = over.unwrap_or_default();
                self.known.remove(&call);
                FromEgress::Over { call }
            }
            else => std::future::pending().await,
        }
    }

    fn begin(&mut self, call: Call) -> FromEgress {
        let Call { from, to, answer, hang_up, over } = call;
        self.next += 1;
        let number = self.next;
        self.over.spawn(async move {
            // The other half says nothing: it ends.
            drop(over.await);
            number
        });
        let known = Known { from, to, answer: Some(answer), hang_up };
        let told = told(number, &known);
        self.known.insert(number, known);
        told
    }

    /// What a new worker is told.
    pub(crate) fn all(&self) -> Vec<FromEgress> {
        self.known.iter().map(|(number, known)| told(*number, known)).collect()
    }

    /// The worker has an answer. Nobody may wait for it any more.
    pub(crate) fn answered(&mut self, call: u64, answer: Answer) {
        let waits = self.known.get_mut(&call).and_then(|known| known.answer.take());
        if let Some(waits) = waits
            && waits.send(answer).is_err()
        {
            tracing::debug!(call, "an answer comes too late");
        }
    }

    /// It is not allowed any more.
    pub(crate) fn hang_up(&self, call: u64) {
        if let Some(known) = self.known.get(&call) {
            known.hang_up.cancel();
        }
    }
}

fn told(call: u64, known: &Known) -> FromEgress {
    FromEgress::Reach { call, from: known.from.clone(), to: known.to.clone(), open: known.answer.is_none() }
}
