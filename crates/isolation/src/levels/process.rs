//! Level `process`: no wall but another user id (as root); only the supervision is the same. For code that
//! is trusted as much as the operator.

use std::sync::Arc;

use insula_spec::{InstanceName, Launch, Level, Network, Placement};

use crate::contract::{
    Adopted, Backend, BoxFuture, Capabilities, Gone, LaunchError, Record, Sandbox, Swept, Unavailable,
};
use crate::limits;
use crate::walls::{self, Pool, Shared};

/// The level on this host.
#[derive(Debug)]
pub(crate) struct Process {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
}

impl Process {
    pub(crate) fn new(shared: Arc<Shared>, pool: Arc<Pool>) -> Self {
        Self { shared, pool }
    }
}

impl Backend for Process {
    fn level(&self) -> Level {
        Level::Process
    }

    fn probe(&self) -> Result<Capabilities, Unavailable> {
        Ok(limits::capabilities(&self.shared))
    }

    /// There is no network wall, so every network is the host's.
    fn place(&self, instance: &InstanceName, _network: Network) -> Result<Placement, LaunchError> {
        let port = self.shared.ports.take(instance).ok_or(LaunchError::NoPort)?;
        Ok(Placement { port, socket: self.shared.host_socket(port) })
    }

    fn launch<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Result<Box<dyn Sandbox>, LaunchError>> {
        Box::pin(async {
            if let Some(what) = launch.root.asked() {
                let hint =
                    "use `isolation = \"container\"` or stronger: this level shows the files of the host";
                return Err(LaunchError::Unenforceable {
                    what,
                    level: Level::Process,
                    hint: hint.to_owned(),
                });
            }
            limits::check(&self.shared, Level::Process, &launch.limits)?;
            let sandbox = walls::launch(&self.pool, Level::Process, launch).await?;
            Ok(Box::new(sandbox) as Box<dyn Sandbox>)
        })
    }

    fn adopt<'a>(&'a self, record: &'a Record, logs_from: u64) -> BoxFuture<'a, Result<Adopted, Gone>> {
        Box::pin(walls::adopt::adopt(&self.shared, record, logs_from))
    }

    fn sweep<'a>(&'a self, known: &'a [Record]) -> BoxFuture<'a, Swept> {
        Box::pin(limits::sweep(Arc::clone(&self.shared), Level::Process, known))
    }
}
