//! The contract that every level signs.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use insula_frames::Ended;
use insula_linux::quota::image::ImageError;
use insula_linux::routed::RoutedError;
use insula_spec::{Driver, InstanceName, Launch, Level, Network, Outside, Placement};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::exec::{ExecError, ExecOrder, ExecSession};
use crate::logs::LogStream;
use crate::stream::Stream;
use crate::walls::FilterError;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One level on this host.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Which level this is.
    fn level(&self) -> Level;

    /// What this host can do at this level.
    ///
    /// # Errors
    /// When the level cannot be used at all; the error carries the hint.
    fn probe(&self) -> Result<Capabilities, Unavailable>;

    /// What can be said of the level at once: a level that [`Backend::probe`] has to wait for is looked at in the
    /// background.
    ///
    /// # Errors
    /// When it is plain that the level cannot be used.
    fn glance(&self) -> Result<(), Unavailable> {
        self.probe().map(drop)
    }

    /// Whether a limit on disk can be hard at this level: it can show a mount in place of a directory, and
    /// its workloads cannot change what their files count for.
    fn bounds_disk(&self) -> bool {
        false
    }

    /// Chooses where the next sandbox of this network kind listens. A host port stays reserved until the
    /// sandbox that was launched with it is gone.
    ///
    /// # Errors
    /// When no port is free.
    fn place(&self, instance: &InstanceName, network: Network) -> Result<Placement, LaunchError>;

    /// Builds the walls and starts the workload. Until [`Sandbox::commit`] everything dies with the caller.
    fn launch<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Result<Box<dyn Sandbox>, LaunchError>>;

    /// Finds a committed sandbox again, after checking that it is the recorded one.
    fn adopt<'a>(&'a self, record: &'a Record, logs_from: u64) -> BoxFuture<'a, Result<Adopted, Gone>>;

    /// Removes everything of this level that carries this home's id and that no record knows.
    fn sweep<'a>(&'a self, known: &'a [Record]) -> BoxFuture<'a, Swept>;
}

/// One running sandbox. Dropping it before [`Sandbox::commit`] kills it; afterwards dropping it leaves it
/// running (as [`Sandbox::detach`] says out loud).
pub trait Sandbox: Send + fmt::Debug {
    /// Enough to adopt it again.
    fn record(&self) -> Record;

    /// A way to reach its listener; cheap to clone, good until the sandbox ends.
    fn connector(&self) -> Arc<dyn Connect>;

    /// Tells the agent that the record is stored and it shall outlive its launcher.
    fn commit(&mut self) -> BoxFuture<'_, Result<(), Gone>>;

    /// What happens next. Cancel-safe. After [`Event::Exited`] it never resolves again.
    fn event(&mut self) -> BoxFuture<'_, Event>;

    /// The captured output. Can be taken once; `None` afterwards.
    fn logs(&mut self) -> Option<LogStream>;

    /// Freezes the workload, never the agent.
    fn pause(&mut self) -> BoxFuture<'_, io::Result<()>>;

    /// Thaws the workload.
    fn resume(&mut self) -> BoxFuture<'_, io::Result<()>>;

    /// What it uses now; fields that cannot be known on this host are `None`.
    fn usage(&self) -> Usage;

    /// Starts the workload anew in the same walls, after everything in them was killed and `/tmp` emptied.
    /// Only after [`Event::Exited`].
    fn relaunch<'a>(&'a mut self, launch: &'a Launch) -> BoxFuture<'a, Result<(), LaunchError>>;

    /// SIGTERM, `grace`, SIGKILL to everything inside; then the walls are taken down. Output not yet taken
    /// from [`Sandbox::logs`] still arrives there until its end.
    fn stop(self: Box<Self>, grace: Duration) -> BoxFuture<'static, Exit>;

    /// Judges by this, from now on, what it reaches outside. Without a network of its own it is not judged.
    fn set_net(&mut self, _outside: &Outside) {}

