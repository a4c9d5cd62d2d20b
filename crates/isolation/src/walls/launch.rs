//! From a blank shell, or one whose workload ended, to a running workload.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use insula_frames::{Step, ToAgent};
use insula_linux::identity::{self, Identity};
use insula_spec::{Launch, Level, Outside};

use super::body::Body;
use super::pool::Pool;
use super::prepare::{Around, Prepared, prepare, step};
use super::profile::{self, Profile};
use super::raise::raise_for;
use super::sandbox::Walled;
use super::shell::{Shell, failed, unexpected};
use super::{Kind, outside, routed};
use crate::contract::LaunchError;
use crate::fault;
use crate::link::{Answer, Link, Streams};

/// How long an agent may take from the plan to the execution of the program.
const EXECUTE: Duration = Duration::from_secs(30);

/// Starts a workload behind walls of this level.
pub(crate) async fn launch(pool: &Arc<Pool>, level: Level, launch: &Launch) -> Result<Walled, LaunchError> {
    let launched = launch_in_shell(pool, level, launch).await;
    pool.refill();
    launched
}

async fn launch_in_shell(pool: &Pool, level: Level, launch: &Launch) -> Result<Walled, LaunchError> {
    let profile = profile::of(level, launch).await?;
    let list = profile::list(level, profile.as_ref(), pool.driver())?;
    let kind = Kind { level, network: launch.network, list };
    let wake = pool.wake();
    let mut shell = pool.take(kind).await?;
    outside::check(kind, launch, &shell.link).await?;
    step("shell taken");
    let ahead = shell.borrowed.is_some();
    let plan = match make_ready(&mut shell, launch, profile.as_ref()).await {
        Err(error) if ahead => {
            tracing::warn!(%error, "walls made ahead do not fit; new ones are made");
            shell.body.take_down().await;
            shell = pool.make(kind).await?;
            make_ready(&mut shell, launch, profile.as_ref()).await?
        }
        ready => ready?,
    };
    step("prepared");
    fault::point("launch.sent");
    let around = Around::note(&shell.body, plan.shown.clone(), launch.limits);
    let app = execute(&shell.link, &mut shell.streams, &shell.body, plan).await?;
    step("executed");
    fault::point("launch.started");
    let walled = Walled::over(shell, &launch.placement, app).built_around(around).awaited(wake);
    let mut walled = walled.behind(profile.map(|profile| profile.name));
    if !kind.is_routed() {
        walled.judge_by(&Outside::of(launch));
    }
    Ok(walled)
}

/// Makes the shell this launch's.
async fn make_ready(
    shell: &mut Shell,
    launch: &Launch,
    profile: Option<&Profile>,
) -> Result<Prepared, LaunchError> {
    shell.body.settle(shell.kind, &launch.instance, &launch.placement);
    if shell.kind.is_routed() {
        routed::join(shell, launch).await?;
    }
    raise_for(shell, launch).await?;
    prepare(shell, launch, profile).await
}

/// Sends a plan and waits until the program is executed. Answers its identity.
pub(crate) async fn execute(
    link: &Link,
    streams: &mut Streams,
    body: &Body,
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
fn app_of(body: &Body) -> io::Result<Identity> {
    let agent = body.agent().ok_or(io::ErrorKind::NotFound)?;
    let pid = identity::children(agent.pid)?.into_iter().next().unwrap_or(0);
    Ok(Identity::of(pid)?.unwrap_or(Identity { pid, start: 0 }))
}
