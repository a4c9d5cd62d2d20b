//! The levels of this installation, put together.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use insula_egress::Egress;
use insula_images::Images;
use insula_linux::cgroup::{self, Layout};
use insula_linux::{identity, seccomp};
use insula_spec::{Level, Levels, Network, RoutedRange};
use tokio_util::task::TaskTracker;

use crate::contract::Backend;
use crate::levels::{Gvisor, Namespace, Process};
use crate::ports::Ports;
use crate::registry::Registry;
use crate::walls::{IdMode, Pool, Shared, WarmShells};

/// How long walls that were let go of may take to come down before this process ends all the same.
const FALL: Duration = Duration::from_secs(20);

/// What an engine needs to know.
#[derive(Debug)]
pub struct EngineConfig {
    /// Random name of this installation, lower-case letters and digits; every host resource carries it.
    pub home_id: String,
    /// Directory for run directories and sockets, absolute, there already, mode 0700.
    pub run_dir: PathBuf,
    /// Host paths that no sandbox may see through its `workdir` or `mounts`: the home of the installation,
    /// its configuration, the root of all tenants' data.
    pub hidden: Vec<PathBuf>,
    /// The agent's program, in a file descriptor that can be executed.
    pub agent: OwnedFd,
    /// Generation of this worker; a newer one takes sandboxes over from an older one.
    pub epoch: u64,
    /// Images of this installation, for services that name one.
    pub images: Option<Images>,
    /// What the operator says about single levels.
    pub levels: Levels,
    /// What routed networks get their addresses from.
    pub routed_range: RoutedRange,
    /// Blank shells to keep ready.
    pub shells: usize,
    /// The way to the process that judges what leaves the walls; without it nothing does.
    pub egress: Option<Egress>,
}

/// Why an engine cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The kernel does not tell something that is always there.
    #[error("cannot read `{what}` from the kernel")]
    Kernel {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The system call filter cannot be built for this machine.
    #[error("cannot build the system call filter")]
    Filter(#[source] seccomp::ProfileError),
    /// The control groups cannot be prepared.
    #[error("cannot prepare control groups")]
    Cgroups(#[source] cgroup::CgroupError),
}

impl EngineError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Kernel { .. } => "mount /proc".to_owned(),
            Self::Filter(e) => e.hint().to_owned(),
            Self::Cgroups(e) => e.hint(),
        }
    }
}

/// All levels, and what they share.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    /// One for all registries: it remembers what it was told.
    gvisor: Arc<Gvisor>,
}

impl Engine {
    /// Looks at the host and prepares it. Starts no process yet.
    ///
    /// # Errors
    /// When the kernel lacks what every level needs.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let layout = Layout::detect().map_err(EngineError::Cgroups)?;
        cgroup::prepare_host(&layout, &config.home_id).map_err(EngineError::Cgroups)?;
        Self::on(layout, config)
    }

    /// Looks at the host and leaves it as it is: its levels can be probed, and nothing more.
    ///
    /// # Errors
    /// As for [`Engine::new`].
    pub fn look(config: EngineConfig) -> Result<Self, EngineError> {
        Self::on(Layout::detect().map_err(EngineError::Cgroups)?, config)
    }

    fn on(layout: Layout, config: EngineConfig) -> Result<Self, EngineError> {
        let filters = seccomp::default_profile().map_err(EngineError::Filter)?;
        let opened = vec![seccomp::oci::floor().map_err(EngineError::Filter)?];
        let ids = IdMode::detect();
        let socket_root = if ids == IdMode::Ranges {
            Path::new("/run/insula").join(&config.home_id)
        } else {
            config.run_dir.join("sockets")
        };
        let shared = Arc::new(Shared {
            home_id: config.home_id,
            run_dir: config.run_dir,
            socket_root,
            hidden: config.hidden,
            agent: config.agent,
            epoch: config.epoch,
            layout,
            ids,
            boot_id: identity::boot_id().map_err(|source| EngineError::Kernel { what: "boot id", source })?,
            filters,
            opened,
            egress: config.egress,
            images: config.images,
            levels: config.levels,
            routed_range: config.routed_range,
            deaf: seccomp::try_listens().err().map(|e| e.to_string()),
            ports: Ports::new(),
            falling: TaskTracker::new(),
        });
        let pool = Pool::new(Arc::clone(&shared), config.shells);
        let gvisor = Arc::new(Gvisor::new(Arc::clone(&shared), Arc::clone(&pool)));
        Ok(Self { shared, pool, gvisor })
    }

    /// The levels, for whoever starts sandboxes.
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry::new(vec![
            Arc::new(Process::new(Arc::clone(&self.shared), Arc::clone(&self.pool))),
            Arc::new(Namespace::new(Arc::clone(&self.shared), Arc::clone(&self.pool))),
            Arc::new(Namespace::container(Arc::clone(&self.shared), Arc::clone(&self.pool))),
            Arc::clone(&self.gvisor) as Arc<dyn Backend>,
        ])
    }

    /// Starts to keep blank shells ready. Call it after sweeping: a sweep does not know them.
    pub fn warm(&self) {
        self.pool.warm();
    }

    /// Keeps shells for this level ready, too, before the first one was asked for; where a first start costs what
    /// nobody would notice, it is as before. Call it after [`Engine::warm`], in a runtime.
    pub fn expect(&self, level: Level, network: Network) {
        if level == Level::Gvisor {
            self.gvisor.expect(network);
        }
    }

    /// Takes down the blank shells, and what every set of walls shared if nothing is left in it, before this
    /// process ends in order.
    pub async fn close(&self) {
        self.pool.close().await;
        self.shared.falling.close();
        if tokio::time::timeout(FALL, self.shared.falling.wait()).await.is_err() {
            tracing::warn!("some walls are not down yet; the next start sweeps them");
        }
        let gvisor = Arc::clone(&self.gvisor);
        if let Err(error) = tokio::task::spawn_blocking(move || gvisor.settle()).await {
            tracing::warn!(%error, "a question to runsc may be left behind");
        }
        if let Err(error) = cgroup::leave_host(&self.shared.layout, &self.shared.home_id) {
            tracing::warn!(%error, "a control group is left behind");
        }
        match std::fs::remove_dir(&self.shared.socket_root) {
            Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
                tracing::warn!(dir = %self.shared.socket_root.display(), error = %e, "a directory is left behind");
            }
            _ => {}
        }
    }

    /// The blank shells that wait, by kind.
    #[must_use]
    pub fn warm_shells(&self) -> Vec<WarmShells> {
        self.pool.warm_shells()
    }

    /// How many blank shells wait.
    #[must_use]
    pub fn shells(&self) -> usize {
        self.pool.len()
    }
}
