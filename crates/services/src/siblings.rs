//! Instances that reach each other: whether both sides allow it, and who answers.

use insula_spec::InstanceName;
use tokio::time::Instant;

use crate::lease::{Lease, LeaseError};
use crate::services::Services;

/// Why one instance may not reach another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReached {
    /// No rule of the caller's `net` names it.
    #[error("no rule of `net` of the caller names it")]
    NotListed,
    /// The service that is called does not name the caller.
    #[error("`reachable_from` of its service does not name the caller")]
    NotReachable,
    /// The configuration has no such service.
    #[error("there is no such service")]
    Unknown,
}

impl NotReached {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotListed => "add \"self:SERVICE\" to `net` of the caller's service",
            Self::NotReachable => "add the caller to `reachable_from` of the service that is called",
            Self::Unknown => "add the service to `insula.toml`",
        }
    }
}

impl Services {
    /// Whether both sides allow that `from` reaches `to`, by what holds at this moment.
    ///
    /// # Errors
    /// Which side does not.
    pub fn may_reach(&self, from: &InstanceName, to: &InstanceName) -> Result<(), NotReached> {
        let asks = self.net(from).is_some_and(|net| net.policy.reaches(&from.id, to));
        if !asks {
            return Err(NotReached::NotListed);
        }
        let spec = self.shared.spec(&to.service).ok_or(NotReached::Unknown)?;
        match spec.reachable_from.allows(to, spec.versions, from) {
            true => Ok(()),
            false => Err(NotReached::NotReachable),
        }
    }

    /// A lease for another instance. Where the instances of a service are versions and none has this id, the weights
    /// choose one.
    ///
    /// # Errors
    /// As [`Services::lease`].
    pub async fn lease_sibling(&self, to: &InstanceName, until: Instant) -> Result<Lease, LeaseError> {
        let versions = self.shared.spec(&to.service).is_some_and(|spec| spec.versions);
        let known = self.shared.directory.read().contains_key(to);
        if versions && !known {
            let picked = self.pick(&to.service, &[]).map_err(|_| LeaseError::UnknownInstance)?;
            return self.lease(picked.as_ref(), until).await;
        }
        self.lease(to, until).await
    }
}