    /// Leaves it running.
    fn detach(self: Box<Self>);
}

/// A way to reach a workload's listener.
pub trait Connect: Send + Sync + fmt::Debug {
    /// Opens one connection to the workload.
    fn connect(&self) -> BoxFuture<'_, io::Result<Stream>>;

    /// Runs a command beside the workload, in its walls.
    fn exec(&self, _order: ExecOrder) -> BoxFuture<'_, Result<ExecSession, ExecError>> {
        let (why, hint) = ("it has no agent", "ask for an instance of a service");
        Box::pin(std::future::ready(Err(ExecError::Unsupported { why, hint })))
    }
}

/// What a sandbox tells its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The workload accepts connections.
    Listening,
    /// The main process ended, and everything else in the sandbox with it.
    Exited(Exit),
}

/// How a workload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason", content = "value")]
pub enum Exit {
    /// It returned this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// The kernel killed it because it passed its memory limit.
    Oom,
    /// Nobody knows: the agent was gone before it could tell.
    Lost,
}

impl Exit {
    /// Whether it ended well, by its own decision.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }

    /// The number of a signal, and what it means where a number alone tells nobody.
    #[must_use]
    pub fn told(signal: i32) -> String {
        match Signal::SYS.as_raw() == signal {
            true => format!("{signal} (SIGSYS: a system call that its filter does not let through)"),
            false => signal.to_string(),
        }
    }
}

impl From<Ended> for Exit {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Code(code) => Self::Code(code),
            Ended::Signal(signal) => Self::Signal(signal),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with status {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {}", Self::told(*signal)),
            Self::Oom => f.write_str("killed for passing its memory limit (oom)"),
            Self::Lost => f.write_str("lost: its agent was gone before it could tell how it ended"),
        }
    }
}

/// What identifies a committed sandbox beyond the life of the process that launched it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose it is.
    pub instance: InstanceName,
    /// At which level it runs.
    pub level: Level,
    /// Name of this set of walls: run directory, control groups and socket carry it. Random, never reused.
    pub key: String,
    /// Boot id of the kernel it runs under.
    pub boot_id: String,
    /// Host pid of the agent.
    pub agent_pid: i32,
    /// Start time of the agent in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub agent_start: u64,
    /// Host pid of the main process of the workload.
    pub app_pid: i32,
    /// Start time of the main process.
    pub app_start: u64,
    /// Where it listens.
    pub placement: Placement,
    /// Which network it sees.
    pub network: Network,
    /// Absolute paths of its control group leaves; empty where there are none.
    pub cgroups: Vec<PathBuf>,
    /// The operator's system call filter, file and digest; `None` where it is Insula's own list.
    #[serde(default)]
    pub filter: Option<String>,
    /// The program that makes the container, where that is not the agent.
    #[serde(default)]
    pub driver: Option<Driver>,
}

/// A sandbox found again, and what it was doing.
#[derive(Debug)]
pub struct Adopted {
    /// The sandbox, committed.
    pub sandbox: Box<dyn Sandbox>,
    /// Whether it already accepts connections. If not, [`Event::Listening`] will tell.
    pub listening: bool,
    /// Whether its workload is frozen.
    pub paused: bool,
}

/// What a level can do on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Whether memory, CPU and pid limits can be set, and by what (`cgroup v1`, `cgroup v2`).
    pub cgroups: Option<&'static str>,
    /// How host ids are given: `range per instance`, `one subordinate range`, `one id`.
    pub ids: &'static str,
    /// The program of others that the level needs, with its version.
    pub program: Option<String>,
    /// What an operator should know about this level here.
    pub notes: Vec<String>,
}

