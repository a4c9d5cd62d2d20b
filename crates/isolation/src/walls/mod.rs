//! One set of walls made of namespaces and control groups, with an agent inside; what the levels `process`
//! and `namespace` have in common.
//!
//! ```text
//! shell::make ──► Shell (blank, waits in the pool) ──launch──► Walled (a Sandbox)
//!    │                                                            ├─ stop ──► body taken down
//!    └─ any failure: the Body guard takes everything down         └─ detach ─► carries on; adopt() finds it
//! ```

pub(crate) mod adopt;
mod body;
mod borrow;
mod bundle;
mod changes;
mod connect;
mod driver;
mod egress;
mod guest;
mod idmap;
mod launch;
mod oci;
mod outside;
mod plan;
mod pool;
mod prepare;
mod profile;
mod raise;
mod root;
mod routed;
mod rundir;
mod sandbox;
mod shell;
mod staged;
pub(crate) mod sweep;
mod user;
pub(crate) mod view;
mod wakes;

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use insula_egress::Egress;
use insula_frames::Walls;
use insula_images::Images;
use insula_linux::cgroup::Layout;
use insula_spec::{Driver, InstanceName, Level, Levels, Network, Placement, RoutedRange};
use tokio_util::task::TaskTracker;

pub(crate) use idmap::IdMode;
pub(crate) use launch::launch;
pub(crate) use pool::Pool;
pub use pool::WarmShells;
pub(crate) use profile::List;
pub use profile::{FilterError, check_filter};

use crate::contract::LaunchError;
use crate::ports::Ports;

/// What every set of walls of one installation shares.
pub(crate) struct Shared {
    /// Random name of this installation; every host resource carries it.
    pub(crate) home_id: String,
    /// Where run directories are, absolute.
    pub(crate) run_dir: PathBuf,
    /// Where workloads without a mount wall find their socket directories: a path that another user id can
    /// walk down.
    pub(crate) socket_root: PathBuf,
    /// Host paths that no view may show, such as the configuration and other tenants' data.
    pub(crate) hidden: Vec<PathBuf>,
    /// The agent's program, sealed in memory.
    pub(crate) agent: OwnedFd,
    /// Generation of this worker.
    pub(crate) epoch: u64,
    /// What control groups there are.
    pub(crate) layout: Layout,
    /// Which host ids there are to give.
    pub(crate) ids: IdMode,
    /// Identity of the running kernel.
    pub(crate) boot_id: String,
    /// System call filter programs, in order.
    pub(crate) filters: Vec<Vec<u8>>,
    /// The same, with what the operator's file may open left to it.
    pub(crate) opened: Vec<Vec<u8>>,
    /// The way to the process that judges what leaves the walls.
    pub(crate) egress: Option<Egress>,
    /// Images of this installation.
    pub(crate) images: Option<Images>,
    /// What the operator says about single levels.
    pub(crate) levels: Levels,
    /// What routed networks get their addresses from.
    pub(crate) routed_range: RoutedRange,
    /// Why agents are not told when their workload listens; `None` where they are.
    pub(crate) deaf: Option<String>,
    /// Ports on the host's network.
    pub(crate) ports: Ports,
    /// Walls that somebody let go of, such as those of a refused launch, on their way down.
    pub(crate) falling: TaskTracker,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("home_id", &self.home_id).finish_non_exhaustive()
    }
}

impl Shared {
    /// A path by which this process can execute the agent.
    pub(crate) fn agent_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.agent.as_raw_fd()))
    }

    /// Whether this is a user that can give every instance ids of its own.
    pub(crate) fn privileged(&self) -> bool {
        self.ids == IdMode::Ranges
    }

    /// The run directory of the walls with this key.
    pub(crate) fn run_dir_of(&self, key: &str) -> PathBuf {
        self.run_dir.join(key)
    }

    /// Where a workload without a mount wall may make its socket. Named by its port, which no other has: the
    /// path is short, as `sun_path` wants it.
    pub(crate) fn host_socket(&self, port: u16) -> PathBuf {
        self.socket_root.join(port.to_string()).join(view::SOCKET_NAME)
    }
}

