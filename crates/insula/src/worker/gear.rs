//! What the worker was given by its parent.

use std::fs::File;
use std::io::{Read, Seek};
use std::mem::ManuallyDrop;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use anyhow::Context;
use insula_spec::config::{Overrides, Source};
use insula_spec::{Config, InstanceName};

use crate::home::Home;
use crate::lifeline::{Boot, Given, Role};
use crate::{agent_image, environment};

/// Everything that came over the lifeline, in its real types.
#[derive(Debug)]
pub(super) struct Gear {
    pub(super) home: Home,
    pub(super) config: Config,
    /// Whether anybody on the loopback may use the control API.
    pub(super) insecure_api: bool,
    pub(super) agent: OwnedFd,
    /// Given up with the end of the process alone, or by a worker that gives way, after its listeners.
    pub(super) lock: Option<ManuallyDrop<OwnedFd>>,
    pub(super) heirs: Option<UnixListener>,
    /// `None` in a worker that was started only to stop everything.
    pub(super) control: Option<UnixListener>,
    pub(super) http: Vec<TcpListener>,
    pub(super) tcp: Vec<(InstanceName, TcpListener)>,
}

impl Gear {
    pub(super) fn unpack(boot: Boot, fds: Given) -> anyhow::Result<Self> {
        let (mut text, mut agent, mut control) = (None, None, None);
        let (mut lock, mut heirs) = (None, None);
        let (mut http, mut tcp) = (Vec::new(), Vec::new());
        for (role, fd) in fds {
            match role {
                Role::Config => text = Some(read(fd).context("cannot read the configuration")?),
                Role::Agent => agent = Some(fd),
                // Whoever waits for the lock wants the listeners closed. The end of the process closes both.
                Role::Lock => lock = Some(ManuallyDrop::new(fd)),
                Role::Heirs => heirs = Some(fd.into()),
                // The parent's own.
                Role::Door | Role::Lifeline | Role::Visitor => {}
                Role::Control => control = Some(fd.into()),
                Role::Http => http.push(fd.into()),
                Role::Tcp(name) => tcp.push((name, fd.into())),
            }
        }
        let text = text.context("no configuration was given")?;
        let data_dir = Some((Source::Option("data-dir"), boot.data_dir));
        let overrides = Overrides { data_dir, ..environment::file_alone() };
        let mut config = Config::parse_with(&text, &boot.config_path, &overrides)?;
        config.settings.port = boot.port;
        config.settings.domain = boot.domain;
        // A worker of another version than its parent brings its own.
        let agent = agent.map_or_else(|| agent_image::memfd().context("cannot unpack the agent"), Ok)?;
        let home = Home::locate(Some(boot.home))?;
        Ok(Self { home, config, insecure_api: boot.insecure_api, agent, lock, heirs, control, http, tcp })
    }
}

/// The whole of a file that every worker shares, offset included.
fn read(fd: OwnedFd) -> std::io::Result<String> {
    let (mut file, mut text) = (File::from(fd), String::new());
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}
