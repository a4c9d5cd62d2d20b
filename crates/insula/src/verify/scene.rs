//! Where the attempts are made: a server of its own with a neighbour and a spy at each level.
//!
//! ```text
//! LEVEL:neighbour   what the attempts are after
//! LEVEL:spy         makes them, behind the wall
//! LEVEL-disk:spy    fills its own disk; where a limit is hard, that may be no directory of the host
//! this process      makes them without a wall, as the control; holds what the host has to be reached
//! ```

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::path::{Path, PathBuf};

use anyhow::Context;
use insula_api::Client;
use insula_spec::{InstanceName, Level};

use super::controls;
use super::inside::{self, DATA, KEPT, Outcome, VERB};
use super::probes::{Aim, DISK_MB, MEMORY_MB, PIDS, Probe};
use super::report::Sane;
use crate::stage::http::Place;
use crate::stage::{Files, Server};

/// A level that is verified.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tried {
    pub(super) level: Level,
    /// Whether limits can be set at it.
    pub(super) limits: bool,
    /// Whether a limit on what it keeps on the disk is hard.
    pub(super) disk: bool,
}

/// Everything that attempts are aimed at; gone with it.
#[derive(Debug)]
pub(super) struct Scene {
    files: Files,
    server: Server,
    loopback: TcpListener,
    address: Option<TcpListener>,
    abstract_name: String,
    /// Held open only to be reached.
    _abstract: UnixListener,
}

impl Scene {
    /// Sets it up in a folder that is there, for these levels.
    pub(super) async fn set(folder: &Path, levels: &[Tried]) -> anyhow::Result<Self> {
        let files = Files { folder: folder.to_owned() };
        fs::copy("/proc/self/exe", files.folder.join("insula")).context("cannot copy this program")?;
        fs::write(files.config(), config(folder, levels)).context("cannot write the configuration")?;
        make_set_user_id(&files.folder).context("cannot make a set-user-id file")?;
        let abstract_name = format!("insula-verify-{}", std::process::id());
        Ok(Self {
            server: Server::start(&files).await?,
            loopback: TcpListener::bind("127.0.0.1:0").context("cannot listen on the loopback")?,
            address: own_address().and_then(|ip| TcpListener::bind((ip, 0)).ok()),
            _abstract: UnixListener::bind_addr(&UnixAddr::from_abstract_name(&abstract_name)?)
                .context("cannot listen on an abstract socket")?,
            abstract_name,
            files,
        })
    }

    /// Ends it.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.server.stop().await.map(drop)
    }

    fn client(&self) -> Client {
        self.server.client()
    }

    /// Wakes the instances of a level.
    pub(super) async fn wake(&self, level: Level) -> anyhow::Result<()> {
        for name in
            [name(level, "neighbour")?, name(level, "spy")?, format!("{}:spy", with_disk(level)).parse()?]
        {
            self.client().spawn(&name, None).await?;
        }
        Ok(())
    }

    /// What an attempt at a level is aimed at; `None` where this host has nothing of the kind.
    pub(super) async fn target(&self, probe: Probe, level: Level) -> anyhow::Result<Option<String>> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let address = |listener: &TcpListener| listener.local_addr().map(|a: SocketAddr| a.to_string());
        let (folder, home) = (&self.files.folder, self.files.home());
        Ok(Some(match probe.aim() {
            Aim::Nothing => "-".to_owned(),
            Aim::Word => word(level, "neighbour"),
            Aim::Mark => mark(level),
            Aim::Pid => {
                let found = self.client().inspect(&name(level, "neighbour")?).await?;
                found.summary.app_pid.context("the neighbour does not run")?.to_string()
            }
            Aim::File => text(folder.join("data").join(level.as_str()).join("neighbour").join(KEPT)),
            Aim::Database => text(home.join("state.db")),
            Aim::Socket => text(home.join("run/control.sock")),
            Aim::Loopback => address(&self.loopback)?,
            Aim::Abstract => self.abstract_name.clone(),
            Aim::Address => return Ok(self.address.as_ref().map(address).transpose()?),
            Aim::Folder => text(folder.clone()),
            Aim::SetUserId => text(folder.join(SET_USER_ID)),
        }))
    }

    /// The attempt behind the wall.
    ///
    /// `None` where this host cannot see what came of it.
    pub(super) async fn behind(
        &self,
        probe: Probe,
        level: Level,
        target: &str,
    ) -> anyhow::Result<Option<Outcome>> {
        let port = self.server.address().port();
        let service = if probe == Probe::DiskFill { with_disk(level) } else { level.to_string() };
        let place = Place { address: self.server.address(), host: format!("spy.{service}.localhost:{port}") };
        let answer = place.get(&format!("/{}?{}", probe.id(), inside::escaped(target))).await?;
        if probe == Probe::Outlive {
            return self.outlived(level).await;
        }
        // A program that was ended for what it tried did not get through.
        match answer.status {
            200 => {
                serde_json::from_str(&answer.body).map(Some).context("the spy does not answer what was asked")
            }
            status @ 502..=504 => {
                Ok(Some(Outcome { through: false, detail: format!("the program was ended ({status})") }))
            }
            status => anyhow::bail!("the spy was not asked: {status}"),
        }
    }

    /// Stops the spy, and looks for what it left running.
    async fn outlived(&self, level: Level) -> anyhow::Result<Option<Outcome>> {
        if controls::running(&mark(level)).is_none() {
            return Ok(None);
        }
        self.client().stop(&name(level, "spy")?, None).await?;
        let through = controls::running(&mark(level)).is_some();
        let detail = if through { "it still runs" } else { "it ended with the stop" };
        Ok(Some(Outcome { through, detail: detail.to_owned() }))
    }

    /// The attempt without a wall.
    pub(super) fn control(&self, probe: Probe, level: Level, target: &str) -> Outcome {
        controls::make(&self.files.folder.join("insula"), probe, level, target)
    }

    /// What the spy of a level must be able to do, or nothing that it cannot do would show anything.
    ///
    /// # Errors
    /// When it cannot.
    pub(super) async fn sane(&self, level: Level) -> anyhow::Result<Sane> {
        let found = self.client().inspect(&name(level, "spy")?).await?;
        let port = found.placement.context("the spy does not listen")?.port;
        let file = self.files.folder.join("data").join(level.as_str()).join("spy").join(KEPT);
        let own = [
            (Probe::NeighbourFile, file.to_string_lossy().into_owned()),
            (Probe::HostLoopback, format!("127.0.0.1:{port}")),
        ];
        for (probe, target) in own {
            let seen = self.behind(probe, level, &target).await?;
            let seen = seen.with_context(|| format!("nothing is seen of `{target}`"))?;
            anyhow::ensure!(
                seen.through,
                "the app at `{level}` does not even reach its own `{target}` ({}): nothing would be shown",
                seen.detail
            );
        }
        Ok(Sane { level, did: "read its own file and connected to its own port" })
    }
}

