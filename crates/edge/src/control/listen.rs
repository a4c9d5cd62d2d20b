//! The accept loop of the control socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::ControlError;
use super::handlers::{self, Shared};
use super::operations::Operations;

/// Time after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the control socket takes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The user beside root who may ask: the owner of the daemon.
    pub owner: u32,
    /// Connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// Time from connecting to a whole request head.
    pub head_timeout: Duration,
}

impl Limits {
    /// 64 connections, 10 seconds.
    #[must_use]
    pub fn of_owner(owner: u32) -> Self {
        Self { owner, connections: 64, head_timeout: Duration::from_secs(10) }
    }
}

/// Serves the control API until `stop` is cancelled; then lets requests in flight end.
///
/// # Errors
/// When the listener cannot be used at all.
pub async fn serve<O: Operations>(
    listener: std::os::unix::net::UnixListener,
    operations: O,
    limits: Limits,
    stop: CancellationToken,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let router = handlers::router(Arc::new(Shared { operations, stop: stop.clone() }));
    let permits = Arc::new(Semaphore::new(limits.connections));
    let tasks = TaskTracker::new();
    while let Some((stream, permit)) = next(&listener, &permits, &stop).await {
        let app = admit(&stream, limits.owner, &router);
        let connection = connection(stream, app, limits.head_timeout, stop.clone());
        tasks.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// The next connection, with its permit; `None` when it is time to stop.
async fn next(
    listener: &UnixListener,
    permits: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = stop.run_until_cancelled(Arc::clone(permits).acquire_owned()).await?.ok()?;
    loop {
        match stop.run_until_cancelled(listener.accept()).await? {
            Ok((stream, _)) => return Some((stream, permit)),
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the control socket");
                stop.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await?;
            }
        }
    }
}

/// The API for the owner and root; a refusal for everybody else.
fn admit(stream: &UnixStream, owner: u32, router: &Router) -> Router {
    match stream.peer_cred().map(|cred| cred.uid()) {
        Ok(uid) if uid == owner || uid == 0 => router.clone(),
        Ok(uid) => {
            tracing::warn!(uid, "a control request of another user was refused");
            refuse(uid)
        }
        Err(error) => {
            tracing::warn!(%error, "cannot tell who asks on the control socket");
            refuse(u32::MAX)
        }
    }
}

fn refuse(uid: u32) -> Router {
    Router::new().fallback(move || std::future::ready(ControlError::NotOwner { uid }))
}

async fn connection(stream: UnixStream, app: Router, head_timeout: Duration, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout).half_close(true);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a control connection broke");
    }
}
