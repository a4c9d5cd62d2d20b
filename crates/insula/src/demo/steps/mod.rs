//! What the demo does, in order.

mod end;
mod kills;
mod levels;
mod sleep;
mod streams;
mod takeover;
mod versions;
mod wake;

pub(super) use end::end;

use super::report::{Finding, Report, time};
use super::scene::Scene;

/// Every step but the last.
///
/// # Errors
/// Only when nobody reads the table any more; a step that fails is a row.
pub(super) async fn all(scene: &Scene, report: &mut Report) -> anyhow::Result<()> {
    let ready = scene.ready_after();
    let started = Finding::new(time(ready), "under 5 s", ready.as_secs() < 5);
    report.row("the server starts", Ok(started))?;
    report.row("first request to a sleeping tenant", wake::first_request(scene).await)?;
    report.row("two tenants' data are apart", sleep::apart(scene).await)?;
    report.row("an idle tenant sleeps", sleep::idle(scene).await)?;
    report.row("its data is there after the wake", sleep::kept(scene).await)?;
    report.row("100 first requests at once", wake::hundred(scene).await)?;
    report.row("a WebSocket wakes a room and keeps it awake", streams::chat(scene).await)?;
    report.row("Redis over raw TCP sleeps and keeps its data", streams::redis(scene).await)?;
    report.row("a frozen tenant wakes", sleep::frozen(scene).await)?;
    report.row("kill -9 of an app under load", kills::app(scene).await)?;
    kills::worker(scene, report).await?;
    versions::versions(scene, report).await?;
    takeover::planned(scene, report).await?;
    levels::levels(scene, report).await
}
