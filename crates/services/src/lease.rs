//! A lease: the right to talk to an instance, which keeps it awake.
//!
//! ```text
//! Services::lease ──► Lease ──connect / reuse──► Upstream ──keep──► idle pool of this run
//!                       │ drop                       │ drop
//!                       ▼                            ▼
//!                 one less inside              connection closed
//! ```
//! A workload that ended a moment ago refuses the connection while its gate is still open.
//! [`Lease::ended`] tells when the keeper knows; the next lease then waits for the next run.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use insula_isolation::{Connect, Stream};
use insula_spec::{InstanceName, Protocol};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::gate::{ENTRIES, Gate};

/// Most idle connections kept for one run of an instance: as many as may be in use at once without a fresh
/// connection for each request when they come back together. One that is idle costs a descriptor here and
/// one in the workload; with fewer than there are busy clients, most requests would pay for a connect.
const POOL_MAX: usize = 64;

/// One run of an instance, from its gate opening to its gate closing.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) gate: Gate,
    name: InstanceName,
    connector: Arc<dyn Connect>,
    request_timeout: Duration,
    protocol: Protocol,
    /// Entries through the gate that were taken note of.
    counted: AtomicU64,
    pool: Mutex<Vec<Stream>>,
    companion: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
}

impl Run {
    /// A run whose gate is open.
    pub(crate) fn new(
        name: InstanceName,
        connector: Arc<dyn Connect>,
        request_timeout: Duration,
        protocol: Protocol,
    ) -> Arc<Self> {
        Arc::new(Self {
            gate: Gate::open(Instant::now()),
            name,
            connector,
            request_timeout,
            protocol,
            counted: AtomicU64::new(0),
            pool: Mutex::new(Vec::new()),
            companion: Mutex::new(None),
        })
    }

    /// Goes in through the gate.
    pub(crate) fn lease(self: &Arc<Self>, woke: bool) -> Option<Lease> {
        self.gate.enter().then(|| Lease { run: Arc::clone(self), woke })
    }

    /// Leases since [`Self::count`]; of more than 2^30 only what is beyond a multiple of that.
    pub(crate) fn uncounted(&self) -> u64 {
        self.gate.entries().wrapping_sub(self.counted.load(Ordering::Acquire)) % ENTRIES
    }

    /// Leases since it was called last, for the one who keeps the sum.
    pub(crate) fn count(&self) -> u64 {
        let entries = self.gate.entries();
        entries.wrapping_sub(self.counted.swap(entries, Ordering::AcqRel)) % ENTRIES
    }

    /// A connection of its own.
    pub(crate) async fn connect(self: &Arc<Self>) -> io::Result<Upstream> {
        let stream = self.connector.connect().await?;
        Ok(Upstream::new(stream, self))
    }

    /// The way to its sandbox.
    pub(crate) fn connector(&self) -> &dyn Connect {
        &*self.connector
    }

    /// An idle connection that an earlier exchange left behind and that is still clean.
    pub(crate) fn idle(self: &Arc<Self>) -> Option<Upstream> {
        loop {
            let stream = self.pool().pop()?;
            if is_clean(&stream) {
                return Some(Upstream::new(stream, self));
            }
        }
    }

    /// Closes the idle connections. Called after the gate was closed; none is kept from then on.
    pub(crate) fn drop_idle(&self) {
        let idle = std::mem::take(&mut *self.pool());
        let companion = self.companion().take();
        drop((idle, companion));
    }

    fn companion(&self) -> std::sync::MutexGuard<'_, Option<Arc<dyn Any + Send + Sync>>> {
        // As with the pool.
        self.companion.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Vec<Stream>> {
        // Nothing that can panic runs under this lock, and the list is valid at every step.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to talk to an instance. While it lives the instance stays awake; drop it after the last byte.
#[derive(Debug)]
pub struct Lease {
    run: Arc<Run>,
    woke: bool,
}

impl Lease {
    /// The instance it is for.
    #[must_use]
    pub fn instance(&self) -> &InstanceName {
        &self.run.name
    }

    /// Time until a request without an answer is given up.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        self.run.request_timeout
    }

    /// What the instance speaks.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.run.protocol
    }

