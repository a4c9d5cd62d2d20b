//! The control API as the public proxy reaches it: over connections that never leave this process.
//!
//! ```text
//! client ──► public proxy ──socket pair──► control API
//! ```
//! What comes from the network so goes through the framing rules of the public side first, and what the API
//! answers through them too.

use std::io;
use std::time::Duration;

use axum::{Extension, Router};
use tokio::net::UnixStream;
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
}

impl Inside {
    pub(super) fn new(router: Router, stop: CancellationToken) -> Self {
        Self { router: router.layer(Extension(Origin::Network)), tasks: TaskTracker::new(), stop }
    }

    /// A new connection. It ends when either side is dropped, and after its answer once `stop` is cancelled.
    ///
    /// # Errors
    /// When no socket pair can be made.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let (near, far) = UnixStream::pair()?;
        let (router, stop) = (self.router.clone(), self.stop.clone());
        let http = listen::http(HEAD_TIMEOUT);
        self.tasks.spawn(async move { listen::connection(&http, far, router, stop).await });
        Ok(near)
    }
}
