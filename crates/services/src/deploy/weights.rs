//! Who answers for a service: look, share out anew, swap.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use insula_spec::config::Target;
use insula_spec::{InstanceId, InstanceName, ServiceName};
use insula_store::{Event, EventKind};
use tokio::time::Instant;

use super::healthy::Start;
use super::{DeployError, order};
use crate::directory::Entry;
use crate::routing::{Decision, NoVersion, WEIGHT_MAX};
use crate::services::Services;
use crate::status::{Observed, Status};

/// One version of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its name.
    pub name: InstanceName,
    /// Its share of the requests, relative to those of the other versions; 0 to 100.
    pub weight: u8,
    /// When it was deployed last; `None` for one that was only spawned.
    pub deployed: Option<SystemTime>,
    /// Where it is.
    pub status: Status,
}

impl Services {
    /// The version that answers the next request to a service, by weight. Those in `tried` are passed over,
    /// and so are those that cannot take requests now, while there are others.
    ///
    /// # Errors
    /// When the service has no versions, or none that takes requests and was not tried.
    pub fn pick(
        &self,
        service: &ServiceName,
        tried: &[Arc<InstanceName>],
    ) -> Result<Arc<InstanceName>, NoVersion> {
        let split = self.shared.routing.split(service).filter(|split| split.is_open());
        let split = split.ok_or_else(|| self.no_version(service))?;
        let untried = |name: &InstanceName| tried.iter().all(|other| **other != *name);
        let well = {
            let map = self.shared.directory.read();
            split.pick(|name| untried(name) && map.get(name).is_some_and(takes_requests))
        };
        well.or_else(|| split.pick(untried)).ok_or_else(|| NoVersion::NoneWeighed(service.clone()))
    }

    fn no_version(&self, service: &ServiceName) -> NoVersion {
        match self.shared.spec(service) {
            None => NoVersion::UnknownService(service.clone()),
            Some(spec) if spec.versions => NoVersion::NoneWeighed(service.clone()),
            Some(_) => NoVersion::Tenants(service.clone()),
        }
    }

    /// The versions of a service, oldest first.
    ///
    /// # Errors
    /// When the service is not configured or has tenants, or the store does not answer.
    pub async fn versions(&self, service: &ServiceName) -> Result<Vec<Version>, DeployError> {
        self.versioned(service)?;
        let mut rows: BTreeMap<_, _> =
            self.shared.store.versions().await?.into_iter().map(|row| (row.name, row.deployed)).collect();
        let split = self.shared.routing.split(service);
        let mut versions: Vec<_> = {
            let map = self.shared.directory.read();
            let version = |(name, entry): (&InstanceName, &Entry)| Version {
                weight: split.as_ref().map_or(0, |split| split.weight(&name.id)),
                deployed: rows.remove(name),
                status: entry.status.clone(),
                name: name.clone(),
            };
            map.iter().filter(|(name, _)| name.service == *service).map(version).collect()
        };
        versions.sort_by(|a, b| (a.deployed, &a.name).cmp(&(b.deployed, &b.name)));
        Ok(versions)
    }

    /// Gives versions new weights, 0 to 100, all at once. Those that are not named keep theirs.
    ///
    /// # Errors
    /// When a version is not known, a weight is too large, or nobody would have one.
    pub async fn set_weights(
        &self,
        service: &ServiceName,
        new: BTreeMap<InstanceId, u8>,
    ) -> Result<(), DeployError> {
        self.versioned(service)?;
        for (id, weight) in &new {
            let name = InstanceName::new(service.clone(), id.clone());
            if *weight > WEIGHT_MAX {
                return Err(DeployError::Weight { name, weight: (*weight).into() });
            }
            self.status(&name).ok_or(DeployError::UnknownVersion(name))?;
        }
        let Some(first) = new.keys().next().cloned() else { return Ok(()) };
        let claim = self.claim(Target::Service(service.clone()))?;
        let (services, service) = (self.clone(), service.clone());
        let work = async move {
            let decide = |weights: &BTreeMap<InstanceId, u8>| {
                let kept = weights.iter().filter(|(id, _)| !new.contains_key(*id));
                if kept.chain(&new).all(|(_, weight)| *weight == 0) {
                    return Err(DeployError::NobodyLeft(service.clone()));
                }
                let about = InstanceName::new(service.clone(), first);
                let event = Event::new(EventKind::Routed, "weights set by the operator");
                Ok(Decision { deployed: None, changes: new, about, event })
            };
            let shared = &services.shared;
            shared.routing.weigh(&shared.store, &service, decide).await
        };
        self.to_the_end(claim, work).await
    }

    /// Gives all of one version's weight to another one, which is woken and healthy before.
    ///
    /// # Errors
    /// When one is not known, the first has no weight, or the second does not become healthy. The weights are
    /// as they were then.
    pub async fn reroute(
        &self,
        service: &ServiceName,
        (from, to): (InstanceId, InstanceId),
        timeout: Duration,
    ) -> Result<(), DeployError> {
        self.versioned(service)?;
        for id in [&from, &to] {
            let name = InstanceName::new(service.clone(), id.clone());
            self.status(&name).ok_or_else(|| DeployError::unknown(service, id))?;
        }
        let target = InstanceName::new(service.clone(), to);
        let source = InstanceName::new(service.clone(), from);
        if source == target {
            return Err(DeployError::Same(source));
        }
        if self.shared.routing.weight(&source) == 0 {
            return Err(DeployError::NoWeight(source));
        }
        let claim = self.claim(Target::Service(service.clone()))?;
        let services = self.clone();
        let work = async move { services.swap(source, target, timeout).await };
        self.to_the_end(claim, work).await
    }

    async fn swap(
        &self,
        source: InstanceName,
        target: InstanceName,
        timeout: Duration,
    ) -> Result<(), DeployError> {
        if let Err(sick) = self.bring_up(&target, Start::IfDown, Instant::now() + timeout).await {
            return Err(self.failed(&target, sick, timeout).await?);
        }
        let shared = &self.shared;
        let decide = |weights: &BTreeMap<InstanceId, u8>| {
            let changes = order::moved(weights, &source.id, &target.id);
            let changes = changes.ok_or_else(|| DeployError::NoWeight(source.clone()))?;
            let event =
                Event::new(EventKind::Routed, format!("all of `{}` goes to `{}`", source.id, target.id));
            Ok(Decision { deployed: None, changes, about: target.clone(), event })
        };
        shared.routing.weigh(&shared.store, &target.service, decide).await
    }

    /// A service that has versions.
    fn versioned(&self, service: &ServiceName) -> Result<(), DeployError> {
        match self.shared.spec(service) {
            None => Err(DeployError::UnknownService(service.clone())),
            Some(spec) if spec.versions => Ok(()),
            Some(_) => Err(DeployError::Tenants(service.clone())),
        }
    }
}

/// Whether a request would not be turned away at once, nor wait for a restart after a failure.
fn takes_requests(entry: &Entry) -> bool {
    match entry.status.observed {
        Observed::Stopped | Observed::BackingOff => false,
        Observed::Failed => entry.keeper.is_none() && entry.retry_at.is_none_or(|at| Instant::now() >= at),
        _ => true,
    }
}
