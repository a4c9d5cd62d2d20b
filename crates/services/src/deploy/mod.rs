//! Deploys: a version is brought up beside the others and then gets its share; a tenant is replaced in place.
//!
//! ```text
//! version:  known ──► up ──► healthy ──► weights, one transaction and one swap ──► old ones tidied up
//!             │       │         │
//!             │       │         └─ rolling: in steps, and back where it fails (see `roll`)
//!             └───────┴─────────┴─ not healthy: stopped, forgotten if it was new; weights are as before
//!
//! tenant:   requests held ──► drained ──► stopped ──► started ──► healthy ──► requests go on
//! ```
//! A deploy goes on to its end even if nobody waits for it any more; the end of this process cuts it off,
//! before the weights or after them. One service, or one tenant, has one deploy at a time.

mod error;
#[cfg(test)]
mod fixtures;
mod healthy;
mod order;
mod roll;
mod steps;
mod tidy;
mod weights;

use std::time::Duration;

use insula_spec::InstanceName;
use insula_spec::config::Target;
use insula_store::{Event, EventKind, LogQuery};
use tokio::time::{Instant, timeout};

pub use self::error::DeployError;
use self::healthy::{Sick, Start};
pub use self::order::{Order, Share};
pub use self::steps::{InvalidSteps, Steps};
pub use self::weights::Version;
use crate::routing::{Claim, Decision, WEIGHT_MAX};
use crate::services::Services;
use crate::shared::Phase;

/// Most lines of a failed version that its error shows.
const LAST_LINES: usize = 5;
/// How long the first of them may take from the program to the store.
const LINES_TIMEOUT: Duration = Duration::from_millis(500);

/// What a deploy came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deployed {
    /// Whether it is a tenant, which has no share of anything.
    pub tenant: bool,
    /// Versions that were put to sleep.
    pub slept: Vec<InstanceName>,
    /// Versions that were stopped and are not known any more.
    pub forgotten: Vec<InstanceName>,
}

impl Services {
    /// Brings an instance up, anew if it is up already, waits until it is healthy, and gives it its share.
    ///
    /// # Errors
    /// When it does not become healthy: a version that was not known before is stopped and forgotten then, and
    /// in any case the weights are as they were. When another deploy of the same service is under way, or a
    /// share is asked for a tenant.
    pub async fn deploy(&self, name: &InstanceName, order: Order) -> Result<Deployed, DeployError> {
        let spec = self.shared.spec(&name.service);
        let spec = spec.ok_or_else(|| DeployError::UnknownService(name.service.clone()))?;
        let (services, name) = (self.clone(), name.clone());
        if !spec.versions {
            if order.share != Share::First {
                return Err(DeployError::Tenants(name.service));
            }
            let claim = self.claim(Target::Instance(name.clone()))?;
            return self.to_the_end(claim, async move { services.replace(&name, order.timeout).await }).await;
        }
        if let Share::Weight(weight) = order.share
            && weight > WEIGHT_MAX
        {
            return Err(DeployError::Weight { name, weight: weight.into() });
        }
        let claim = self.claim(Target::Service(name.service.clone()))?;
        self.to_the_end(claim, async move { services.deploy_version(&name, order).await }).await
    }

    /// The right to change something, for one at a time.
    fn claim(&self, what: Target) -> Result<Claim, DeployError> {
        let busy = DeployError::Busy(what.to_string());
        self.shared.routing.claim(what).ok_or(busy)
    }

