//! Where leases come from.

use std::future::Future;
use std::sync::Arc;

use insula_services::{Lease, LeaseError, NoVersion, Services};
use insula_spec::{InstanceName, ServiceName};
use tokio::time::Instant;

/// Somebody who can wake instances and lease them.
pub trait Tenants: Send + Sync + 'static {
    /// Waits until the instance can be talked to, at most until `deadline`.
    fn lease(
        &self,
        name: &InstanceName,
        deadline: Instant,
    ) -> impl Future<Output = Result<Lease, LeaseError>> + Send;

    /// The version that answers the next request to a service, other than those in `tried`.
    ///
    /// # Errors
    /// When there is none.
    fn pick(
        &self,
        service: &ServiceName,
        tried: &[Arc<InstanceName>],
    ) -> Result<Arc<InstanceName>, NoVersion>;
}

impl Tenants for Services {
    async fn lease(&self, name: &InstanceName, deadline: Instant) -> Result<Lease, LeaseError> {
        Services::lease(self, name, deadline).await
    }

    fn pick(
        &self,
        service: &ServiceName,
        tried: &[Arc<InstanceName>],
    ) -> Result<Arc<InstanceName>, NoVersion> {
        Services::pick(self, service, tried)
    }
}

impl<T: Tenants> Tenants for Arc<T> {
    async fn lease(&self, name: &InstanceName, deadline: Instant) -> Result<Lease, LeaseError> {
        T::lease(self, name, deadline).await
    }

    fn pick(
        &self,
        service: &ServiceName,
        tried: &[Arc<InstanceName>],
    ) -> Result<Arc<InstanceName>, NoVersion> {
        T::pick(self, service, tried)
    }
}
