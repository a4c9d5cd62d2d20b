//! Reaching a workload, past the end of a run.
//!
//! ```text
//! lease ──────► connect ─────► send ─────► answer
//!   ▲              │ refused     │ not a byte of an answer, and the request may be repeated
//!   │              ▼             ▼
//!   └── ended ◄── lease given up ┘   (an old connection: first a new one to the same run)
//!         │
//!         └─ not in time: the workload lives and does not want; the failure stands
//! ```
//! A workload that dies refuses connections a moment before anybody has been told of its end. Nothing was
//! sent then, so the request waits for the next run. No lease is held meanwhile: waiting keeps nothing awake
//! and delays no stop.

use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::pin::pin;
use std::time::Duration;

use insula_services::Lease;
use insula_spec::InstanceName;
use tokio::time::{Instant, timeout_at};

use crate::public::link::Link;
use crate::public::respond::Failure;
use crate::public::settings::Settings;
use crate::public::tenants::Tenants;

/// Those who keep deadlines themselves know better what to say; their callers wait so much longer.
pub(crate) const BACKSTOP: Duration = Duration::from_secs(1);

/// What waiting for an instance came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Waits {
    /// Time spent.
    pub(crate) waited: Duration,
    /// Whether the instance had to be woken or started again.
    pub(crate) woke: bool,
}

/// A workload that can be talked to.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) lease: Lease,
    pub(crate) upstream: Link,
    /// Whether the connection was used before.
    pub(crate) reused: bool,
}

/// One request on its way to its instance.
#[derive(Debug)]
pub(crate) struct Reach<'a, T> {
    tenants: &'a T,
    settings: &'a Settings,
    name: &'a InstanceName,
    waits: &'a mut Waits,
    /// When it is given up.
    until: Instant,
    /// Whether a second run has had the request. A request that ends those who get it is not given to a third.
    moved: bool,
    /// Whether bytes are carried, whatever they mean.
    raw: bool,
}

impl<'a, T: Tenants> Reach<'a, T> {
    /// Begins with the time that a wake may take.
    pub(crate) fn new(
        tenants: &'a T,
        settings: &'a Settings,
        name: &'a InstanceName,
        waits: &'a mut Waits,
        started: Instant,
    ) -> Self {
        let until = started + settings.wake_timeout;
        Self { tenants, settings, name, waits, until, moved: false, raw: false }
    }

    /// For bytes that nobody here looks at: the connection is made as it is.
    pub(crate) fn raw(self) -> Self {
        Self { raw: true, ..self }
    }

    /// When it is given up.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// Sets another time to give up.
    pub(crate) fn give_up_at(&mut self, until: Instant) {
        self.until = until;
    }

    /// Waits for a lease.
    pub(crate) async fn lease(&mut self) -> Result<Lease, Failure> {
        tracing::trace!(target: "insula::wake", at = "request");
        let lease = counted(&mut self.waits.waited, self.tenants.lease(self.name, self.until)).await?;
        tracing::trace!(target: "insula::wake", at = "lease");
        self.waits.woke |= lease.woke();
        Ok(lease)
    }

    /// Makes a connection, to a later run if this one has just ended.
    pub(crate) async fn connect(&mut self, mut lease: Lease) -> Result<Found, Failure> {
        loop {
            match self.dial(&lease).await? {
                Ok(upstream) => {
                    let reused = upstream.is_reused();
                    return Ok(Found { lease, upstream, reused });
                }
                Err(error) => lease = self.next_run(lease, Failure::Unreachable(error)).await?,
            }
        }
    }

    /// Makes a connection for a request that has been sent and got nothing for an answer, which is `failure`.
    /// A `reused` connection may have been closed while the request was on its way; a new one was not.
    pub(crate) async fn again(
        &mut self,
        lease: Lease,
        reused: bool,
        failure: Failure,
    ) -> Result<Found, Failure> {
        let mut failure = failure;
        if reused {
            match self.dial(&lease).await? {
                Ok(upstream) => return Ok(Found { lease, upstream, reused: false }),
                Err(error) => failure = Failure::Unreachable(error),
            }
        }
        if mem::replace(&mut self.moved, true) {
            return Err(failure);
        }
        let lease = self.next_run(lease, failure).await?;
        self.connect(lease).await
    }

    async fn dial(&self, lease: &Lease) -> Result<io::Result<Link>, Failure> {
        let connected = async {
            if self.raw { lease.connect().await.map(Link::Direct) } else { Link::open(lease).await }
        };
        timeout_at(self.until, connected).await.map_err(|_| Failure::TimedOut)
    }

    /// Waits until this run has ended, and for a lease on the next one. If it does not end in time the
    /// workload is alive, and the failure is its own.
    async fn next_run(&mut self, lease: Lease, failure: Failure) -> Result<Lease, Failure> {
        let until = self.until.min(Instant::now() + self.settings.refusal_timeout);
        let ended = timeout_at(until, lease.ended());
        counted(&mut self.waits.waited, ended).await.map_err(|_| failure)?;
        self.lease().await
    }
}

/// Waits, and adds the time that took, even if nobody waits to the end. What is ready at once costs no look
/// at the clock.
async fn counted<F: Future>(total: &mut Duration, awaited: F) -> F::Output {
    let mut clock = Clock { since: None, total };
    let mut awaited = pin!(awaited);
    poll_fn(|cx| {
        let polled = awaited.as_mut().poll(cx);
        if polled.is_pending() {
            clock.since.get_or_insert_with(Instant::now);
        }
        polled
    })
    .await
}

#[derive(Debug)]
struct Clock<'a> {
    since: Option<Instant>,
    total: &'a mut Duration,
}

impl Drop for Clock<'_> {
    fn drop(&mut self) {
        *self.total += self.since.map_or(Duration::ZERO, |since| since.elapsed());
    }
}