    /// Something of the caller's that all leases of this run share: made when it is first asked for, forgotten
    /// when the run is over. After that, or if another type was asked for before, everybody gets their own.
    #[must_use]
    pub fn companion<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let mut companion = self.run.companion();
        let known = companion.clone().and_then(|known| known.downcast::<T>().ok());
        known.unwrap_or_else(|| {
            let fresh = Arc::new(T::default());
            // Under the lock, as in `Upstream::keep`.
            if self.run.gate.is_open() && companion.is_none() {
                *companion = Some(Arc::clone(&fresh) as Arc<dyn Any + Send + Sync>);
            }
            fresh
        })
    }

    /// Whether the instance had to be woken, thawed or restarted for it.
    #[must_use]
    pub fn woke(&self) -> bool {
        self.woke
    }

    /// Opens a new connection to the instance.
    ///
    /// # Errors
    /// When the workload does not accept: it may have ended a moment ago.
    pub async fn connect(&self) -> io::Result<Upstream> {
        self.run.connect().await
    }

    /// An idle connection that an earlier exchange left behind and that is still clean; `None` if there is
    /// none.
    #[must_use]
    pub fn reuse(&self) -> Option<Upstream> {
        self.run.idle()
    }

    /// Gives the lease up at once. The future resolves when this run of the instance takes no more requests:
    /// it ended, sleeps or is being stopped. A workload that lives and refuses connections may stay that way
    /// for ever, so the wait needs a deadline.
    pub fn ended(self) -> impl Future<Output = ()> + Send + use<> {
        let run = Arc::clone(&self.run);
        drop(self);
        async move { run.gate.closed().await }
    }

    /// Whether this connection, kept by the caller since an earlier lease, belongs to the same run of the
    /// same instance and is still clean. One that is not is closed even if it is kept.
    #[must_use]
    pub fn fits(&self, upstream: &Upstream) -> bool {
        Arc::ptr_eq(&self.run, &upstream.run) && upstream.is_clean()
    }

    /// The run that it is a lease of.
    pub(crate) fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// A lease that no keeper knows of, for tests and tools.
    #[must_use]
    pub fn detached(name: InstanceName, connector: Arc<dyn Connect>, request_timeout: Duration) -> Self {
        Self::detached_as(name, connector, request_timeout, Protocol::Http1)
    }

    /// As [`Self::detached`], for an instance that speaks `protocol`.
    #[must_use]
    pub fn detached_as(
        name: InstanceName,
        connector: Arc<dyn Connect>,
        request_timeout: Duration,
        protocol: Protocol,
    ) -> Self {
        let run = Run::new(name, connector, request_timeout, protocol);
        let entered = run.gate.enter();
        debug_assert!(entered, "a new gate is open");
        Self { run, woke: false }
    }

    /// Another detached lease on the same run, so that tests can see connections being reused.
    #[must_use]
    pub fn again(&self) -> Option<Self> {
        self.run.lease(false)
    }

    /// Ends the run of a detached lease as a keeper would: no lease of it is given any more. Not for the
    /// leases of [`Services`](crate::Services): their keepers would not know.
    pub fn end_detached(&self) {
        self.run.gate.close();
        self.run.drop_idle();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.run.gate.leave();
    }
}

/// Nothing to read and not closed. Where there was something, one byte of it is lost.
fn is_clean(stream: &Stream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
}

/// A connection to an instance.
#[derive(Debug)]
pub struct Upstream {
    stream: Stream,
    run: Arc<Run>,
    /// A byte that nobody asked for was found, and thrown away.
    soiled: AtomicBool,
}

impl Upstream {
    fn new(stream: Stream, run: &Arc<Run>) -> Self {
        Self { stream, run: Arc::clone(run), soiled: AtomicBool::new(false) }
    }

    /// The bare connection, for another process.
    #[must_use]
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    fn is_clean(&self) -> bool {
        let clean = !self.soiled.load(Ordering::Relaxed) && is_clean(&self.stream);
        self.soiled.store(!clean, Ordering::Relaxed);
        clean
    }

    /// Gives the connection back after a clean exchange, for the next request to this run of the instance.
    /// It is closed instead when the run is over or enough are idle.
    pub fn keep(self) {
        let Self { stream, run, soiled } = self;
        if soiled.into_inner() {
            return;
        }
        let mut pool = run.pool();
        // Under the lock: `drop_idle` comes after the gate was closed, so either it finds this one, or the
        // gate is seen closed here.
        if run.gate.is_open() && pool.len() < POOL_MAX {
            pool.push(stream);
        }
    }
}

