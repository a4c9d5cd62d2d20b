//! Level `container`: the walls of `namespace` around a root file system of its own: an image, a directory, or
//! the host's system directories. Files of the kernel that tell about the host are covered. The kernel itself is
//! the wall: a kernel exploit is not stopped.

use std::sync::Arc;

use insula_spec::{InstanceName, Launch, Level, Network, Placement};

use crate::contract::{
    Adopted, Backend, BoxFuture, Capabilities, Gone, LaunchError, Record, Sandbox, Swept, Unavailable,
};
use crate::limits;
use crate::walls::{self, Pool, SOCKET_INSIDE, Shared};

/// The port inside a network of one's own, where nothing else can be in the way.
const PORT: u16 = 8080;

/// The level on this host.
#[derive(Debug)]
pub(crate) struct Container {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
}

impl Container {
    pub(crate) fn new(shared: Arc<Shared>, pool: Arc<Pool>) -> Self {
        Self { shared, pool }
    }
}

impl Backend for Container {
    fn level(&self) -> Level {
        Level::Container
    }

    fn probe(&self) -> Result<Capabilities, Unavailable> {
        let unavailable = |why: String, hint: &str| {
            Err(Unavailable { level: Level::Container, why, hint: hint.to_owned() })
        };
        match std::fs::read_to_string("/proc/sys/user/max_user_namespaces") {
            Ok(text) if text.trim() == "0" => {
                return unavailable(
                    "user namespaces are switched off".to_owned(),
                    "set `sysctl user.max_user_namespaces` above 0, or use `isolation = \"process\"`",
                );
            }
            Err(e) => {
                return unavailable(
                    format!("the kernel has no user namespaces ({e})"),
                    "use a kernel with CONFIG_USER_NS, or `isolation = \"process\"`",
                );
            }
            Ok(_) => {}
        }
        Ok(limits::capabilities(&self.shared))
    }

    fn bounds_disk(&self) -> bool {
        true
    }

    fn place(&self, instance: &InstanceName, network: Network) -> Result<Placement, LaunchError> {
        let port = match network {
            Network::Isolated => PORT,
            Network::Host => self.shared.ports.take(instance).ok_or(LaunchError::NoPort)?,
        };
        Ok(Placement { port, socket: SOCKET_INSIDE.into() })
    }

    fn launch<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Result<Box<dyn Sandbox>, LaunchError>> {
        Box::pin(async {
            limits::check(&self.shared, Level::Container, &launch.limits)?;
            let sandbox = walls::launch(&self.pool, Level::Container, launch).await?;
            Ok(Box::new(sandbox) as Box<dyn Sandbox>)
        })
    }

    fn adopt<'a>(&'a self, record: &'a Record, logs_from: u64) -> BoxFuture<'a, Result<Adopted, Gone>> {
        Box::pin(walls::adopt::adopt(&self.shared, record, logs_from))
    }

    fn sweep<'a>(&'a self, known: &'a [Record]) -> BoxFuture<'a, Swept> {
        Box::pin(limits::sweep(Arc::clone(&self.shared), Level::Container, known))
    }
}
