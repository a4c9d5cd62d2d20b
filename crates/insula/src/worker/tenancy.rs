//! Where the public side gets its leases: from this worker's own services, or, once it has given way, from
//! the next worker's.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use insula_edge::public::Tenants;
use insula_isolation::{BoxFuture, Connect, Stream};
use insula_linux::scm;
use insula_services::{Lease, LeaseError, NoVersion, Services};
use insula_spec::{InstanceName, Protocol, ServiceName};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::heritage::{ANSWER_MAX, FromHeir, ToHeir, VERSION, line};

/// When to try again where the next worker cannot be reached.
const RETRY: Duration = Duration::from_secs(1);

/// Gives out leases.
#[derive(Debug)]
pub(super) struct Tenancy {
    services: Services,
    /// Socket of the next worker, once there is one.
    heir: OnceLock<PathBuf>,
}

impl Tenancy {
    pub(super) fn new(services: Services) -> Self {
        Self { services, heir: OnceLock::new() }
    }

    /// From now on what the services refuse because they ended is asked from the next worker.
    pub(super) fn give_way_to(&self, socket: PathBuf) {
        if self.heir.set(socket).is_err() {
            tracing::debug!("gave way already");
        }
    }

    /// A connection to the next worker's control API, once there is a next worker.
    pub(super) async fn control(&self) -> Option<io::Result<Stream>> {
        let socket = self.heir.get()?;
        let asked = async {
            let mut stream = UnixStream::connect(socket).await?;
            let mut bytes = line(&ToHeir::Hello { version: VERSION })?;
            bytes.extend(line(&ToHeir::Control)?);
            stream.write_all(&bytes).await?;
            match hear(&stream).await? {
                (FromHeir::Socket, Some(socket)) => Stream::from_socket(socket),
                (other, _) => Err(out_of_turn(&other)),
            }
        };
        Some(asked.await)
    }
}

impl Tenants for Tenancy {
    async fn lease(&self, name: &InstanceName, deadline: Instant) -> Result<Lease, LeaseError> {
        let own = self.services.lease(name, deadline).await;
        match (own, self.heir.get()) {
            (Err(LeaseError::ShuttingDown), Some(socket)) => inherited(socket, name, deadline).await,
            (own, _) => own,
        }
    }

    fn pick(
        &self,
        service: &ServiceName,
        tried: &[Arc<InstanceName>],
    ) -> Result<Arc<InstanceName>, NoVersion> {
        self.services.pick(service, tried)
    }
}

async fn inherited(socket: &PathBuf, name: &InstanceName, until: Instant) -> Result<Lease, LeaseError> {
    let late = LeaseError::TimedOut { retry_after: RETRY };
    match timeout_at(until, ask(socket, name, until)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::warn!(instance = %name, %error, "the next worker gives no lease");
            Err(LeaseError::ShuttingDown)
        }
        Err(_) => Err(late),
    }
}

async fn ask(socket: &PathBuf, name: &InstanceName, until: Instant) -> io::Result<Result<Lease, LeaseError>> {
    let mut stream = UnixStream::connect(socket).await?;
    let left = until.saturating_duration_since(Instant::now());
    let timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let mut bytes = line(&ToHeir::Hello { version: VERSION })?;
    bytes.extend(line(&ToHeir::Lease { name: name.clone(), timeout_ms })?);
    stream.write_all(&bytes).await?;
    match hear(&stream).await?.0 {
        FromHeir::Leased { request_timeout_ms, h2c } => {
            let connector = Arc::new(Borrowed { stream: Mutex::new(stream) });
            let timeout = Duration::from_millis(request_timeout_ms);
            let protocol = if h2c { Protocol::H2c } else { Protocol::Http1 };
            Ok(Ok(Lease::detached_as(name.clone(), connector, timeout, protocol)))
        }
        FromHeir::Refused(error) => Ok(Err(error)),
        other => Err(out_of_turn(&other)),
    }
}

/// One answer, and the socket beside it. The other side answers one question at a time.
async fn hear(stream: &UnixStream) -> io::Result<(FromHeir, Option<std::os::fd::OwnedFd>)> {
    let (mut bytes, mut fds) = (vec![0; ANSWER_MAX], Vec::new());
    let got = stream.async_io(Interest::READABLE, || scm::recv(stream, &mut bytes, &mut fds)).await?;
    if got == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((serde_json::from_slice(bytes.get(..got).unwrap_or_default())?, fds.pop()))
}

fn out_of_turn(message: &FromHeir) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{message:?} came out of turn"))
}

/// Connects by way of the next worker. The lease there lives as long as this does.
#[derive(Debug)]
struct Borrowed {
    stream: Mutex<UnixStream>,
}

impl Connect for Borrowed {
    fn connect(&self) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async {
            let mut stream = self.stream.lock().await;
            stream.write_all(&line(&ToHeir::Socket)?).await?;
            match hear(&stream).await? {
                (FromHeir::Socket, Some(socket)) => Stream::from_socket(socket),
                (FromHeir::Unreachable(why), _) => Err(io::Error::other(why)),
                (other, _) => Err(out_of_turn(&other)),
            }
        })
    }
}
