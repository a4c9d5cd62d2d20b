//! One `[service.NAME]` table, validated.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Runner;
use crate::{
    ImageSource, InstanceId, Level, LevelChoice, Limits, Mount, NetPolicy, Network, ReachableFrom, Root,
    Secret, ServiceName,
};

/// What happens to an idle instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SleepMode {
    /// It is stopped and started again on demand; only its files survive.
    #[default]
    Stop,
    /// Its processes are frozen in place and thawed on demand; memory survives.
    Freeze,
}

/// What a service speaks on the port that it listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1, whatever its clients speak.
    #[default]
    Http1,
    /// HTTP/2 in clear text with prior knowledge (RFC 9113, section 3.3), as gRPC needs it.
    H2c,
}

/// Active HTTP health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path asked with GET; any 2xx or 3xx answer is healthy.
    pub path: String,
    /// Time between two checks.
    pub interval: Duration,
    /// Time until a check counts as failed.
    pub timeout: Duration,
    /// Consecutive failures until the instance is unhealthy and restarted.
    pub failures: u32,
}

impl HealthCheck {
    /// A check of this path every 10 seconds; three failures of 2 seconds each in a row are too many.
    #[must_use]
    pub fn at(path: String) -> Self {
        Self { path, interval: Duration::from_secs(10), timeout: Duration::from_secs(2), failures: 3 }
    }
}

/// When an instance that ended by itself is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartMode {
    /// Whatever its exit status.
    Always,
    /// Only after a non-zero status or a signal.
    #[default]
    OnFailure,
    /// Never.
    Never,
}

/// Restart policy with exponential back-off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartPolicy {
    /// When to restart at all.
    pub mode: RestartMode,
    /// Delay before the second restart in a row; the first is immediate. Doubles up to `backoff_max`.
    pub backoff: Duration,
    /// Longest delay.
    pub backoff_max: Duration,
    /// Restarts within `window` after which the instance is `failed`.
    pub max_restarts: u32,
    /// The window in which restarts are counted.
    pub window: Duration,
}

impl Default for RestartPolicy {
    /// On failure, from 100 milliseconds to 30 seconds apart, at most 5 times in 60 seconds.
    fn default() -> Self {
        Self {
            mode: RestartMode::default(),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            max_restarts: 5,
            window: Duration::from_secs(60),
        }
    }
}

/// A service: a program that runs once per tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceSpec {
    /// Its name.
    pub name: ServiceName,
    /// Program and arguments, with `{name} {id} {data_dir} {port} {socket}` not yet filled in. Empty only if
    /// there is an image: what it names is run then.
    pub command: Vec<String>,
    /// Environment, values with the same placeholders.
    pub env: BTreeMap<String, Secret>,
    /// The image whose files it sees instead of the host's.
    pub image: Option<ImageSource>,
    /// Working directory, absolute.
    pub workdir: PathBuf,
    /// Root of the tenants' data, absolute (`{data_dir}` in templates); `{data_dir}/{id}` is writable.
    pub data_dir: PathBuf,
    /// The level asked for.
    pub isolation: LevelChoice,
    /// The external program that runs it, in the walls of that level.
    pub runner: Option<Runner>,
    /// The weakest level that will do.
    pub min_isolation: Option<Level>,
    /// Which network it sees.
    pub network: Network,
    /// What it may reach outside, where the network is its own.
    pub net: NetPolicy,
    /// Whether the file says so, and not the default.
    pub net_given: bool,
    /// Who of this installation may reach its instances.
    pub reachable_from: ReachableFrom,
    /// Further host paths to show.
    pub mounts: Vec<Mount>,
    /// What the root file system is made of.
    pub root: Root,
    /// A system call filter by the operator, in the form of the OCI specification.
    pub seccomp: Option<PathBuf>,
    /// What each instance may use.
    pub limits: Limits,
    /// What it speaks.
    pub protocol: Protocol,
    /// Active health check, if any; none with [`Protocol::H2c`].
    pub health: Option<HealthCheck>,
    /// Time from launch until it must accept connections.
    pub startup_timeout: Duration,
    /// Time from SIGTERM to SIGKILL.
    pub stop_timeout: Duration,
    /// Time until a request without an answer is given up with 504.
    pub request_timeout: Duration,
    /// Time without requests after which it sleeps; `None` never.
    pub idle_timeout: Option<Duration>,
    /// How it sleeps.
    pub sleep: SleepMode,
    /// Restart policy.
    pub restart: RestartPolicy,
    /// Most requests that may wait for a wake; further ones get 503.
    pub hold_queue: usize,
    /// Most of its instances that may be up at once; `None` for no bound of its own.
    pub max_instances: Option<usize>,
    /// Whether its instances are versions of one program, which share the requests to `{service}.{domain}`,
    /// and not tenants, each with an address of its own.
    pub versions: bool,
    /// Raw TCP ports on the host, each naming one instance.
    pub listen_tcp: BTreeMap<InstanceId, u16>,
}

impl ServiceSpec {
    /// Time to accept connections, where the file names none.
    pub const STARTUP_TIMEOUT: Duration = Duration::from_secs(30);
    /// Time from SIGTERM to SIGKILL, where the file names none.
    pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);
    /// Time to answer a request, where the file names none.
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
    /// Requests that may wait for a wake, where the file names no number.
    pub const HOLD_QUEUE: usize = 1024;

    /// The weakest level that will do; `None` if every level does.
    #[must_use]
    pub fn floor(&self) -> Option<Level> {
        self.min_isolation
    }

    /// The directory of one tenant: the only one that its instance may write, kept by tenant and never by
    /// version.
    #[must_use]
    pub fn tenant_dir(&self, id: &InstanceId) -> PathBuf {
        self.data_dir.join(id.as_str())
    }
}