/// The set-user-id file; only root can make one that matters.
const SET_USER_ID: &str = "set-user-id";

fn make_set_user_id(folder: &Path) -> io::Result<()> {
    let path = folder.join(SET_USER_ID);
    fs::copy("/usr/bin/id", &path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o4755))
}

/// The service whose instance fills its disk.
fn with_disk(level: Level) -> String {
    format!("{level}-disk")
}

fn name(level: Level, id: &str) -> anyhow::Result<InstanceName> {
    Ok(format!("{level}:{id}").parse()?)
}

fn word(level: Level, id: &str) -> String {
    format!("a-word-of-{level}-{id}-{}", std::process::id())
}

fn mark(level: Level) -> String {
    word(level, "left-behind")
}

/// The address by which this host is seen by others. Nothing is sent.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // RFC 5737: an address of nobody.
    socket.connect("192.0.2.1:9").ok()?;
    socket
        .local_addr()
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

fn config(folder: &Path, levels: &[Tried]) -> String {
    let program = folder.join("insula");
    let mut text = "# Written by `insula verify`.\n[settings]\ndata_dir = \"./data\"\ndomain = \"localhost\"\nport = 0\n"
        .to_owned();
    for Tried { level, limits, disk } in levels {
        let (program, pid) = (program.display(), std::process::id());
        let service = |name: &str, keys: &str| {
            format!(
                "\n[service.{name}]\ncommand = \"{program} {VERB} serve a-word-of-{name}-{{id}}-{pid}\"\n\
                 workdir = \".\"\nisolation = \"{level}\"\nidle_timeout = 0\n{keys}\
                 [service.{name}.env]\n{DATA} = \"{{data_dir}}/{{id}}\"\n"
            )
        };
        let bounds = format!("pids_limit = {PIDS}\nmemory_limit_mb = {MEMORY_MB}\n");
        text += &service(level.as_str(), if *limits { &bounds } else { "" });
        let mode = if *disk { "hard" } else { "soft" };
        let bound = format!("disk_limit = \"{DISK_MB}M\"\ndisk_limit_mode = \"{mode}\"\n");
        text += &service(&with_disk(*level), &bound);
    }
    text += "\n[instances]\n";
    for Tried { level, .. } in levels {
        text += &format!("{level} = [\"neighbour\", \"spy\"]\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use insula_spec::Config;

    use super::*;

    #[test]
    fn the_configuration_is_valid_for_any_levels() {
        let tried = |level, limits| Tried { level, limits, disk: limits };
        let levels = [tried(Level::Process, false), tried(Level::Namespace, true)];
        let text = config(Path::new("/verify"), &levels);
        Config::parse(&text, Path::new("/verify/insula.toml")).unwrap();
    }
}
