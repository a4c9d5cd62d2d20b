//! The server on the stage: `insula serve`, as a process of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use insula_api::Client;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, timeout};

use super::http::PATIENCE;

/// What a server is started with, all in one folder.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// The folder.
    pub(crate) folder: PathBuf,
}

impl Files {
    /// The configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("insula.toml")
    }

    /// The home.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// What the server says.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }
}

/// A running `insula serve`. Dropping it asks it to end and waits for that.
#[derive(Debug)]
pub(crate) struct Server {
    child: Option<Child>,
    files: Files,
    port: u16,
    ready_after: Duration,
}

impl Server {
    /// Starts it and waits for the line that says it is ready.
    pub(crate) async fn start(files: &Files) -> anyhow::Result<Self> {
        let began = Instant::now();
        let log = File::create(files.log()).context("cannot write the server's log")?;
        let mut child = Command::new("/proc/self/exe")
            .args(["serve", "--json", "--config"])
            .arg(files.config())
            .arg("--home")
            .arg(files.home())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C is for whoever set the stage, who then ends the server in its own time.
            .process_group(0)
            .spawn()
            .context("cannot start `insula serve`")?;
        let stdout = child.stdout.take().context("the server has no standard output")?;
        let mut server =
            Self { child: Some(child), files: files.clone(), port: 0, ready_after: Duration::ZERO };
        let line = timeout(PATIENCE, tokio::task::spawn_blocking(|| first_line(stdout))).await;
        let line = line.context("the server is not ready")???;
        let ready: serde_json::Value = serde_json::from_str(&line)
            .with_context(|| format!("the server did not start: {}", tail(&files.log())))?;
        server.port = u16::try_from(ready["port"].as_u64().context("the server names no port")?)?;
        server.ready_after = began.elapsed();
        Ok(server)
    }

    /// Its public address.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The control API.
    pub(crate) fn client(&self) -> Client {
        Client::unix(self.files.home().join("run/control.sock"))
    }

    /// The folder with everything.
    pub(crate) fn folder(&self) -> &Path {
        &self.files.folder
    }

    /// Time from its start until it was ready.
    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Asks it to end, and waits. Gives back how long that took.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let Some(mut child) = self.child.take() else { bail!("the server is not running") };
        kill_process(Pid::from_child(&child), Signal::TERM)?;
        let status = timeout(PATIENCE, tokio::task::spawn_blocking(move || child.wait())).await;
        let status = status.context("the server does not end")???;
        if !status.success() {
            bail!("the server ended with {status}: {}", tail(&self.files.log()));
        }
        Ok(began.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let asked = kill_process(Pid::from_child(&child), Signal::TERM);
        if let Err(error) = asked.map_err(Into::into).and_then(|()| child.wait()) {
            tracing::warn!(pid = child.id(), %error, "the server could not be stopped");
        }
    }
}

fn first_line(stdout: ChildStdout) -> std::io::Result<String> {
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok(line)
}

/// The last lines of a log, for an error.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}
