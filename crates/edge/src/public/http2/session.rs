//! The connection to one run of a workload that speaks HTTP/2, shared by all its requests.
//!
//! ```text
//! none ──first request──► open ──GOAWAY, broken──► the next request opens another
//!                          │
//!                          └── the run is over: forgotten; streams that still run end by themselves
//! ```
//! The run owns it (`Lease::companion`). It keeps nothing awake: only leases do.

use std::io;
use std::task::Poll;

use bytes::Bytes;
use h2::Ping;
use h2::client::{self, SendRequest};
use insula_services::Lease;
use tokio::sync::Mutex;

use super::origin::Origin;
use super::{HEADER_LIST_MAX, SEND_BUFFER, STREAMS_MAX, broken};

/// Bytes of one answer that may be on their way before its client took any of them.
const ANSWER_WINDOW: u32 = 64 * 1024;

/// The same for all answers of a session: as many full windows as there are streams at first, so that clients
/// that do not read hold up nobody else.
const SESSION_WINDOW: u32 = 64 * 1024 * 100;

/// The session with one run, once somebody asked.
#[derive(Debug, Default)]
pub(crate) struct Session {
    current: Mutex<Option<SendRequest<Bytes>>>,
}

impl Session {
    /// A stream of its own; waits while the workload takes no more of them.
    pub(crate) async fn open(&self, lease: &Lease) -> io::Result<Origin> {
        let (session, reused) = self.session(lease).await?;
        let session = session.ready().await.map_err(broken)?;
        Ok(Origin::new(session, reused))
    }

    /// The session that is there, or a new one; all who come meanwhile wait for the same.
    async fn session(&self, lease: &Lease) -> io::Result<(SendRequest<Bytes>, bool)> {
        let mut current = self.current.lock().await;
        if let Some(session) = current.as_mut()
            && is_alive(session).await
        {
            return Ok((session.clone(), true));
        }
        let session = connect(lease).await?;
        *current = Some(session.clone());
        Ok((session, false))
    }
}

async fn is_alive(session: &mut SendRequest<Bytes>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(!matches!(session.poll_ready(cx), Poll::Ready(Err(_))))).await
}

/// A new session, with proof that somebody is there: a workload that is dying may still take connections that it
/// will never read. Nothing was sent to it then, so any request may go to the next run.
async fn connect(lease: &Lease) -> io::Result<SendRequest<Bytes>> {
    let upstream = lease.connect().await?;
    let mut settings = client::Builder::new();
    settings
        .enable_push(false)
        .initial_max_send_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_MAX)
        .initial_window_size(ANSWER_WINDOW)
        .initial_connection_window_size(SESSION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    let (session, mut wire) = settings.handshake(upstream).await.map_err(broken)?;
    let ping = wire.ping_pong();
    let name = lease.instance().clone();
    // It ends with the session: when the workload closes it, or when nobody can ask any more.
    tokio::spawn(async move {
        if let Err(error) = wire.await {
            tracing::debug!(%error, instance = %name, "a session of HTTP/2 with a workload broke");
        }
    });
    if let Some(mut ping) = ping {
        ping.ping(Ping::opaque()).await.map_err(broken)?;
    }
    Ok(session)
}
