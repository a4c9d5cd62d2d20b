//! Everything on the host that one set of walls holds, as a guard.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use insula_linux::cgroup::Leaves;
use insula_linux::identity::Identity;
use insula_linux::watched::Watched;
use insula_spec::{InstanceName, Level, Placement};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::rundir::RunDir;
use super::{Kind, Shared, routed};

/// How long an agent, control groups, or work on these walls that was given up may take to end.
const KILL: Duration = Duration::from_secs(5);

/// The agent's process, control groups, run directory and port. Until [`Body::keep`], dropping it takes all
/// of them down.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: String,
    /// Whose workload it holds, once there is one.
    pub(crate) instance: Option<InstanceName>,
    parts: Option<Parts>,
    kept: bool,
}

#[derive(Debug)]
struct Parts {
    dir: PathBuf,
    /// Where a workload without a mount wall makes its socket.
    socket_dir: Option<PathBuf>,
    port: Option<u16>,
    /// The host has an interface to its network.
    routed: bool,
    leaves: Option<Arc<Leaves>>,
    agent: Option<(Identity, Watched)>,
    /// Blocking work on these walls. It goes on when whoever waited for it gave up, and must be over before
    /// what it works on is removed.
    work: TaskTracker,
}

impl Body {
    /// Starts with nothing but a name; parts are added as they are made.
    pub(crate) fn new(shared: Arc<Shared>, key: String) -> Self {
        let parts = Parts {
            dir: shared.run_dir_of(&key),
            socket_dir: None,
            port: None,
            routed: false,
            leaves: None,
            agent: None,
            work: TaskTracker::new(),
        };
        Self { shared, key, instance: None, parts: Some(parts), kept: false }
    }

    pub(crate) fn dir(&self) -> RunDir {
        RunDir::open(self.shared.run_dir_of(&self.key))
    }

    /// Says whose workload these walls are for, and where it listens.
    pub(crate) fn settle(&mut self, kind: Kind, instance: &InstanceName, placement: &Placement) {
        self.instance = Some(instance.clone());
        let Some(parts) = &mut self.parts else { return };
        parts.routed |= kind.is_routed();
        if kind.needs_host_port() {
            self.shared.ports.claim(placement.port);
            parts.port = Some(placement.port);
        }
        let socket_dir =
            placement.socket.parent().filter(|dir| dir.parent() == Some(&self.shared.socket_root));
        parts.socket_dir = socket_dir.filter(|_| kind.level == Level::Process).map(ToOwned::to_owned);
    }

    /// Says that the host has an interface to its network, or will.
    pub(crate) fn wired(&mut self) {
        if let Some(parts) = &mut self.parts {
            parts.routed = true;
        }
    }

