//! Everything on the host that one set of walls holds, as a guard.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use insula_linux::cgroup::Leaves;
use insula_linux::identity::Identity;
use insula_linux::watched::Watched;
use insula_spec::InstanceName;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Shared;
use super::rundir::RunDir;

/// How long control groups may take to die.
const KILL: Duration = Duration::from_secs(5);

/// The agent's process, control groups and run directory. Until [`Body::keep`], dropping it takes all of
/// them down.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: String,
    parts: Option<Parts>,
    kept: bool,
    /// Whose port to give back at the end.
    pub(crate) instance: Option<InstanceName>,
}

#[derive(Debug)]
struct Parts {
    dir: PathBuf,
    leaves: Option<Arc<Leaves>>,
    agent: Option<(Identity, Watched)>,
}

impl Body {
    /// Starts with nothing but a name; parts are added as they are made.
    pub(crate) fn new(shared: Arc<Shared>, key: String) -> Self {
        let dir = shared.run_dir_of(&key);
        let parts = Some(Parts { dir, leaves: None, agent: None });
        Self { shared, key, parts, kept: false, instance: None }
    }

    pub(crate) fn dir(&self) -> RunDir {
        RunDir::open(self.shared.run_dir_of(&self.key))
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
        let raw = Pid::from_raw(pid).ok_or_else(gone)?;
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

    /// From now on a drop leaves everything as it is.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }

    /// Kills whatever is left and removes every part.
    pub(crate) async fn take_down(mut self) {
        self.kept = true;
        if let Some(parts) = self.parts.take() {
            parts.take_down(&self.shared, &self.key, self.instance.as_ref()).await;
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take().filter(|_| !self.kept) else { return };
        let (shared, key, instance) = (Arc::clone(&self.shared), self.key.clone(), self.instance.take());
        // Outside a runtime the process is ending: the agent ends with its connection, and the next start
        // sweeps the rest.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { parts.take_down(&shared, &key, instance.as_ref()).await });
        }
    }
}

impl Parts {
    async fn take_down(self, shared: &Shared, key: &str, instance: Option<&InstanceName>) {
        if let Some((_, pidfd)) = &self.agent {
            match pidfd_send_signal(pidfd, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(e) => tracing::warn!(key, error = %e, "cannot kill an agent"),
            }
            self.thaw();
            ended(pidfd).await;
        }
        let (leaves, dir) = (self.leaves, self.dir);
        let sockets = instance.map(|instance| shared.host_socket_dir(instance));
        let removed = tokio::task::spawn_blocking(move || {
            if let Some(leaves) = leaves.and_then(Arc::into_inner) {
                leaves.remove(KILL).map_err(|e| e.to_string())?;
            }
            sockets.map_or(Ok(()), |dir| RunDir::remove(&dir)).map_err(|e| e.to_string())?;
            RunDir::remove(&dir).map_err(|e| e.to_string())
        });
        match removed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(key, error, "something of these walls is left behind"),
            Err(e) => tracing::warn!(key, error = %e, "taking down these walls was cut short"),
        }
        if let Some(instance) = instance {
            shared.ports.release(instance);
        }
    }

    /// A frozen process does not die before it is thawed.
    fn thaw(&self) {
        if let Some(Err(e)) = self.leaves.as_ref().map(|l| l.app().thaw()) {
            tracing::warn!(error = %e, "cannot thaw before the end");
        }
    }
}

/// A pidfd becomes readable when its process ends.
async fn ended(pidfd: &Watched) {
    if let Err(e) = pidfd.readable().await {
        tracing::warn!(error = %e, "cannot wait for an agent");
    }
}
