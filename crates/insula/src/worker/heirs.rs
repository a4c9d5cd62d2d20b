//! The next worker's side of [`crate::heritage`]: what earlier workers still hold, and what they ask for.
//!
//! Whoever connects is another process of the same user, or root; everybody else is turned away.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use insula_edge::control::Inside;
use insula_linux::scm;
use insula_services::{Held, Lease, Services};
use insula_spec::{InstanceName, Protocol};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::heritage::{FromHeir, LINE_MAX, ToHeir, VERSION, line};

/// How long an old worker may take to name what it holds. It has written it before this side looks.
const SETTLE: Duration = Duration::from_secs(5);

type Reader = BufReader<UnixStream>;

/// An old worker that has named what it holds.
#[derive(Debug)]
pub(super) struct Elder {
    reader: Reader,
    names: Vec<InstanceName>,
}

/// Who has connected so far.
#[derive(Debug)]
pub(super) struct Waiting {
    listener: UnixListener,
    elders: Vec<Elder>,
    /// Connections for something else than holds.
    others: Vec<(Reader, ToHeir)>,
}

impl Waiting {
    /// Takes everybody who waits at this moment: old workers name what they hold before they give way.
    pub(super) async fn meet(listener: StdListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut streams = Vec::new();
        loop {
            match listener.accept() {
                Ok((stream, _)) => streams.push(stream),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        let mut waiting =
            Self { listener: UnixListener::from_std(listener)?, elders: Vec::new(), others: Vec::new() };
        for stream in streams {
            stream.set_nonblocking(true)?;
            match timeout(SETTLE, greet(UnixStream::from_std(stream)?)).await {
                Ok(Ok(Guest::Elder(elder))) => waiting.elders.push(elder),
                Ok(Ok(Guest::Other(reader, first))) => waiting.others.push((reader, first)),
                Ok(Err(error)) => tracing::warn!(%error, "an earlier worker was not understood"),
                Err(_) => tracing::warn!("an earlier worker did not say what it holds"),
            }
        }
        Ok(waiting)
    }

    /// The instances with streams of earlier workers.
    pub(super) fn names(&self) -> Vec<InstanceName> {
        self.elders.iter().flat_map(|elder| elder.names.iter().cloned()).collect()
    }

    /// Serves earlier workers until `stop`; connections that are there go on until they end. The task ends
    /// when the listener is closed: whoever connects after that is the next worker's.
    pub(super) fn serve(
        self,
        (services, api): (Services, Inside),
        held: Vec<Held>,
        stop: CancellationToken,
    ) -> JoinHandle<()> {
        let heirs = Arc::new(Heirs { services, api, tasks: TaskTracker::new() });
        let mut held: BTreeMap<_, _> = held.into_iter().map(|h| (h.instance().clone(), h)).collect();
        for elder in self.elders {
            let holds = elder.names.iter().map(|name| (name.clone(), held.remove(name))).collect();
            let task = Arc::clone(&heirs).keep(elder.reader, holds);
            heirs.tasks.spawn(report(task));
        }
        for (reader, first) in self.others {
            heirs.tasks.spawn(report(Arc::clone(&heirs).lend(reader, first)));
        }
        let listener = self.listener;
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok((stream, _)) => {
                        heirs.tasks.spawn(report(Arc::clone(&heirs).receive(stream)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "earlier workers cannot be heard any more");
                        return;
                    }
                }
            }
        })
    }
}

/// What somebody wants.
enum Guest {
    Elder(Elder),
    Other(Reader, ToHeir),
}

/// Checks who it is, and hears the first words.
async fn greet(stream: UnixStream) -> io::Result<Guest> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let uid = stream.peer_cred()?.uid();
    if uid != rustix::process::geteuid().as_raw() && uid != 0 {
        return Err(wrong(format!("user {uid} is a stranger")));
    }
    let mut reader = BufReader::new(stream);
    match next(&mut reader).await? {
        Some(ToHeir::Hello { version: VERSION }) => {}
        other => return Err(wrong(format!("expected version {VERSION}, got {other:?}"))),
    }
    let mut names = Vec::new();
    loop {
        match next(&mut reader).await?.ok_or(io::ErrorKind::UnexpectedEof)? {
            ToHeir::Hold(name) => names.push(name),
            ToHeir::Settled => return Ok(Guest::Elder(Elder { reader, names })),
            first @ (ToHeir::Lease { .. } | ToHeir::Control) if names.is_empty() => {
                return Ok(Guest::Other(reader, first));
            }
            other => return Err(wrong(format!("{other:?} came out of turn"))),
        }
    }
}

