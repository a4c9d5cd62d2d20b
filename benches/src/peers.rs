//! What Insula is compared with: programs of the distribution, and processes without Insula.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use crate::http;

const CONFIG: &str = include_str!("../nginx.conf");

/// Programs that take part, and the package of each.
const PROGRAMS: [(&str, &str); 5] = [
    ("cc", "gcc"),
    ("nginx", "nginx-light"),
    ("wrk", "wrk"),
    ("python3", "python3-minimal"),
    ("node", "nodejs"),
];

/// Fails when a peer is not there, and says how to get it.
pub(crate) fn check() -> anyhow::Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |name: &str| {
        std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|dir| dir.join(name).is_file())
    };
    let missing: Vec<_> = PROGRAMS.iter().filter(|(name, _)| !there(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|(name, _)| format!("`{name}`")).collect();
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    anyhow::bail!("{} not installed; run `apt-get install {}`", names.join(", "), packages.join(" "))
}

/// A process that ends with this value.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Starts it in a process group of its own.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start `{command:?}`"))?;
        Ok(Self(child))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        let ended = group.map_or(Ok(()), |group| {
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL)
        });
        // Reaped even when it had ended by itself.
        if self.0.wait().is_err() || ended.is_err() {
            crate::say("a process could not be ended").unwrap_or_default();
        }
    }
}

/// nginx in front of a backend, until dropped.
pub(crate) fn nginx(dir: &Path, backend: u16, log: bool) -> anyhow::Result<(Running, u16)> {
    fs::create_dir_all(dir)?;
    let port = http::free_port()?;
    let at = dir.display().to_string();
    let access_log = if log { format!("{at}/access.log combined") } else { "off".to_owned() };
    let config = CONFIG
        .replace("@dir@", &at)
        .replace("@access_log@", &access_log)
        .replace("@backend@", &backend.to_string())
        .replace("@port@", &port.to_string());
    let file = dir.join("nginx.conf");
    fs::write(&file, config)?;
    let running = Running::start(
        Command::new("nginx").env("PATH", "/usr/sbin:/usr/bin:/bin").arg("-c").arg(&file).arg("-p").arg(dir),
    )?;
    http::first_answer(port, "app", http::SELDOM).context("nginx does not answer")?;
    Ok((running, port))
}
