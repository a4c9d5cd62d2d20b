//! A planned restart under load.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use insula_api::Observed;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::demo::load::Load;
use crate::demo::report::{Finding, Report, time};
use crate::demo::scene::Scene;
use crate::demo::websocket::WebSocket;
use crate::stage::http::PATIENCE;

/// Clients of the load.
const CLIENTS: usize = 8;
/// How long the load runs around the restart.
const WHILE: Duration = Duration::from_millis(700);
/// More than twice the idle time of the demo's services.
const LONG: Duration = Duration::from_millis(1500);

/// `insula serve --takeover` while requests come and a WebSocket is open: nobody notices.
pub(in crate::demo) async fn planned(scene: &Scene, report: &mut Report) -> anyhow::Result<()> {
    let (load, socket) = match under_load(scene).await {
        Ok(found) => found,
        Err(error) => return report.row("planned restart under load", Err(error)),
    };
    report.row("planned restart under load", Ok(load))?;
    report.row("  a WebSocket opened before it", Ok(socket))
}

async fn under_load(scene: &Scene) -> anyhow::Result<(Finding, Finding)> {
    let place = scene.tenant("notes:alice")?;
    place.get("/counter").await?.good()?;
    let mut socket = WebSocket::open(&scene.tenant("chat:lobby")?).await?;
    socket.echo("before").await?;
    let room = scene.inspect("chat:lobby").await?.summary.app_pid;
    let before = scene.client().health().await?.pid;
    let load = Load::begin(&place, "/log?n=1", CLIENTS);
    sleep(WHILE).await;
    let took = take_over(scene).await?;
    sleep(WHILE).await;
    let outcome = load.end().await;
    if scene.client().health().await?.pid == before {
        bail!("the worker is still the same");
    }
    // A refused connection is among the failed ones.
    let (served, failed) = (outcome.served, outcome.failed.len());
    let measured = format!("{served} served, {failed} failed, took {}", time(took));
    let load = Finding::new(measured, "0 failed, 0 refused", failed == 0 && served > 0);
    // Passing time is what is shown here: the room would have gone to sleep twice.
    sleep(LONG).await;
    let echoed = socket.echo("after").await? == "after";
    let same = scene.inspect("chat:lobby").await?.summary.app_pid == room;
    drop(socket);
    scene.wait("chat:lobby", Observed::Asleep).await?;
    let measured = if echoed && same { "still open, same process, then sleep" } else { "not the same room" };
    Ok((load, Finding::new(measured, "still open, same process", echoed && same)))
}

/// How long it took until the server had gone on.
async fn take_over(scene: &Scene) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut command = Command::new("/proc/self/exe");
    command.args(["serve", "--takeover", "--config"]).arg(scene.folder().join("insula.toml"));
    command.arg("--home").arg(scene.folder().join("home")).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.context("the restart does not end")??;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(began.elapsed())
}