/// The next line; `None` at the end.
async fn next(reader: &mut Reader) -> io::Result<Option<ToHeir>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
    (&mut *reader).take(most).read_until(b'\n', &mut bytes).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&bytes)?))
}

async fn say(reader: &Reader, message: &FromHeir, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = line(message)?;
    let socket = reader.get_ref();
    socket.async_io(Interest::WRITABLE, || scm::send(socket, &bytes, fds)).await.map(drop)
}

async fn report(task: impl Future<Output = io::Result<()>>) {
    if let Err(error) = task.await {
        tracing::debug!(%error, "a connection of an earlier worker broke");
    }
}

/// Serves what earlier workers ask for.
#[derive(Debug)]
struct Heirs {
    services: Services,
    api: Inside,
    tasks: TaskTracker,
}

impl Heirs {
    async fn receive(self: Arc<Self>, stream: UnixStream) -> io::Result<()> {
        match timeout(SETTLE, greet(stream)).await?? {
            Guest::Other(reader, first) => self.lend(reader, first).await,
            Guest::Elder(Elder { reader, names }) => {
                // The worker that had inherited from it died, and this one has adopted already.
                let holds = names.into_iter().map(|name| (name, None)).collect();
                self.keep(reader, holds).await
            }
        }
    }

    /// Keeps instances awake until the old worker says that its streams have ended, or is gone.
    async fn keep(
        self: Arc<Self>,
        mut reader: Reader,
        holds: Vec<(InstanceName, Option<Held>)>,
    ) -> io::Result<()> {
        let mut leases = JoinSet::new();
        let mut ends = BTreeMap::new();
        for (name, held) in holds {
            let (end, services) = (CancellationToken::new(), self.services.clone());
            ends.insert(name.clone(), end.clone());
            leases.spawn(async move {
                let lease = match held {
                    Some(held) => held.lease().await,
                    None => services.lease_running(&name).await,
                };
                end.cancelled().await;
                drop(lease);
            });
        }
        while let Some(message) = next(&mut reader).await? {
            match message {
                ToHeir::Ended(name) => ends.remove(&name).into_iter().for_each(|end| end.cancel()),
                other => tracing::debug!(?other, "an earlier worker said something out of turn"),
            }
        }
        // Dropping the set ends the holds.
        Ok(())
    }

    /// Leases an instance for one request that an old worker has accepted.
    async fn lend(self: Arc<Self>, mut reader: Reader, first: ToHeir) -> io::Result<()> {
        let ToHeir::Lease { name, timeout_ms } = first else {
            let api = self.api.connect()?;
            return say(&reader, &FromHeir::Socket, &[api.as_fd()]).await;
        };
        let until = Instant::now() + Duration::from_millis(timeout_ms);
        let lease = tokio::select! {
            lease = self.services.lease(&name, until) => lease,
            // Nothing is to come before the answer: the other side gave up.
            _ = reader.fill_buf() => return Ok(()),
        };
        let lease = match lease {
            Ok(lease) => lease,
            Err(error) => return say(&reader, &FromHeir::Refused(error), &[]).await,
        };
        let request_timeout_ms = u64::try_from(lease.request_timeout().as_millis()).unwrap_or(u64::MAX);
        let h2c = lease.protocol() == Protocol::H2c;
        say(&reader, &FromHeir::Leased { request_timeout_ms, h2c }, &[]).await?;
        while let Some(ToHeir::Socket) = next(&mut reader).await? {
            connect(&reader, &lease).await?;
        }
        Ok(())
    }
}

async fn connect(reader: &Reader, lease: &Lease) -> io::Result<()> {
    match lease.connect().await {
        Ok(upstream) => {
            let stream = upstream.into_stream();
            say(reader, &FromHeir::Socket, &[stream.as_fd()]).await
        }
        Err(error) => say(reader, &FromHeir::Unreachable(error.to_string()), &[]).await,
    }
}
