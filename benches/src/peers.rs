//! What Insula is compared with: programs of the distribution, and processes without Insula.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use crate::http;

const NGINX: &str = include_str!("../nginx.conf");
const CADDY: &str = include_str!("../caddy.Caddyfile");
const TENEMENT: &str = include_str!("../tenement.toml");
const HAPROXY: &str = include_str!("../haproxy.cfg");

/// The program of tenement, if it is there: it is no package of the distribution, and its build is long.
pub(crate) const TENEMENT_PROGRAM: &str = "ten";
/// How it comes there.
const TENEMENT_INSTALL: &str = "cargo install --locked tenement-cli";

/// A program that takes part: its name, its package, and the parts that need it.
type Program = (&'static str, &'static str, &'static [&'static str]);

/// Parts that measure with the services that they share.
const SHARED: &[&str] = &["memory", "proxy", "noise", "wake", "crash"];

const PROGRAMS: [Program; 13] = [
    ("cc", "gcc", &["memory", "proxy", "noise", "wake", "crash", "launch"]),
    ("nginx", "nginx-light", SHARED),
    ("caddy", "caddy", SHARED),
    ("wrk", "wrk", &["memory", "proxy", "noise", "wake", "crash", "egress"]),
    ("python3", "python3-minimal", SHARED),
    ("node", "nodejs", SHARED),
    ("crun", "crun", &["wake", "launch"]),
    ("podman", "podman", &["launch"]),
    ("runsc", "runsc", &["wake", "launch"]),
    ("unshare", "util-linux", &["wake", "launch", "fleet"]),
    ("ip", "iproute2", &["fleet"]),
    ("tar", "tar", &["launch"]),
    ("haproxy", "haproxy", &["egress"]),
];

/// Fails when a peer that these parts need is not there, and says how to get it.
pub(crate) fn check(wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    let needed = |(_, _, parts): &&Program| parts.iter().any(|part| wanted(part));
    let missing: Vec<_> = PROGRAMS.iter().filter(needed).filter(|(name, ..)| find(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|(name, ..)| format!("`{name}`")).collect();
    let packages: Vec<_> = missing.iter().map(|(_, package, _)| *package).collect();
    anyhow::bail!("{} not installed; run `apt-get install {}`", names.join(", "), packages.join(" "))
}

/// Where a program is.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Says which versions are compared.
pub(crate) fn versions() -> anyhow::Result<()> {
    let ask = [
        ("nginx", "-v"),
        ("caddy", "version"),
        ("wrk", "-v"),
        ("node", "--version"),
        ("haproxy", "-v"),
        ("crun", "--version"),
        ("podman", "--version"),
        ("runsc", "--version"),
        ("python3", "--version"),
        (TENEMENT_PROGRAM, "--version"),
        ("cc", "--version"),
        ("uname", "--kernel-release"),
    ];
    for (name, flag) in ask {
        let Some(program) = find(name) else { continue };
        let output = Command::new(program).arg(flag).output().with_context(|| format!("`{name}`"))?;
        // Some tell it on the one, some on the other; `wrk` has more to say.
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        crate::say(&format!("{name}: {}", text.lines().next().unwrap_or_default()))?;
    }
    Ok(())
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

/// A proxy that runs until dropped, and where it listens.
#[derive(Debug)]
pub(crate) struct Peer {
    running: Running,
    pub(crate) port: u16,
}

impl Peer {
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }
}

/// nginx in front of a backend.
pub(crate) fn nginx(dir: &Path, backend: u16, log: bool) -> anyhow::Result<Peer> {
    let access_log = if log { format!("{}/access.log combined", dir.display()) } else { "off".to_owned() };
    let port = http::free_port()?;
    let numbers = [("@backend@", backend.to_string()), ("@port@", port.to_string())];
    let file = configure(dir, "nginx.conf", &NGINX.replace("@access_log@", &access_log), &numbers)?;
    let program = find("nginx").context("no `nginx`")?;
    let running = Running::start(Command::new(program).arg("-c").arg(&file).arg("-p").arg(dir))?;
    answering(running, port, "app", "nginx")
}

/// caddy in front of a backend, with access log and metrics.
pub(crate) fn caddy(dir: &Path, backend: u16) -> anyhow::Result<Peer> {
    let port = http::free_port()?;
    let numbers = [("@backend@", backend.to_string()), ("@port@", port.to_string())];
    let file = configure(dir, "Caddyfile", CADDY, &numbers)?;
    let program = find("caddy").context("no `caddy`")?;
    let mut command = Command::new(program);
    // What it keeps between runs goes with the folder.
    command.env("HOME", dir).args(["run", "--adapter", "caddyfile", "--config"]).arg(&file);
    answering(Running::start(&mut command)?, port, "app", "caddy")
}

/// haproxy in front of a backend, passing on bytes.
pub(crate) fn haproxy(dir: &Path, backend: SocketAddr) -> anyhow::Result<Peer> {
    let port = http::free_port()?;
    let places = [("@backend@", backend.to_string()), ("@port@", port.to_string())];
    let file = configure(dir, "haproxy.cfg", HAPROXY, &places)?;
    let program = find("haproxy").context("no `haproxy`")?;
    // In the foreground: one process, whose CPU time is counted.
    let running = Running::start(Command::new(program).arg("-db").arg("-f").arg(&file))?;
    answering(running, port, "app", "haproxy")
}

/// tenement with the application as its own child; `None`, and said so, where it is not installed.
pub(crate) fn tenement(dir: &Path, app: &Path) -> anyhow::Result<Option<Peer>> {
    let Some(program) = find(TENEMENT_PROGRAM) else {
        let text =
            format!("tenement is not measured: no `{TENEMENT_PROGRAM}`; `{TENEMENT_INSTALL}` makes it");
        return crate::say(&text).map(|()| None);
    };
    let port = http::free_port()?;
    configure(dir, "tenement.toml", TENEMENT, &[("@program@", app.display().to_string())])?;
    let mut command = Command::new(program);
    command.current_dir(dir).env("HOME", dir).args(["serve", "--port", &port.to_string()]);
    answering(Running::start(&mut command)?, port, "a.hot.localhost", "tenement").map(Some)
}

/// Writes a configuration with all places filled in.
fn configure(dir: &Path, name: &str, text: &str, places: &[(&str, String)]) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let text = text.replace("@dir@", &dir.display().to_string());
    let text = places.iter().fold(text, |text, (place, value)| text.replace(place, value));
    let file = dir.join(name);
    fs::write(&file, text)?;
    Ok(file)
}

fn answering(running: Running, port: u16, host: &str, name: &str) -> anyhow::Result<Peer> {
    http::first_answer(port, host, http::SELDOM).with_context(|| format!("{name} does not answer"))?;
    Ok(Peer { running, port })
}