    /// Does the work in a task of its own, which ends with this process's part in the life of instances.
    async fn to_the_end<T: Send + 'static>(
        &self,
        claim: Claim,
        work: impl Future<Output = Result<T, DeployError>> + Send + 'static,
    ) -> Result<T, DeployError> {
        let mut phase = self.shared.phase.subscribe();
        let guarded = async move {
            let _claim = claim;
            let over = async { phase.wait_for(|phase| *phase != Phase::Serving).await.map(|_| ()).ok() };
            tokio::select! {
                biased;
                _ = over => Err(DeployError::ShuttingDown),
                done = work => done,
            }
        };
        let task = self.shared.keepers.spawn_on(guarded, &self.shared.runtime);
        task.await.unwrap_or(Err(DeployError::ShuttingDown))
    }

    async fn deploy_version(&self, name: &InstanceName, order: Order) -> Result<Deployed, DeployError> {
        let was_known = self.status(name).is_some();
        self.make_known(name, "deployed by the operator").await?;
        let deadline = Instant::now() + order.timeout;
        if let Err(sick) = self.bring_up(name, Start::Anew, deadline).await {
            return Err(self.give_up(name, (sick, was_known), order.timeout).await?);
        }
        if let Share::Rolling { keep, steps } = &order.share {
            return match self.roll(name, steps, &order).await? {
                Some(sick) => Err(self.give_up(name, (sick, was_known), order.timeout).await?),
                None => self.tidy(name, *keep).await,
            };
        }
        let shared = &self.shared;
        let decide = |weights: &_| {
            let changes = order::changes(weights, &name.id, &order.share);
            let event = Event::new(EventKind::Deployed, "healthy");
            Ok::<_, DeployError>(Decision {
                deployed: Some(name.clone()),
                changes,
                about: name.clone(),
                event,
            })
        };
        shared.routing.weigh(&shared.store, &name.service, decide).await?;
        Ok(Deployed::default())
    }

    /// A version that takes no requests is stopped, and one that was not known before is forgotten; what to
    /// tell the operator.
    async fn give_up(
        &self,
        name: &InstanceName,
        (sick, was_known): (Sick, bool),
        timeout: Duration,
    ) -> Result<DeployError, DeployError> {
        if self.shared.routing.weight(name) == 0 {
            self.stop(name).await?;
        }
        let error = self.failed(name, sick, timeout).await?;
        if !was_known {
            self.forget(name, "its deploy failed").await?;
        }
        Ok(error)
    }

    /// A tenant is replaced by itself, as the configuration wants it now.
    async fn replace(&self, name: &InstanceName, timeout: Duration) -> Result<Deployed, DeployError> {
        self.make_known(name, "deployed by the operator").await?;
        if let Err(sick) = self.bring_up(name, Start::Anew, Instant::now() + timeout).await {
            return Err(self.failed(name, sick, timeout).await?);
        }
        self.shared.store.note(Some(name), Event::new(EventKind::Deployed, "healthy")).await?;
        Ok(Deployed { tenant: true, ..Deployed::default() })
    }

    /// Writes down that a deploy failed; what to tell the operator.
    async fn failed(
        &self,
        name: &InstanceName,
        sick: Sick,
        timeout: Duration,
    ) -> Result<DeployError, DeployError> {
        let lines = self.last_lines(name).await?;
        let error = DeployError::sick(name, sick, timeout, lines);
        let event = Event::new(EventKind::DeployFailed, error.to_string());
        self.shared.store.note(Some(name), event).await?;
        Ok(error)
    }

    /// The last lines that it wrote. The way from a program to the store takes a moment, so the first of them
    /// is waited for, but not for long: many a program writes nothing.
    async fn last_lines(&self, name: &InstanceName) -> Result<Vec<String>, DeployError> {
        let mut heads = self.shared.store.follow();
        let until = Instant::now() + LINES_TIMEOUT;
        loop {
            heads.borrow_and_update();
            let query = LogQuery { tail: Some(LAST_LINES), ..LogQuery::of(name.clone()) };
            let rows = self.shared.store.logs(query).await?.rows;
            let left = until.saturating_duration_since(Instant::now());
            if !rows.is_empty() || !matches!(timeout(left, heads.changed()).await, Ok(Ok(()))) {
                let line = |row: insula_store::LogRow| String::from_utf8_lossy(&row.bytes).into_owned();
                return Ok(rows.into_iter().map(line).collect());
            }
        }
    }
}
