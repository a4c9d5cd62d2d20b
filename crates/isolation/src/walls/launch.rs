//! From a blank shell, or one whose workload ended, to a running workload.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use insula_frames::{Ids, LaunchPlan, Probe, Step, ToAgent, ViewPlan};
use insula_linux::identity::{self, Identity};
use insula_spec::{IdRange, Launch, Level, Network};

use super::idmap::{self, IdMode};
use super::pool::Pool;
use super::sandbox::Walled;
use super::shell::{Shell, failed, unexpected};
use super::view::{self, CannotShow};
use super::{Kind, Shared};
use crate::contract::LaunchError;
use crate::fault;
use crate::link::{Answer, Link, Streams};

/// How long an agent may take from the plan to the execution of the program.
const EXECUTE: Duration = Duration::from_secs(30);

/// Starts a workload behind walls of this level.
pub(crate) async fn launch(pool: &Arc<Pool>, level: Level, launch: &Launch) -> Result<Walled, LaunchError> {
    let mut shell = pool.take(Kind { level, network: launch.network }).await?;
    shell.body.instance = Some(launch.instance.clone());
    let plan = prepare(&shell, launch).await?;
    fault::point("launch.sent");
    let app = execute(&shell.link, &mut shell.streams, &shell.body, plan).await?;
    fault::point("launch.started");
    Ok(Walled::over(shell, &launch.placement, app))
}

/// The plan of a launch and what travels beside it.
#[derive(Debug)]
pub(crate) struct Prepared {
    plan: LaunchPlan,
    fds: Vec<OwnedFd>,
}

/// Everything that the host does before the agent takes over: ids, limits, directories, the view.
async fn prepare(shell: &Shell, launch: &Launch) -> Result<Prepared, LaunchError> {
    let (kind, shared) = (shell.kind, Arc::clone(&shell.body.shared));
    let (leaves, dir) = (shell.body.leaves(), shell.body.dir());
    let agent = shell.body.agent().ok_or_else(|| LaunchError::Agent("it is gone".to_owned()))?;
    let launch = launch.clone();
    let prepared = tokio::task::spawn_blocking(move || {
        if let (Level::Namespace, Some(range)) = (kind.level, launch.ids) {
            idmap::map_range(agent.pid, range).map_err(failed("map the ids of the instance"))?;
        }
        fault::point("shell.mapped");
        if let Some(leaves) = &leaves {
            leaves
                .app()
                .apply_limits(&launch.limits)
                .map_err(|e| failed("set limits")(io::Error::other(e)))?;
        }
        fault::point("launch.limits");
        own_dir(&launch.data_dir, launch.ids)?;
        match launch.placement.socket.parent() {
            Some(dir) if kind.level == Level::Process => own_dir(dir, launch.ids)?,
            _ => own_dir(&dir.app(), launch.ids)?,
        }
        fault::point("launch.data-dir");
        let (view, mut fds) = match kind.level {
            Level::Namespace => {
                let view = view::build(&shared, &launch, &dir.app()).map_err(cannot_show)?;
                (Some(view.plan), view.mounts)
            }
            _ => (None, Vec::new()),
        };
        fds.push(dir.spill_file().map_err(failed("spill file"))?.into());
        Ok(Prepared { plan: plan(&shared, kind.level, &launch, view), fds })
    });
    prepared.await.map_err(|e| failed("prepare")(io::Error::other(e)))?
}

/// The plan of another run in the same walls.
pub(crate) fn plan_again(shared: &Shared, level: Level, launch: &Launch) -> Prepared {
    let plan = LaunchPlan { spill: false, ..plan(shared, level, launch, None) };
    Prepared { plan, fds: Vec::new() }
}

fn plan(shared: &Shared, level: Level, launch: &Launch, view: Option<ViewPlan>) -> LaunchPlan {
    let walled = level == Level::Namespace;
    let ids = match (walled, launch.ids, shared.ids) {
        (true, Some(_), _) | (true, None, IdMode::Subordinate { .. }) => {
            Some(Ids { agent_root: true, workload: IdRange::WORKLOAD })
        }
        (false, Some(range), _) => Some(Ids { agent_root: false, workload: range.workload() }),
        _ => None,
    };
    LaunchPlan {
        argv: launch.argv.clone(),
        env: launch.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        cwd: launch.workdir.to_string_lossy().into_owned(),
        ids,
        view,
        open_files: launch.limits.open_files,
        filters: if walled { shared.filters.clone() } else { Vec::new() },
        probe: Probe {
            port: launch.placement.port,
            socket: launch.placement.socket.to_string_lossy().into_owned(),
        },
        spill: true,
    }
}

/// Sends a plan and waits until the program is executed. Answers its identity.
pub(crate) async fn execute(
    link: &Link,
    streams: &mut Streams,
    body: &super::body::Body,
    prepared: Prepared,
) -> Result<Identity, LaunchError> {
    let gone = |e: crate::link::LinkLost| LaunchError::Agent(e.to_string());
    let program = prepared.plan.argv.first().cloned().unwrap_or_default();
    let cwd = prepared.plan.cwd.clone();
    link.send(&ToAgent::Launch(Box::new(prepared.plan)), prepared.fds).await.map_err(gone)?;
    let answer = tokio::time::timeout(EXECUTE, streams.answers.recv())
        .await
        .map_err(|_| LaunchError::Agent(format!("it did not execute within {} s", EXECUTE.as_secs())))?;
    match answer {
        Some(Answer::Started) => {}
        Some(Answer::Failed { step: Step::Exec, errno, .. }) => {
            return Err(LaunchError::Exec { program, source: io::Error::from_raw_os_error(errno) });
        }
        Some(Answer::Failed { step: Step::Cwd, errno, .. }) => {
            let source = io::Error::from_raw_os_error(errno);
            return Err(LaunchError::Walls { step: format!("enter the working directory `{cwd}`"), source });
        }
        other => return Err(unexpected(other)),
    }
    app_of(body).map_err(failed("find the process of the workload"))
}

/// The main process is the only child of the agent when the program was just executed. It may be over
/// already; then its pid is told without a start time, and nothing will take it for another.
fn app_of(body: &super::body::Body) -> io::Result<Identity> {
    let agent = body.agent().ok_or(io::ErrorKind::NotFound)?;
    let pid = identity::children(agent.pid)?.into_iter().next().unwrap_or(0);
    Ok(Identity::of(pid)?.unwrap_or(Identity { pid, start: 0 }))
}

/// Makes a directory that belongs to the instance alone, or leaves the one that is there, and gives its top
/// to the instance's ids.
fn own_dir(path: &Path, ids: Option<IdRange>) -> Result<(), LaunchError> {
    let on = |e| failed(&format!("directory `{}`", path.display()))(e);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(on)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(on(e)),
        _ => {}
    }
    let Some(range) = ids else { return Ok(()) };
    let found = fs::symlink_metadata(path).map_err(on)?;
    if !found.is_dir() {
        return Err(on(io::ErrorKind::NotADirectory.into()));
    }
    if found.uid() == range.workload() {
        return Ok(());
    }
    lchown(path, Some(range.workload()), Some(range.workload())).map_err(on)
}

fn cannot_show(e: CannotShow) -> LaunchError {
    LaunchError::Walls { step: format!("show `{}` inside", e.path.display()), source: e.source }
}

/// Whether a network of this kind needs a port on the host.
pub(crate) fn needs_host_port(level: Level, network: Network) -> bool {
    level == Level::Process || network == Network::Host
}
