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
use std::sync::Arc;
use std::time::Duration;

use insula_services::{Lease, LeaseError, NoVersion};
use insula_spec::{InstanceName, ServiceName};
use tokio::time::{Instant, timeout_at};

use crate::public::link::Link;
use crate::public::respond::Failure;
use crate::public::settings::Settings;
use crate::public::tenants::Tenants;

/// Those who keep deadlines themselves know better what to say; their callers wait so much longer.
pub(crate) const BACKSTOP: Duration = Duration::from_secs(1);

/// What waiting for an instance came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waits {
    /// Time spent.
    pub(crate) waited: Duration,
    /// Whether the instance had to be woken or started again.
    pub(crate) woke: bool,
    /// The version chosen last, for a request to a service.
    pub(crate) version: Option<Arc<InstanceName>>,
}

/// Whom a request is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Aim<'a> {
    /// This instance.
    Instance(&'a InstanceName),
    /// Any version of this service, by weight.
    Service(&'a ServiceName),
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
    aim: Aim<'a>,
    /// Versions that are not asked again.
    tried: Vec<Arc<InstanceName>>,
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
        aim: Aim<'a>,
        waits: &'a mut Waits,
        started: Instant,
    ) -> Self {
        let until = started + settings.wake_timeout;
        Self { tenants, settings, aim, tried: Vec::new(), waits, until, moved: false, raw: false }
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
        loop {
            let leased = match (self.aim, self.version()?) {
                (Aim::Instance(name), _) => self.lease_on(name).await,
                (Aim::Service(_), Some(version)) => self.lease_on(&version).await,
                (Aim::Service(service), None) => return Err(NoVersion::NoneWeighed(service.clone()).into()),
            };
            match leased {
                Ok(lease) => {
                    tracing::trace!(target: "insula::wake", at = "lease");
                    self.waits.woke |= lease.woke();
                    return Ok(lease);
                }
                Err(error) if is_final(&error) || !self.turn_away() => return Err(error.into()),
                Err(_) => {}
            }
        }
    }

    async fn lease_on(&mut self, name: &InstanceName) -> Result<Lease, LeaseError> {
        counted(&mut self.waits.waited, self.tenants.lease(name, self.until)).await
    }

    /// The version that is asked now, for a request to a service.
    fn version(&mut self) -> Result<Option<Arc<InstanceName>>, NoVersion> {
        if let (Aim::Service(service), None) = (self.aim, &self.waits.version) {
            self.waits.version = Some(self.tenants.pick(service, &self.tried)?);
        }
        Ok(self.waits.version.clone())
    }

    /// Turns to another version; `false` if there is none.
    fn turn_away(&mut self) -> bool {
        let Aim::Service(service) = self.aim else { return false };
        self.tried.extend(self.waits.version.clone());
        let other = self.tenants.pick(service, &self.tried).ok();
        let found = other.is_some();
        if found {
            self.waits.version = other;
        }
        found
    }

    /// Makes a connection, to a later run if this one has just ended.
    pub(crate) async fn connect(&mut self, mut lease: Lease) -> Result<Found, Failure> {
        loop {
            match self.dial(&lease).await? {
                Ok(upstream) => {
                    let reused = upstream.is_reused();
                    return Ok(Found { lease, upstream, reused });
                }
                Err(error) => lease = self.next(lease, Failure::Unreachable(error)).await?,
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
        let lease = self.next(lease, failure).await?;
        self.connect(lease).await
    }

    async fn dial(&self, lease: &Lease) -> Result<io::Result<Link>, Failure> {
        let connected = async {
            if self.raw { lease.connect().await.map(Link::Direct) } else { Link::open(lease).await }
        };
        timeout_at(self.until, connected).await.map_err(|_| Failure::TimedOut)
    }

    /// A lease on another version at once, or else on the next run of this one.
    async fn next(&mut self, lease: Lease, failure: Failure) -> Result<Lease, Failure> {
        if self.turn_away() {
            drop(lease);
            return self.lease().await;
        }
        self.next_run(lease, failure).await
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

/// Whether no other version would do better.
fn is_final(error: &LeaseError) -> bool {
    matches!(error, LeaseError::TimedOut { .. } | LeaseError::ShuttingDown)
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