    /// Runs something that blocks and works on these walls.
    pub(crate) fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        match &self.parts {
            Some(parts) => parts.work.spawn_blocking(work),
            None => tokio::task::spawn_blocking(work),
        }
    }

    /// Takes over control groups; from now on it is this guard that removes them.
    pub(crate) fn add_leaves(&mut self, mut leaves: Leaves) {
        leaves.keep();
        if let Some(parts) = &mut self.parts {
            parts.leaves = Some(Arc::new(leaves));
        }
    }

    pub(crate) fn leaves(&self) -> Option<Arc<Leaves>> {
        self.parts.as_ref()?.leaves.clone()
    }

    /// Takes hold of the agent's process. `expected` makes sure that it is the one that was recorded.
    pub(crate) fn add_agent(&mut self, pid: i32, expected: Option<Identity>) -> io::Result<()> {
        let gone = || io::Error::from_raw_os_error(libc::ESRCH);
        // Told by an agent, or read from a record: a negative number is not even a pid.
        let raw = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw).ok_or_else(gone)?;
        // The descriptor first, then the check: whatever it says, it is about this process.
        let pidfd = pidfd_open(raw, PidfdFlags::NONBLOCK)?;
        let identity = Identity::of(pid)?.ok_or_else(gone)?;
        if expected.is_some_and(|e| e != identity) {
            return Err(gone());
        }
        if let Some(parts) = &mut self.parts {
            parts.agent = Some((identity, Watched::new(pidfd)?));
        }
        Ok(())
    }

    pub(crate) fn agent(&self) -> Option<Identity> {
        self.parts.as_ref()?.agent.as_ref().map(|(identity, _)| *identity)
    }

    /// Another descriptor for the agent's process.
    pub(crate) fn agent_pidfd(&self) -> io::Result<OwnedFd> {
        let agent = self.parts.as_ref().and_then(|parts| parts.agent.as_ref());
        let (_, pidfd) = agent.ok_or(io::ErrorKind::NotFound)?;
        pidfd.as_fd().try_clone_to_owned()
    }

    /// Waits until the agent has ended by itself.
    pub(crate) async fn agent_ended(&self) -> io::Result<()> {
        match self.parts.as_ref().and_then(|parts| parts.agent.as_ref()) {
            Some((_, pidfd)) => pidfd.readable().await,
            None => Ok(()),
        }
    }

    /// From now on a drop leaves everything as it is.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }

    /// Kills whatever is left and removes every part.
    pub(crate) async fn take_down(mut self) {
        if let Some(parts) = self.parts.take() {
            parts.take_down(&self.shared, &self.key).await;
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take().filter(|_| !self.kept) else { return };
        let (shared, key) = (Arc::clone(&self.shared), self.key.clone());
        // Outside a runtime the process is ending: the agent ends with its connection, and the next start
        // sweeps the rest.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let falling = shared.falling.clone();
            falling.spawn_on(async move { parts.take_down(&shared, &key).await }, &runtime);
        }
    }
}

impl Parts {
    async fn take_down(self, shared: &Shared, key: &str) {
        tracing::trace!(target: "insula::wake", at = "take down", key);
        if let Some((_, pidfd)) = &self.agent {
            match pidfd_send_signal(pidfd, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(e) => tracing::warn!(key, error = %e, "cannot kill an agent"),
            }
            self.thaw();
            ended(pidfd, key).await;
        }
        self.work.close();
        if timeout(KILL, self.work.wait()).await.is_err() {
            tracing::warn!(key, "work on these walls has not ended");
        }
        let Self { dir, socket_dir, port, leaves, routed, .. } = self;
        if routed {
            routed::leave(shared, key).await;
        }
        let removed = tokio::task::spawn_blocking(move || remove(leaves, [socket_dir, Some(dir)]));
        match removed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(key, error, "something of these walls is left behind"),
            Err(e) => tracing::warn!(key, error = %e, "taking down these walls was cut short"),
        }
        tracing::trace!(target: "insula::wake", at = "taken down", key);
        if let Some(port) = port {
            shared.ports.release(port);
        }
    }

    /// A frozen process does not die before it is thawed.
    fn thaw(&self) {
        if let Some(Err(e)) = self.leaves.as_ref().map(|l| l.app().thaw()) {
            tracing::debug!(error = %e, "cannot thaw before the end");
        }
    }
}

/// Removes control groups, with whoever is left in them, and directories; every one, even if another fails.
fn remove(leaves: Option<Arc<Leaves>>, dirs: [Option<PathBuf>; 2]) -> Result<(), String> {
    let groups = match leaves.map(Arc::try_unwrap) {
        None => Ok(()),
        Some(Ok(leaves)) => leaves.remove(KILL).map(drop).map_err(|e| e.to_string()),
        Some(Err(_)) => Err("its control groups are still being worked on".to_owned()),
    };
    let dirs = dirs
        .into_iter()
        .flatten()
        .map(|dir| RunDir::remove(&dir).map_err(|e| format!("remove `{}`: {e}", dir.display())));
    dirs.fold(groups, Result::and)
}

/// A pidfd becomes readable when its process ends.
async fn ended(pidfd: &Watched, key: &str) {
    match timeout(KILL, pidfd.readable()).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::warn!(key, error = %e, "cannot wait for an agent"),
        Err(_) => tracing::warn!(key, "an agent does not end"),
    }
}
