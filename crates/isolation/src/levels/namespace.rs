//! Levels `namespace` and `container`: own user, pid, mount, network, ipc and uts namespaces, no capability, a system
//! call filter. `container` has a root file system of its own around it: an image, a directory, or the host's system
//! directories with the files of the kernel covered that tell about the host. The kernel itself is the wall: a kernel
//! exploit is not stopped.

use std::sync::Arc;

use insula_spec::{InstanceName, Launch, Level, Network, Placement};

use super::driver::Found;
use crate::contract::{
    Adopted, Backend, BoxFuture, Capabilities, Gone, LaunchError, Record, Sandbox, Swept, Unavailable,
};
use crate::limits;
use crate::walls::{self, Pool, Shared};

/// One of the two levels on this host.
#[derive(Debug)]
pub(crate) struct Namespace {
    level: Level,
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    driver: Found,
}

impl Namespace {
    pub(crate) fn new(shared: Arc<Shared>, pool: Arc<Pool>) -> Self {
        Self { level: Level::Namespace, shared, pool, driver: Found::default() }
    }

    pub(crate) fn container(shared: Arc<Shared>, pool: Arc<Pool>) -> Self {
        Self { level: Level::Container, shared, pool, driver: Found::default() }
    }
}

impl Backend for Namespace {
    fn level(&self) -> Level {
        self.level
    }

    fn probe(&self) -> Result<Capabilities, Unavailable> {
        let unavailable = |why: String, hint: &str| Err(Unavailable::new(self.level, why, hint));
        match std::fs::read_to_string("/proc/sys/user/max_user_namespaces") {
            Ok(text) if text.trim() == "0" => {
                return unavailable(
                    "user namespaces are switched off".to_owned(),
                    "set `sysctl user.max_user_namespaces` above 0",
                );
            }
            Err(e) => {
                return unavailable(
                    format!("the kernel has no user namespaces ({e})"),
                    "use a kernel with CONFIG_USER_NS",
                );
            }
            Ok(_) => {}
        }
        let mut capabilities = limits::capabilities(&self.shared);
        if self.level == Level::Container {
            capabilities.program = self.driver.program(&self.shared)?;
        }
        Ok(capabilities)
    }

    fn bounds_disk(&self) -> bool {
        true
    }

    fn place(&self, instance: &InstanceName, network: Network) -> Result<Placement, LaunchError> {
        walls::place(&self.shared, instance, network)
    }

    fn launch<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Result<Box<dyn Sandbox>, LaunchError>> {
        Box::pin(async {
            limits::check(&self.shared, self.level, &launch.limits)?;
            let sandbox = walls::launch(&self.pool, self.level, launch).await?;
            Ok(Box::new(sandbox) as Box<dyn Sandbox>)
        })
    }

    fn adopt<'a>(&'a self, record: &'a Record, logs_from: u64) -> BoxFuture<'a, Result<Adopted, Gone>> {
        Box::pin(walls::adopt::adopt(&self.shared, record, logs_from))
    }

    fn sweep<'a>(&'a self, known: &'a [Record]) -> BoxFuture<'a, Swept> {
        Box::pin(limits::sweep(Arc::clone(&self.shared), self.level, known))
    }
}
