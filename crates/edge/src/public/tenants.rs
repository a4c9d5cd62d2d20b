//! Where leases come from.

use std::future::Future;
use std::sync::Arc;

use insula_services::{Lease, LeaseError, Services};
use insula_spec::InstanceName;
use tokio::time::Instant;

/// Somebody who can wake instances and lease them.
pub trait Tenants: Send + Sync + 'static {
    /// Waits until the instance can be talked to, at most until `deadline`.
    fn lease(
        &self,
        name: &InstanceName,
        deadline: Instant,
    ) -> impl Future<Output = Result<Lease, LeaseError>> + Send;
}

impl Tenants for Services {
    async fn lease(&self, name: &InstanceName, deadline: Instant) -> Result<Lease, LeaseError> {
        Services::lease(self, name, deadline).await
    }
}

impl<T: Tenants> Tenants for Arc<T> {
    async fn lease(&self, name: &InstanceName, deadline: Instant) -> Result<Lease, LeaseError> {
        T::lease(self, name, deadline).await
    }
}
