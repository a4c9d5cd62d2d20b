//! Commands beside a workload: who holds the lease keeps it awake, and the command with it.

use std::sync::Arc;

use insula_isolation::{ExecError, ExecOrder, ExecSession};
use insula_spec::InstanceName;
use tokio::time::Instant;

use crate::lease::{Lease, LeaseError};
use crate::services::Services;

impl Lease {
    /// Runs a command in the walls of the instance. Dropping the session kills it.
    ///
    /// # Errors
    /// When it cannot be run there.
    pub async fn exec(&self, order: ExecOrder) -> Result<ExecSession, ExecError> {
        self.run().connector().exec(order).await
    }

    /// Resolves when this run of the instance takes no more requests: it ended, or is being stopped. The lease stays.
    pub fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        let run = Arc::clone(self.run());
        async move { run.gate.closed().await }
    }
}

impl Services {
    /// A lease for a command. An instance that sleeps is woken as by a request.
    ///
    /// # Errors
    /// As [`Services::lease`].
    pub async fn lease_for_command(&self, name: &InstanceName) -> Result<Lease, LeaseError> {
        let limit = self.shared.spec(&name.service).ok_or(LeaseError::UnknownService)?.startup_timeout;
        self.lease(name, Instant::now() + limit).await
    }

    /// Whether the service of this instance runs by an operator's own program, which may put its workloads anywhere.
    #[must_use]
    pub fn has_runner(&self, name: &InstanceName) -> bool {
        self.shared.spec(&name.service).is_some_and(|spec| !spec.runner_words().is_empty())
    }
}
