//! What every step works with: where tenants are, and what the control API says about them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use insula_api::{Client, Detail, Observed};
use insula_spec::InstanceName;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::{Instant, sleep};

use crate::stage::Server;
use crate::stage::http::{PATIENCE, Place};

/// Time between two looks at a state that nothing announces.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The server as its users see it.
#[derive(Debug)]
pub(super) struct Scene {
    address: SocketAddr,
    cache: SocketAddr,
    client: Client,
    folder: PathBuf,
    ready_after: Duration,
}

impl Scene {
    /// Looks at a running server.
    pub(super) fn new(server: &Server, cache_port: u16) -> Self {
        Self {
            address: server.address(),
            cache: (Ipv4Addr::LOCALHOST, cache_port).into(),
            client: server.client(),
            folder: server.folder().to_owned(),
            ready_after: server.ready_after(),
        }
    }

    /// Where a tenant `service:id` answers HTTP.
    pub(super) fn tenant(&self, name: &str) -> anyhow::Result<Place> {
        let name: InstanceName = name.parse()?;
        let host = format!("{}.{}.localhost:{}", name.id, name.service, self.address.port());
        Ok(Place { address: self.address, host })
    }

    /// Where a service of versions answers HTTP.
    pub(super) fn service(&self, name: &str) -> Place {
        Place { address: self.address, host: format!("{name}.localhost:{}", self.address.port()) }
    }

    /// Where `cache:alice` answers raw TCP.
    pub(super) fn cache(&self) -> SocketAddr {
        self.cache
    }

    /// The control API.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The folder with apps, data and logs.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Time from the server's start until it was ready.
    pub(super) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Everything about a tenant.
    pub(super) async fn inspect(&self, name: &str) -> anyhow::Result<Detail> {
        Ok(self.client.inspect(&name.parse()?).await?)
    }

    /// Waits until a tenant does this; how long that took. The API does not announce states, so this looks again.
    pub(super) async fn wait(&self, name: &str, wanted: Observed) -> anyhow::Result<Duration> {
        let began = Instant::now();
        loop {
            let status = self.inspect(name).await?.summary.status;
            if status.observed == wanted {
                return Ok(began.elapsed());
            }
            if began.elapsed() > PATIENCE || status.observed == Observed::Failed {
                bail!("`{name}` is {}, not {wanted}: {}", status.observed, status.why);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// URLs to try by hand.
    pub(super) fn places(&self) -> String {
        let port = self.address.port();
        let home = self.folder.join("home");
        format!(
            "\nhttp://alice.notes.localhost:{port}/notes\nhttp://web.hello.localhost:{port}/\n\
             ws://lobby.chat.localhost:{port}/\nredis-cli -p {}\nINSULA_HOME={} insula ps",
            self.cache.port(),
            home.display()
        )
    }
}

/// Kills a process with SIGKILL and waits until it has gone.
pub(super) async fn kill(pid: i32) -> anyhow::Result<()> {
    let pid = Pid::from_raw(pid).context("not a process number")?;
    let fd = pidfd_open(pid, PidfdFlags::empty()).context("no such process")?;
    pidfd_send_signal(&fd, Signal::KILL).context("cannot kill the process")?;
    let gone = move || poll(&mut [PollFd::new(&fd, PollFlags::IN)], None);
    tokio::task::spawn_blocking(gone).await?.context("cannot wait for the end of the process")?;
    Ok(())
}