/// Why a level cannot be used on this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("level `{level}` is not available here: {why}")]
pub struct Unavailable {
    /// The level asked for.
    pub level: Level,
    /// What is missing.
    pub why: String,
    /// How to have it. A level names no other level here: which one would do depends on the floor.
    pub hint: String,
    /// What would do in its place, once [`crate::Registry`] has looked for it.
    pub instead: Option<Level>,
}

impl Unavailable {
    /// Of a level that knows nothing of the others.
    #[must_use]
    pub fn new(level: Level, why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { level, why: why.into(), hint: hint.into(), instead: None }
    }

    /// What to do: have it, or take what would do in its place.
    #[must_use]
    pub fn advice(&self) -> String {
        match self.instead {
            Some(level) => format!("{}; or use `isolation = \"{level}\"`", self.hint),
            None => self.hint.clone(),
        }
    }
}

/// Why a sandbox was not started. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The level cannot be used here.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A limit or permission that this level cannot enforce on this host.
    #[error("`{what}` cannot be enforced at level `{level}` on this host")]
    Unenforceable {
        /// The key in the configuration.
        what: &'static str,
        /// The level asked for.
        level: Level,
        /// What would do.
        hint: String,
    },
    /// The program could not be executed.
    #[error("cannot execute `{program}`")]
    Exec {
        /// First word of the command.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A step of building the walls failed.
    #[error("cannot build the walls: {step}")]
    Walls {
        /// What was being done, on what.
        step: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The file in `seccomp` is not used.
    #[error("cannot use the system call filter `{}`", file.display())]
    Filter {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: FilterError,
    },
    /// The tenant's directory cannot be had with its limit.
    #[error("cannot bound the tenant's directory")]
    Disk(#[from] ImageError),
    /// The agent broke the protocol or went away.
    #[error("the agent failed: {0}")]
    Agent(String),
    /// The program around a guest does not get on, and was killed.
    #[error("`{program}` did not bring its guest up within {seconds} s, and was killed")]
    Hangs {
        /// The program.
        program: String,
        /// How long it had, in seconds.
        seconds: u64,
    },
    /// The network cannot be routed.
    #[error("cannot route the network of the instance")]
    Routed(#[from] RoutedError),
    /// No free port in the range for workloads on the host's network.
    #[error("no free port for a workload on the host's network")]
    NoPort,
}

impl LaunchError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unavailable(e) => e.advice(),
            Self::Unenforceable { hint, .. } => hint.clone(),
            Self::Exec { program, .. } => format!(
                "check that `{program}` exists inside the view of the instance: system directories, workdir, \
                 data dir and `mounts` are visible there, home directories are not"
            ),
            Self::Walls { .. } | Self::Agent(_) => {
                "run `insula doctor` to see what this host lacks".to_owned()
            }
            Self::Filter { source, .. } => source.hint(),
            Self::Disk(e) => e.hint(),
            Self::Hangs { .. } => {
                "set `platform = \"systrap\"` in `[levels.gvisor]`, or name another program with `path` \
                                   there"
                    .to_owned()
            }
            Self::Routed(e) => e.hint().to_owned(),
            Self::NoPort => "stop instances with `network = \"host\"`, or use the default network".to_owned(),
        }
    }
}

/// Why a recorded sandbox cannot be adopted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Gone {
    /// The machine was booted since.
    #[error("the machine was booted since")]
    Rebooted,
    /// No agent answers.
    #[error("its agent does not answer: {0}")]
    NoAnswer(String),
    /// Something answers, but it is not the recorded one.
    #[error("what answers is not the recorded one: {0}")]
    NotTheSame(String),
}

/// What a sweep removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Processes killed.
    pub processes: usize,
    /// Control groups removed.
    pub cgroups: usize,
    /// Run directories removed.
    pub run_dirs: usize,
    /// What could not be removed, and why.
    pub failed: Vec<String>,
}

/// What a sandbox uses at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Memory charged to its control group, in bytes.
    pub memory_bytes: Option<u64>,
    /// CPU time used, in microseconds.
    pub cpu_micros: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}
