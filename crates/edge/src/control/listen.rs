//! The accept loop of the control socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::caller::Origin;
use super::error::ControlError;
use super::exec::Sessions;
use super::handlers::{self, Shared};
use super::inside::Inside;
use super::keys::Keys;
use super::operations::Operations;

/// Time after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Time for the first request of a connection that was accepted before the API had to end. Whoever connects asks
/// at once.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

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

/// The control API, ready to be reached.
#[derive(Debug)]
pub struct Control<O> {
    operations: Arc<O>,
    keys: Arc<Keys>,
    sessions: Sessions,
}

impl<O: Operations> Control<O> {
    /// An API that does these operations, for those whom `keys` let in.
    #[must_use]
    pub fn new(operations: O, keys: Keys) -> Self {
        Self { operations: Arc::new(operations), keys: Arc::new(keys), sessions: Sessions::new() }
    }

    /// Serves the owner of the daemon and root on a Unix socket until `stop` is cancelled; then lets requests
    /// in flight end.
    ///
    /// # Errors
    /// When the listener cannot be used at all.
    pub async fn serve(
        &self,
        listener: std::os::unix::net::UnixListener,
        limits: Limits,
        stop: CancellationToken,
    ) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let router = self.router(stop.clone());
        let permits = Arc::new(Semaphore::new(limits.connections));
        let tasks = TaskTracker::new();
        while let Some((stream, permit)) = next(&listener, &permits, &stop).await {
            let app = admit(&stream, limits.owner, &router);
            let mut http = http(limits.head_timeout);
            http.half_close(true);
            let stop = stop.clone();
            tasks.spawn(async move {
                connection(&http, stream, app, stop).await;
                drop(permit);
            });
        }
        tasks.close();
        tasks.wait().await;
        self.sessions.ended().await;
        Ok(())
    }

    /// The same API for those who come over the network, with tokens. Streams end when `stop` is cancelled.
    #[must_use]
    pub fn inside(&self, stop: CancellationToken) -> Inside {
        Inside::new(self.router(stop.clone()), stop)
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    fn router(&self, stop: CancellationToken) -> Router {
        let (operations, keys) = (Arc::clone(&self.operations), Arc::clone(&self.keys));
        let sessions = self.sessions.clone();
        handlers::router(Arc::new(Shared { operations, keys, stop, sessions }))
    }
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
        Ok(uid) if uid == owner || uid == 0 => router.clone().layer(Extension(Origin::Unix { uid })),
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

/// How HTTP is spoken on either way in.
pub(super) fn http(head_timeout: Duration) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout);
    http
}

/// Serves one connection. Once `stop` is cancelled it ends after the request in hand, or after its first one.
pub(super) async fn connection(
    http: &http1::Builder,
    stream: UnixStream,
    app: Router,
    stop: CancellationToken,
) {
    let asked = CancellationToken::new();
    let app = TowerToHyperService::new(app);
    let app = service_fn(|request| {
        asked.cancel();
        app.call(request)
    });
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), app).with_upgrades());
    let over = async {
        stop.cancelled().await;
        // Whether or not the request came: that is all the time it has.
        timeout(FIRST_REQUEST, asked.cancelled()).await.ok();
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = over => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a control connection broke");
    }
}