/// The port inside a network of one's own, where nothing else can be in the way.
const PORT: u16 = 8080;

/// Where the next workload behind walls with a view listens.
pub(crate) fn place(
    shared: &Shared,
    instance: &InstanceName,
    network: Network,
) -> Result<Placement, LaunchError> {
    let port = match network {
        Network::Isolated | Network::Routed => PORT,
        Network::Host => shared.ports.take(instance).ok_or(LaunchError::NoPort)?,
    };
    Ok(Placement { port, socket: view::SOCKET_INSIDE.into() })
}

/// What makes walls of one kind different from those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) level: Level,
    pub(crate) network: Network,
    /// Which system calls its launchpad may make.
    pub(crate) list: List,
}

impl Kind {
    /// The filters of its launchpad.
    pub(crate) fn filters(self, shared: &Shared) -> &[Vec<u8>] {
        match self.list {
            _ if !self.is_filtered() => &[],
            List::Own => &shared.filters,
            List::Opened => &shared.opened,
            List::By(_) => &[],
        }
    }

    /// Whether its port is one of the host.
    pub(crate) fn needs_host_port(self) -> bool {
        self.level == Level::Process || self.network == Network::Host
    }

    /// Whether what leaves it is judged.
    pub(crate) fn is_judged(self) -> bool {
        self.has_view() && self.network == Network::Isolated
    }

    /// Whether its packets are sent on by the host.
    pub(crate) fn is_routed(self) -> bool {
        self.has_view() && self.network == Network::Routed
    }

    /// What a blank shell of this kind is made as: where there is no network wall, networks do not differ.
    pub(crate) fn of_shell(self) -> Self {
        match self.level {
            Level::Process => Self { network: Network::Host, ..self },
            Level::Container if self.driver().is_some() => self,
            // What makes a container is decided at its launch.
            Level::Container => Self { level: Level::Namespace, ..self },
            _ => self,
        }
    }

    /// The levels whose launches take a blank shell of this kind.
    fn used_by(self) -> Vec<Level> {
        let at = |level: &Level| Self { level: *level, ..self }.of_shell() == self;
        Level::ALL.into_iter().filter(at).collect()
    }

    /// Whether its workloads run under Insula's own filters, and not those of a program around them.
    pub(crate) fn is_filtered(self) -> bool {
        self.has_view() && !guest::is_guest(self.level) && self.driver().is_none()
    }

    /// The program that makes the container, where that is not the agent.
    pub(crate) fn driver(self) -> Option<Driver> {
        if let List::By(driver) = self.list { Some(driver) } else { None }
    }

    /// Whether it builds a root file system of its own.
    pub(crate) fn has_view(self) -> bool {
        !matches!(self.level, Level::Process)
    }

    /// First letter of the keys of this level, so that a sweep knows whose a run directory is.
    pub(crate) fn prefix(level: Level) -> char {
        level.as_str().chars().next().unwrap_or('x')
    }

    /// The namespaces to raise on this host.
    pub(crate) fn walls(self, shared: &Shared) -> Walls {
        let full = Walls::USER.and(Walls::PID).and(Walls::MOUNT).and(Walls::IPC).and(Walls::UTS);
        match (self.level, self.network) {
            (Level::Namespace | Level::Container | Level::Gvisor, Network::Isolated) => full.and(Walls::NET),
            (Level::Namespace | Level::Container | Level::Gvisor, Network::Host) => full,
            (Level::Namespace | Level::Container | Level::Gvisor, Network::Routed) => {
                full.and(Walls::NET).and(Walls::ROUTED)
            }
            // Without control groups only the end of a pid namespace's init surely ends all of it.
            _ if !matches!(shared.layout, Layout::None { .. }) => Walls::default(),
            _ if shared.privileged() => Walls::PID,
            _ => Walls::USER.and(Walls::PID),
        }
    }
}
