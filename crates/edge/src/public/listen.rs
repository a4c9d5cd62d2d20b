//! Accepting connections.
//!
//! ```text
//! permit ──► accept ──► a hand: task per connection ──► permit back
//!    drain: the kernel's queue is emptied once, every connection ends by itself, then `serve` returns
//! ```

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use insula_spec::InstanceName;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::public::buffer::Pool;
use crate::public::conn::{Connection, Shared};
use crate::public::http2;
use crate::public::observe::Observer;
use crate::public::patient::Patient;
use crate::public::settings::{Keepalive, Settings};
use crate::public::tcp;
use crate::public::tenants::Tenants;

/// A listener that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the listener on `{address}`")]
pub struct ListenError {
    /// Where it listens, as far as known.
    pub address: String,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl ListenError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "pass a bound and listening TCP socket, and allow enough open files"
    }
}

/// The public proxy: any number of listeners, one set of settings.
#[derive(Debug)]
pub struct Proxy<T> {
    shared: Arc<Shared<T>>,
    permits: Arc<Semaphore>,
}

impl<T> Clone for Proxy<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), permits: Arc::clone(&self.permits) }
    }
}

impl<T: Tenants> Proxy<T> {
    /// A proxy that takes its leases from `tenants` and tells `observer` of every exchange.
    #[must_use]
    pub fn new(tenants: T, settings: Settings, observer: Arc<dyn Observer>) -> Self {
        let permits = Arc::new(Semaphore::new(settings.max_connections.min(Semaphore::MAX_PERMITS)));
        let (pool, ids) = (Arc::new(Pool::default()), Arc::clone(&settings.ids));
        Self { shared: Arc::new(Shared { tenants, settings, observer, pool, ids }), permits }
    }

    /// Serves HTTP on a listener until `drain` is cancelled and the last connection has ended.
    ///
    /// What had connected before the cancellation is still served, and told that the connection closes.
    /// Tunnels and streams end when their own sides end them.
    ///
    /// # Errors
    /// When the listener cannot be registered with the runtime.
    pub async fn serve(
        &self,
        listener: std::net::TcpListener,
        drain: CancellationToken,
    ) -> Result<(), ListenError> {
        let shared = Arc::clone(&self.shared);
        let token = drain.clone();
        self.accept(listener, drain, move |stream: TcpStream, peer| {
            let stream = Patient::new(stream, shared.settings.write_timeout);
            let connection = Connection::new(Arc::clone(&shared), stream, peer.ip(), token.clone());
            async move {
                if let Some(connection) = connection.run().await {
                    // In a box, so that a connection of HTTP/1.1 has no room for what it does not need.
                    Box::pin(http2::serve(connection)).await;
                }
            }
        })
        .await
    }

    /// Forwards every connection on a listener to one instance, waking it, until `drain` is cancelled and
    /// the last connection has ended.
    ///
    /// # Errors
    /// When the listener cannot be registered with the runtime.
    pub async fn serve_tcp(
        &self,
        listener: std::net::TcpListener,
        instance: InstanceName,
        drain: CancellationToken,
    ) -> Result<(), ListenError> {
        let shared = Arc::clone(&self.shared);
        let instance = Arc::new(instance);
        self.accept(listener, drain, move |stream: TcpStream, peer| {
            tcp::forward(Arc::clone(&shared), stream, peer.ip(), Arc::clone(&instance))
        })
        .await
    }

    async fn accept<F, Fut>(
        &self,
        listener: std::net::TcpListener,
        drain: CancellationToken,
        serve: F,
    ) -> Result<(), ListenError>
    where
        F: Fn(TcpStream, SocketAddr) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = register(listener)?;
        let tracker = TaskTracker::new();
        let keepalive = self.shared.settings.keepalive;
        let spawn = |Accepted { permit, stream, peer }| {
            if let Err(error) = tune(&stream, keepalive) {
                // The peer is gone already; serving the connection will find out.
                tracing::debug!(%error, "cannot set the options of a connection");
            }
            let serve = serve.clone();
            self.shared.settings.hands.give(&tracker, move || async move {
                // Registered where it is carried.
                match TcpStream::from_std(stream) {
                    Ok(stream) => serve(stream, peer).await,
                    Err(error) => tracing::warn!(%error, "cannot register a connection"),
                }
                drop(permit);
            });
        };
        loop {
            tokio::select! {
                biased;
                () = drain.cancelled() => break,
                accepted = self.accept_one(&listener) => accepted.into_iter().for_each(spawn),
            }
        }
        self.accept_rest(listener).for_each(spawn);
        tracker.close();
        tracker.wait().await;
        Ok(())
    }

    /// One connection, together with the right to serve it; `None` if that right is no longer given.
    async fn accept_one(&self, listener: &TcpListener) -> Option<Accepted> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        loop {
            let accepted = listener.accept().await;
            match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
                Ok((stream, peer)) => return Some(Accepted { permit, stream, peer }),
                Err(error) => pause_after(&error).await,
            }
        }
    }

    /// The connections that are in the kernel's queue at this moment. If nobody else holds the listener they
    /// would be reset when it is closed, although their clients believe them made.
    fn accept_rest(&self, listener: TcpListener) -> impl Iterator<Item = Accepted> + '_ {
        let listener = listener.into_std();
        (0..QUEUE_MAX).map_while(move |_| {
            let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
            let accepted = listener.as_ref().ok()?.accept().and_then(|(stream, peer)| {
                stream.set_nonblocking(true)?;
                Ok(Accepted { permit, stream, peer })
            });
            match accepted {
                Ok(accepted) => Some(accepted),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection while draining");
                    None
                }
            }
        })
    }
}

/// Most connections taken from the kernel's queue when a drain begins; Linux queues no more by default.
const QUEUE_MAX: usize = 4096;

/// A connection, not registered with any runtime yet, and the right to serve it.
#[derive(Debug)]
struct Accepted {
    permit: OwnedSemaphorePermit,
    stream: std::net::TcpStream,
    peer: SocketAddr,
}

/// Small writes go at once, and a peer that vanished is noticed.
fn tune(stream: impl AsFd, keepalive: Keepalive) -> io::Result<()> {
    let stream = stream.as_fd();
    sockopt::set_tcp_nodelay(stream, true)?;
    sockopt::set_tcp_keepidle(stream, keepalive.idle)?;
    sockopt::set_tcp_keepintvl(stream, keepalive.interval)?;
    sockopt::set_tcp_keepcnt(stream, keepalive.probes)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}

/// A connection that broke before it was accepted is none of our business. When descriptors or memory are
/// short, the kernel has no event for their return, so the only thing to do is to try again a little later.
async fn pause_after(error: &io::Error) {
    let of_the_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    );
    if !of_the_connection {
        tracing::warn!(%error, "cannot accept a connection");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn register(listener: std::net::TcpListener) -> Result<TcpListener, ListenError> {
    let address = listener.local_addr().map_or_else(|_| "unknown".to_owned(), |a| a.to_string());
    listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
        .map_err(|source| ListenError { address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_probed_as_the_settings_say() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(!sockopt::socket_keepalive(&stream).unwrap());
        let (idle, interval) = (Duration::from_secs(7), Duration::from_secs(3));
        tune(&stream, Keepalive { idle, interval, probes: 4 }).unwrap();
        assert!(sockopt::socket_keepalive(&stream).unwrap() && stream.nodelay().unwrap());
        let set = (sockopt::tcp_keepidle(&stream).unwrap(), sockopt::tcp_keepintvl(&stream).unwrap());
        assert_eq!((set, sockopt::tcp_keepcnt(&stream).unwrap()), ((idle, interval), 4));
    }
}
