//! The control API as the public proxy reaches it: over connections that never leave this process.
//!
//! ```text
//! client ──► public proxy ──socket pair──► control API
//! ```
//! What comes from the network so goes through the framing rules of the public side first, and what the API
//! answers through them too.

use std::io;
use std::os::unix::net::UnixStream as Pair;
use std::time::Duration;

use axum::{Extension, Router};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::caller::Origin;
use super::listen;

/// Time to a whole request head; the public side has its own, shorter one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes connections to the control API within this process.
#[derive(Debug, Clone)]
pub struct Inside {
    router: Router,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Where the API runs, whoever asks.
    runtime: Handle,
}

impl Inside {
    /// Of the runtime that this is called on.
    pub(super) fn new(router: Router, stop: CancellationToken) -> Self {
        let router = router.layer(Extension(Origin::Network));
        Self { router, tasks: TaskTracker::new(), stop, runtime: Handle::current() }
    }

    /// A new connection. It ends when either side is dropped, and after its answer once `stop` is cancelled.
    ///
    /// # Errors
    /// When no socket pair can be made.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let (near, far) = Pair::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        let (router, stop) = (self.router.clone(), self.stop.clone());
        let http = listen::http(HEAD_TIMEOUT);
        let far = {
            let _there = self.runtime.enter();
            UnixStream::from_std(far)?
        };
        let serve = async move { listen::connection(&http, far, router, stop).await };
        self.tasks.spawn_on(serve, &self.runtime);
        UnixStream::from_std(near)
    }
}
