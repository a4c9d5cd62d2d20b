//! Level `gvisor`: a kernel in user space (runsc) between the workload and the host's kernel. It runs inside the
//! walls of `namespace`, so that whoever gets out of it is still behind those.
//!
//! ```text
//! agent (PID 1 in its namespaces) ──► runsc ──► Sentry, gofer ──► agent of the guest (PID 1 there) ──► workload
//!    │ output, freezer, adoption: as at every level              │ mounts, signals, exit
//!    └ sockets: in the network namespace that the Sentry uses (`--network=host`)
//! ```

use std::sync::Arc;

use insula_spec::{InstanceName, Launch, Level, Network, Placement};

use super::runsc::Runsc;
use crate::contract::{
    Adopted, Backend, BoxFuture, Capabilities, Gone, LaunchError, Record, Sandbox, Swept, Unavailable,
};
use crate::limits;
use crate::walls::{self, IdMode, Pool, Shared};

/// How an ordinary user gets more ids than one.
const SINGLE: &str = "run the daemon as root, or install newuidmap (package `uidmap`) and give this user 65535 ids: \
                      `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`";

/// The level on this host.
#[derive(Debug)]
pub(crate) struct Gvisor {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    runsc: Arc<Runsc>,
}

impl Gvisor {
    pub(crate) fn new(shared: Arc<Shared>, pool: Arc<Pool>) -> Self {
        let runsc = Arc::new(Runsc::new(shared.levels.gvisor.path.as_deref()));
        Self { shared, pool, runsc }
    }

    /// Whether the walls have what runsc takes on the platform that is configured: `kvm` would want the host's device.
    fn has_platform(&self) -> Result<(), Unavailable> {
        match self.shared.levels.gvisor.platform {
            "kvm" => Err(Unavailable::new(
                Level::Gvisor,
                "`platform = \"kvm\"` needs /dev/kvm, which nobody behind these walls is given",
                "set `platform = \"systrap\"` in `[levels.gvisor]`, or remove the key",
            )),
            _ => Ok(()),
        }
    }

    /// Whether there is all that is known without asking the program.
    fn able(&self) -> Result<(), Unavailable> {
        self.has_platform().and_then(|()| self.has_ids())
    }

    /// Whether there are the ids that runsc takes: those of the agent, and one for the workload.
    fn has_ids(&self) -> Result<(), Unavailable> {
        if self.shared.ids != IdMode::Single {
            return Ok(());
        }
        Err(Unavailable::new(Level::Gvisor, "runsc needs more than the one id that this user has", SINGLE))
    }

    /// Lets guests wait ahead in this network, once it is known that the program will do: whatever is wrong with it is
    /// told where it is looked at. To be called in a runtime.
    pub(crate) fn expect(&self, network: Network) {
        if self.able().is_err() {
            return;
        }
        let (runsc, pool) = (Arc::clone(&self.runsc), Arc::clone(&self.pool));
        tokio::task::spawn_blocking(move || {
            if runsc.get().is_ok() {
                pool.expect(Level::Gvisor, network);
            }
        });
    }

    /// Waits for what [`Backend::glance`] began, so that nothing of it is left when this process ends. Blocks.
    pub(crate) fn settle(&self) {
        self.runsc.settle();
    }
}

impl Backend for Gvisor {
    fn level(&self) -> Level {
        Level::Gvisor
    }

    fn probe(&self) -> Result<Capabilities, Unavailable> {
        self.able()?;
        let program = self.runsc.get()?;
        let mut capabilities = limits::capabilities(&self.shared);
        capabilities.program = Some(format!("{} ({})", program.path.display(), program.version));
        Ok(capabilities)
    }

    fn glance(&self) -> Result<(), Unavailable> {
        self.able()?;
        self.runsc.glance()
    }

    fn bounds_disk(&self) -> bool {
        true
    }

    fn place(&self, instance: &InstanceName, network: Network) -> Result<Placement, LaunchError> {
        walls::place(&self.shared, instance, network)
    }

    fn launch<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Result<Box<dyn Sandbox>, LaunchError>> {
        Box::pin(async {
            self.has_platform()?;
            self.runsc.get()?;
            limits::check(&self.shared, Level::Gvisor, &launch.limits)?;
            let sandbox = walls::launch(&self.pool, Level::Gvisor, launch).await?;
            Ok(Box::new(sandbox) as Box<dyn Sandbox>)
        })
    }

    fn adopt<'a>(&'a self, record: &'a Record, logs_from: u64) -> BoxFuture<'a, Result<Adopted, Gone>> {
        Box::pin(walls::adopt::adopt(&self.shared, record, logs_from))
    }

    fn sweep<'a>(&'a self, known: &'a [Record]) -> BoxFuture<'a, Swept> {
        Box::pin(limits::sweep(Arc::clone(&self.shared), Level::Gvisor, known))
    }
}
