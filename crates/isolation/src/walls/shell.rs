//! Making a blank shell: walls with a waiting agent and no workload.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use insula_frames::{Setup, ToAgent, Walls};
use insula_linux::cgroup::{Leaf, Leaves, Plan};
use insula_linux::identity::Identity;
use insula_linux::routed::Wire;
use insula_spec::Limits;
use tokio::process::Command;

use super::body::Body;
use super::borrow::{Borrowed, Token};
use super::idmap::{self, IdMode};
use super::rundir::RunDir;
use super::{Kind, Shared};
use crate::contract::LaunchError;
use crate::fault;
use crate::link::{Answer, Link, Streams};

/// How long raising the walls may take. It takes milliseconds; under heavy load, more.
const SETUP: Duration = Duration::from_secs(30);

/// Walls with a waiting agent. Dropping it takes everything down.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) kind: Kind,
    pub(crate) link: Link,
    pub(crate) streams: Streams,
    pub(crate) body: Body,
    /// Where the agent shall put log lines that nobody takes; until the launch.
    pub(crate) spill: Option<File>,
    /// Whether an agent waits behind a wall with a kernel of its own.
    pub(crate) raised: bool,
    /// Ids that were mapped before it was known for whom.
    pub(crate) borrowed: Option<Borrowed>,
    /// The way out of its network, closed, where it was laid before it was known for whom.
    pub(crate) wire: Option<Wire>,
}

impl Shell {
    /// Whether its agent still lives: a pooled shell may have been killed since it was made.
    pub(crate) fn is_alive(&self) -> bool {
        self.body.agent().is_some_and(|agent| agent.lives().unwrap_or(false))
            && !self.streams.answers.is_closed()
    }
}

pub(crate) fn failed(step: &str) -> impl FnOnce(io::Error) -> LaunchError {
    let step = step.to_owned();
    move |source| LaunchError::Walls { step, source }
}

/// A fresh key: the level's letter and 60 random bits. All keys have the same length, so none is a prefix of
/// another.
fn new_key(kind: Kind) -> Result<String, LaunchError> {
    let mut bytes = [0u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| failed("name the walls")(e.into()))?;
    Ok(format!("{}{:015x}", Kind::prefix(kind.level), u64::from_le_bytes(bytes) >> 4))
}

/// Makes a blank shell, whose agent holds `token`.
pub(crate) async fn make(
    shared: &Arc<Shared>,
    kind: Kind,
    token: Option<Token>,
) -> Result<Shell, LaunchError> {
    let made = tokio::time::timeout(SETUP, raise(shared, kind, token)).await;
    made.unwrap_or_else(|_| Err(failed("raise the walls")(io::ErrorKind::TimedOut.into())))
}

async fn raise(shared: &Arc<Shared>, kind: Kind, token: Option<Token>) -> Result<Shell, LaunchError> {
    tracing::trace!(target: "insula::wake", at = "shell begun");
    let mut body = Body::new(Arc::clone(shared), new_key(kind)?);
    let Places { listener, spill } = make_places(&mut body).await?;
    tracing::trace!(target: "insula::wake", at = "shell places");
    let (ours, theirs) = UnixStream::pair().map_err(failed("socket pair"))?;
    let mut stage0 = Command::new(shared.agent_path())
        .arg0("insula-agent")
        .arg(&body.key)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed("start the agent"))?;
    tracing::trace!(target: "insula::wake", at = "shell spawned");
    fault::point("shell.spawned");
    let (link, mut streams) = Link::open(ours, 0).map_err(failed("socket pair"))?;
    send_setup(kind, &body, (listener, token), &link).await?;
    fault::point("shell.setup-sent");
    let pid = match streams.answers.recv().await {
        Some(Answer::ShellReady { pid }) => pid,
        other => return Err(unexpected(other)),
    };
    body.add_agent(pid, None).map_err(failed("find the agent"))?;
    tracing::trace!(target: "insula::wake", at = "shell ready");
    fault::point("shell.ready");
    // It has done its part; its child is the agent.
    stage0.wait().await.map_err(failed("wait for the first stage of the agent"))?;
    tracing::trace!(target: "insula::wake", at = "shell made");
    if let (IdMode::Subordinate { uid, gid }, true) = (shared.ids, kind.walls(shared).has(Walls::MOUNT)) {
        idmap::map_subordinate(pid, uid, gid).await.map_err(failed("map subordinate ids"))?;
    }
    Ok(Shell { kind, link, streams, body, spill: Some(spill), raised: false, borrowed: None, wire: None })
}

