//! All that it takes to start a worker: which program, which configuration, which listeners.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use anyhow::Context;

use super::activation;
use super::listen::{ListenError, Listeners};
use super::lock::Lock;
use super::plan::Plan;
use super::worker::Worker;
use crate::agent_image;
use crate::deed::Deed;
use crate::home::Home;
use crate::lifeline::{Boot, Role, VERSION};

/// All that it takes to start a worker.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) plan: Plan,
    /// Text of the configuration.
    pub(crate) config: OwnedFd,
    /// The program; `None` is the parent's own.
    pub(crate) program: Option<OwnedFd>,
    /// The agent in that program; `None` where the worker has to unpack it itself.
    pub(crate) agent: Option<OwnedFd>,
    /// `None` once asked to stop.
    pub(crate) listeners: Option<Listeners>,
    /// Public port.
    pub(crate) port: u16,
}

impl Generation {
    /// The first one: opens everything.
    pub(crate) fn first(home: &Home, plan: Plan, text: &str) -> anyhow::Result<Self> {
        let given = activation::take(&plan)?;
        let listeners = Listeners::open(&plan, home, given)?;
        Ok(Self {
            plan,
            config: agent_image::sealed("insula-config", text.as_bytes(), false)?,
            program: None,
            agent: Some(agent_image::memfd().context("cannot unpack the agent")?),
            port: listeners.port,
            listeners: Some(listeners),
        })
    }

    /// The next one of the same program, with another configuration.
    pub(crate) fn reconfigured(&self, plan: Plan, text: &str) -> anyhow::Result<Self> {
        let config = agent_image::sealed("insula-config", text.as_bytes(), false)?;
        let clone = |fd: &Option<OwnedFd>| fd.as_ref().map(OwnedFd::try_clone).transpose();
        let listeners = self.heirs_of_listeners(&plan)?;
        Ok(Self {
            plan,
            config,
            program: clone(&self.program)?,
            agent: clone(&self.agent)?,
            port: listeners.port,
            listeners: Some(listeners),
        })
    }

    /// The next one, of another program.
    pub(crate) fn upgraded(
        &self,
        plan: Plan,
        program: OwnedFd,
        config: OwnedFd,
    ) -> Result<Self, ListenError> {
        let listeners = self.heirs_of_listeners(&plan)?;
        let port = listeners.port;
        Ok(Self { plan, config, program: Some(program), agent: None, listeners: Some(listeners), port })
    }

    /// Text of the configuration. Read apart from its offset, which the workers share.
    pub(crate) fn text(&self) -> io::Result<String> {
        let file = File::from(self.config.try_clone()?);
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0)?;
        String::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }

    fn heirs_of_listeners(&self, plan: &Plan) -> Result<Listeners, ListenError> {
        let old = self.listeners.as_ref().ok_or(ListenError::Stopping)?;
        old.succeed(&self.plan, plan)
    }

    /// Starts a worker.
    pub(crate) fn launch(&self, home: &Home, lock: &Lock) -> io::Result<Worker> {
        self.start(home, lock, None)
    }

    /// Starts a worker that stands by, and in its time writes down who wanted that.
    pub(crate) fn stand_by(&self, home: &Home, lock: &Lock, deed: &Deed) -> io::Result<Worker> {
        self.start(home, lock, Some(deed))
    }

    fn start(&self, home: &Home, lock: &Lock, standby: Option<&Deed>) -> io::Result<Worker> {
        let mut fds = vec![(Role::Lock, lock.as_fd()), (Role::Config, self.config.as_fd())];
        fds.extend(self.agent.iter().map(|fd| (Role::Agent, fd.as_fd())));
        if let Some(listeners) = &self.listeners {
            fds.push((Role::Control, listeners.control.as_fd()));
            fds.push((Role::Heirs, listeners.heirs.as_fd()));
            fds.extend(listeners.http.iter().map(|l| (Role::Http, l.as_fd())));
            fds.extend(listeners.tcp.iter().map(|(name, _, l)| (Role::Tcp(name.clone()), l.as_fd())));
        }
        let boot = Boot {
            version: VERSION,
            home: home.path().to_owned(),
            config_path: self.plan.path.clone(),
            data_dir: self.plan.data_dir.clone(),
            domain: self.plan.domain.clone(),
            port: self.port,
            insecure_api: self.plan.insecure_api,
            standby: standby.is_some(),
            restart: Vec::new(),
            deed: standby.cloned(),
            fds: 0,
        };
        Worker::launch(&boot, &fds, self.program.as_ref())
    }
}