impl AsyncRead for Upstream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Why there is no lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum LeaseError {
    /// The configuration has no such service.
    #[error("there is no such service")]
    UnknownService,
    /// The service is there, but nobody declared or spawned this instance.
    #[error("there is no such instance")]
    UnknownInstance,
    /// As many requests as `hold_queue` allows wait already.
    #[error("too many requests wait for the instance")]
    QueueFull {
        /// When to try again.
        retry_after: Duration,
    },
    /// As many instances are up as may be.
    #[error("{limit} instances are up, which is the limit (`{key}`)")]
    TooMany {
        /// The key of the configuration that sets the limit.
        key: String,
        /// The limit.
        limit: usize,
        /// When to try again.
        retry_after: Duration,
    },
    /// The instance could not be started, or crashes again and again.
    #[error("the instance failed: {why}")]
    Failed {
        /// What happened; for the operator, not for the public.
        why: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The instance did not become ready before the caller's deadline.
    #[error("the instance was not ready in time")]
    TimedOut {
        /// When to try again.
        retry_after: Duration,
    },
    /// The operator stopped the instance.
    #[error("the instance is stopped")]
    Stopped,
    /// Insula is going down.
    #[error("the server is shutting down")]
    ShuttingDown,
}

impl LeaseError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::UnknownService => "add the service to `insula.toml`",
            Self::UnknownInstance => "run `insula spawn NAME:ID` once, or declare it under `[instances]`",
            Self::QueueFull { .. } => "try again later, or raise `hold_queue` of the service",
            Self::TooMany { .. } => {
                "try again when another instance sleeps; raise `max_instances`, or set `idle_timeout`"
            }
            Self::Failed { .. } => "run `insula why NAME:ID` to see what happened",
            Self::TimedOut { .. } => "try again later; `insula why NAME:ID` tells what the instance is doing",
            Self::Stopped => "run `insula spawn NAME:ID` to start it again",
            Self::ShuttingDown => "try again in a moment",
        }
    }

    /// When to try again, where that helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::QueueFull { retry_after }
            | Self::TooMany { retry_after, .. }
            | Self::Failed { retry_after, .. }
            | Self::TimedOut { retry_after } => Some(*retry_after),
            Self::UnknownService | Self::UnknownInstance | Self::Stopped | Self::ShuttingDown => None,
        }
    }
}

#[cfg(test)]
impl Run {
    /// A run of a workload at this address.
    pub(crate) fn at(address: std::net::SocketAddr) -> Arc<Self> {
        let connector = Arc::new(tests::Loopback(address));
        Self::new("app:a".parse().expect("a name"), connector, Duration::from_secs(1), Protocol::Http1)
    }
}

#[cfg(test)]
mod tests {
    use insula_isolation::BoxFuture;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[derive(Debug)]
    pub(super) struct Loopback(pub(super) std::net::SocketAddr);

    impl Connect for Loopback {
        fn connect(&self) -> BoxFuture<'_, io::Result<Stream>> {
            Box::pin(async { TcpStream::connect(self.0).await.map(Stream::Tcp) })
        }
    }

    async fn leased() -> (TcpListener, Lease) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connector = Arc::new(Loopback(listener.local_addr().unwrap()));
        let lease = Lease::detached("notes:alice".parse().unwrap(), connector, Duration::from_secs(1));
        (listener, lease)
    }

    #[tokio::test]
    async fn a_kept_connection_is_reused_while_it_is_clean() {
        let (listener, lease) = leased().await;
        assert!(lease.reuse().is_none());
        let upstream = lease.connect().await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        upstream.keep();
        let again = lease.again().unwrap();
        let upstream = again.reuse().unwrap();
        assert!(lease.fits(&upstream) && again.reuse().is_none());
        // Bytes that nobody asked for: not clean any more.
        server.write_all(b"x").await.unwrap();
        let Stream::Tcp(tcp) = &upstream.stream else { panic!("not TCP") };
        tcp.readable().await.unwrap();
        assert!(!lease.fits(&upstream));
        upstream.keep();
        assert!(lease.reuse().is_none());
    }

    #[tokio::test]
    async fn a_closed_connection_is_not_reused() {
        let (listener, lease) = leased().await;
        let upstream = lease.connect().await.unwrap();
        drop(listener.accept().await.unwrap());
        let Stream::Tcp(tcp) = &upstream.stream else { panic!("not TCP") };
        tcp.readable().await.unwrap();
        upstream.keep();
        assert!(lease.reuse().is_none());
    }

    #[tokio::test]
    async fn the_pool_is_bounded_and_ends_with_its_run() {
        let (_listener, lease) = leased().await;
        let mut open = Vec::new();
        for _ in 0..POOL_MAX + 3 {
            open.push(lease.connect().await.unwrap());
        }
        let late = open.pop().unwrap();
        open.into_iter().for_each(Upstream::keep);
        assert_eq!(lease.run.pool().len(), POOL_MAX);
        lease.run.gate.close();
        lease.run.drop_idle();
        late.keep();
        assert!(lease.reuse().is_none() && lease.again().is_none());
    }

    #[tokio::test]
    async fn every_lease_is_counted_until_it_is_dropped() {
        let (_listener, lease) = leased().await;
        let second = lease.again();
        assert_eq!(lease.run.gate.inside(), 2);
        drop(second);
        assert_eq!(lease.run.gate.inside(), 1);
        let run = Arc::clone(&lease.run);
        drop(lease);
        assert_eq!(run.gate.inside(), 0);
    }
}