/// What a shell needs on the host's file systems, beside its directory and control groups.
#[derive(Debug)]
struct Places {
    /// The socket for adoption.
    listener: OwnedFd,
    spill: File,
}

async fn make_places(body: &mut Body) -> Result<Places, LaunchError> {
    let (shared, key) = (Arc::clone(&body.shared), body.key.clone());
    let made = body.blocking(move || {
        let dir = RunDir::create(shared.run_dir_of(&key)).map_err(failed("run directory"))?;
        fault::point("shell.run-dir");
        let listener = dir.bind_agent_socket().map_err(failed("agent socket"))?;
        let spill = dir.spill_file().map_err(failed("spill file"))?;
        let leaves = match Plan::for_limits(&shared.layout, &shared.home_id, &key, &Limits::default()) {
            Ok(plan) => {
                Some(Leaves::create(&plan).map_err(|e| failed("control groups")(io::Error::other(e)))?)
            }
            Err(_) => None,
        };
        fault::point("shell.cgroup");
        Ok((Places { listener, spill }, leaves))
    });
    let (places, leaves) =
        made.await.map_err(|e| failed("run directory")(io::Error::other(e))).and_then(|made| made)?;
    if let Some(leaves) = leaves {
        body.add_leaves(leaves);
    }
    Ok(places)
}

async fn send_setup(
    kind: Kind,
    body: &Body,
    (listener, token): (OwnedFd, Option<Token>),
    link: &Link,
) -> Result<(), LaunchError> {
    let shared = &body.shared;
    let groups = |leaf: fn(&Leaves) -> &Leaf| match body.leaves() {
        Some(leaves) => leaf(&leaves).join_fds().map_err(|e| failed("control groups")(io::Error::other(e))),
        None => Ok(Vec::new()),
    };
    let (agent, app) = (groups(Leaves::agent)?, groups(Leaves::app)?);
    let count = |fds: &[OwnedFd]| u8::try_from(fds.len()).unwrap_or(u8::MAX);
    let walls = kind.walls(shared);
    let setup = ToAgent::Setup(Setup {
        key: body.key.clone(),
        epoch: shared.epoch,
        walls,
        map_self: map_self(shared, walls),
        agent_groups: count(&agent),
        app_groups: count(&app),
        token: token.is_some(),
        filters: kind.filters(shared).to_vec(),
    });
    let fds = agent.into_iter().chain(app).chain([listener]).chain(token).collect();
    link.send(&setup, fds).await.map_err(|e| LaunchError::Agent(e.to_string()))
}

/// The id that an ordinary user has inside: its own where it keeps the host's files in view, else that of
/// the workload.
fn map_self(shared: &Shared, walls: Walls) -> Option<u32> {
    match shared.ids {
        _ if !walls.has(Walls::USER) => None,
        IdMode::Ranges => None,
        _ if !walls.has(Walls::MOUNT) => Some(rustix::process::geteuid().as_raw()),
        IdMode::Single => Some(insula_spec::IdRange::WORKLOAD),
        IdMode::Subordinate { .. } => None,
    }
}

/// What to say of an answer that is not the one that was waited for.
pub(crate) fn unexpected(answer: Option<Answer>) -> LaunchError {
    match answer {
        None => LaunchError::Agent("it ended before it answered".to_owned()),
        Some(Answer::Failed { step, errno, detail }) => {
            let source = if errno == 0 {
                io::Error::other(detail.clone())
            } else {
                io::Error::from_raw_os_error(errno)
            };
            LaunchError::Walls { step: format!("{} ({detail})", step.as_str()), source }
        }
        Some(other) => LaunchError::Agent(format!("unexpected answer {other:?}")),
    }
}

/// Whether a process with this identity is the peer at the other end of a socket.
pub(crate) fn peer_is(socket: &OwnedFd, agent: Identity) -> io::Result<bool> {
    let peer = rustix::net::sockopt::socket_peercred(socket.as_fd())?;
    Ok(peer.pid.as_raw_nonzero().get() == agent.pid && agent.lives()?)
}
