//! A rolling deploy: requests go to the new version in steps, and back where it fails.
//!
//! ```text
//! healthy ──► share of the step ──► watched for the pause ──► healthy still ──► next step ──► all
//!                                      │ it ended, failed, or a health check did
//!                                      └──► weights as before the first step
//! ```
//! Failures are those of the version: its end, a failed start, a failed health check. What it answers to
//! requests is its own matter.

use std::collections::BTreeMap;

use insula_spec::{InstanceId, InstanceName};
use insula_store::{Event, EventKind, EventQuery};
use tokio::time::{Instant, sleep_until};

use super::healthy::{Sick, Start};
use super::steps::{Steps, shared};
use super::{DeployError, Order};
use crate::failure::Failure;
use crate::routing::Decision;
use crate::services::Services;
use crate::status::Observed;

/// Kinds of events that tell of a failure.
const FAILURES: [EventKind; 4] =
    [EventKind::Exited, EventKind::StartFailed, EventKind::Failed, EventKind::Health];

impl Services {
    /// Gives a healthy version all requests, step by step; what went wrong, if something did. The weights are
    /// as they were then.
    pub(super) async fn roll(
        &self,
        name: &InstanceName,
        steps: &Steps,
        order: &Order,
    ) -> Result<Option<Sick>, DeployError> {
        let before = self.shared.routing.split(&name.service).map(|split| split.weights().clone());
        let before = before.unwrap_or_default();
        if before.iter().any(|(id, weight)| *id != name.id && *weight > 0) {
            for share in steps.ahead(&before, &name.id) {
                let since = self.last_event(name).await?;
                let why = format!("a rolling deploy gives it {share} % of the requests");
                self.reweigh(
                    name,
                    (None, shared(&before, &name.id, share)),
                    Event::new(EventKind::Routed, why),
                )
                .await?;
                if let Some(sick) = self.watched(name, (since, steps), order).await? {
                    self.step_back(name, before, share).await?;
                    return Ok(Some(sick.at(share)));
                }
            }
        }
        let all = shared(&before, &name.id, 100);
        self.reweigh(name, (Some(name.clone()), all), Event::new(EventKind::Deployed, "healthy")).await?;
        Ok(None)
    }

    async fn step_back(
        &self,
        name: &InstanceName,
        mut before: BTreeMap<InstanceId, u8>,
        share: u8,
    ) -> Result<(), DeployError> {
        before.entry(name.id.clone()).or_insert(0);
        let why = format!("it failed with {share} % of the requests; the weights are as before its deploy");
        self.reweigh(name, (None, before), Event::new(EventKind::Routed, why)).await
    }

    async fn reweigh(
        &self,
        name: &InstanceName,
        (deployed, changes): (Option<InstanceName>, BTreeMap<InstanceId, u8>),
        event: Event,
    ) -> Result<(), DeployError> {
        let about = name.clone();
        let decide = |_: &_| Ok::<_, DeployError>(Decision { deployed, changes, about, event });
        self.shared.routing.weigh(&self.shared.store, &name.service, decide).await
    }

    /// Watches a version for the pause of a step, then asks for its health; what went wrong, if something did.
    async fn watched(
        &self,
        name: &InstanceName,
        (since, steps): (u64, &Steps),
        order: &Order,
    ) -> Result<Option<Sick>, DeployError> {
        let until = Instant::now() + steps.pause();
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            if let Some(why) = self.trouble(name) {
                return Ok(Some(Sick::Failed { why, hint: None }));
            }
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| DeployError::ShuttingDown)?,
                () = sleep_until(until) => break,
            }
        }
        // It may sleep by now: then it shows that it can be woken.
        if let Err(sick) = self.bring_up(name, Start::IfDown, Instant::now() + order.timeout).await {
            return Ok(Some(sick));
        }
        let kinds = FAILURES.to_vec();
        let query =
            EventQuery { instance: Some(name.clone()), kinds, after: Some(since), ..EventQuery::default() };
        let failure = self.shared.store.events(query).await?.into_iter().find(|row| {
            // A health that became good is an event, too.
            row.event.kind != EventKind::Health || Failure::of(&row.event).is_some()
        });
        Ok(failure.map(|row| Sick::Failed { why: row.event.cause, hint: None }))
    }

    /// Why a version does not answer well at this moment, if it does not.
    fn trouble(&self, name: &InstanceName) -> Option<String> {
        let Some(status) = self.status(name) else { return Some("it is not known any more".to_owned()) };
        let bad = matches!(
            status.observed,
            Observed::Degraded
                | Observed::Unhealthy
                | Observed::BackingOff
                | Observed::Failed
                | Observed::Stopped
        );
        bad.then(|| status.why.unwrap_or_else(|| format!("it is {}", status.observed)))
    }

    /// The newest event of an instance.
    async fn last_event(&self, name: &InstanceName) -> Result<u64, DeployError> {
        Ok(self.history(name, 1).await?.first().map_or(0, |row| row.id))
    }
}
