//! Processes killed under load.

use std::time::Duration;

use anyhow::{Context, bail};
use insula_api::LogsQuery;
use tokio::time::{Instant, sleep, timeout};

use crate::demo::load::Load;
use crate::demo::report::{Finding, Report, time};
use crate::demo::scene::{Scene, kill};
use crate::stage::http::PATIENCE;

/// Clients of the load; as many requests are in flight at most.
const CLIENTS: usize = 8;
/// How long the load runs before and after a kill.
const WHILE: Duration = Duration::from_millis(700);

/// An app is killed: noticed, started again, requests after that are answered.
pub(in crate::demo) async fn app(scene: &Scene) -> anyhow::Result<Finding> {
    let place = scene.tenant("notes:carol")?;
    place.get("/counter").await?.good()?;
    let before = scene.inspect("notes:carol").await?.summary;
    let load = Load::begin(&place, "/counter", CLIENTS);
    sleep(WHILE).await;
    kill(before.app_pid.context("`notes:carol` has no process")?).await?;
    let killed = Instant::now();
    sleep(WHILE).await;
    let outcome = load.end().await;
    let back = outcome.answered_after(killed).context("nothing was answered after the kill")?;
    let restarts = scene.inspect("notes:carol").await?.summary.restarts - before.restarts;
    let failed = outcome.failed.len();
    let measured = format!("{} served, {failed} failed, back in {}", outcome.served, time(back));
    let good = failed <= CLIENTS && restarts == 1 && back < Duration::from_secs(1);
    Ok(Finding::new(measured, format!("at most {CLIENTS} failed, under 1 s"), good))
}

/// The worker is killed: no tenant notices, and no line is lost.
pub(in crate::demo) async fn worker(scene: &Scene, report: &mut Report) -> anyhow::Result<()> {
    let shown = worker_under_load(scene).await;
    let (served, after, memory, logs) = match shown {
        Ok(found) => found,
        Err(error) => return report.row("kill -9 of the worker under load", Err(error)),
    };
    report.row("kill -9 of the worker under load", Ok(served))?;
    report.row("  connects after it", Ok(after))?;
    report.row("  the app's process and memory", Ok(memory))?;
    report.row("  the app's numbered log lines", Ok(logs))
}

type Found = (Finding, Finding, Finding, Finding);

async fn worker_under_load(scene: &Scene) -> anyhow::Result<Found> {
    let place = scene.tenant("notes:alice")?;
    let first = place.get("/counter").await?.good()?;
    let worker = i32::try_from(scene.client().health().await?.pid)?;
    let load = Load::begin(&place, "/log?n=1", CLIENTS);
    sleep(WHILE).await;
    kill(worker).await?;
    let killed = Instant::now();
    sleep(WHILE).await;
    let outcome = load.end().await;
    let (failed, late) = (outcome.failed.len(), outcome.failed_after(killed));
    let served = Finding::new(
        format!("{} served, {failed} failed", outcome.served),
        format!("at most {CLIENTS} failed (in flight)"),
        failed <= CLIENTS,
    );
    let back = outcome.answered_after(killed).context("nothing was answered after the kill")?;
    let after = Finding::new(format!("{late} failed, first answer in {}", time(back)), "0 failed", late == 0);
    let second = place.get("/counter").await?.good()?;
    Ok((served, after, memory(&first.json()?, &second.json()?), lines(scene).await?))
}

/// The same process, and a counter that went on.
fn memory(first: &serde_json::Value, second: &serde_json::Value) -> Finding {
    let same = ["pid", "started"].iter().all(|name| first[name] == second[name]);
    let counters = (first["counter"].as_u64(), second["counter"].as_u64());
    let on = matches!(counters, (Some(a), Some(b)) if b == a + 1);
    let measured = match (same, on) {
        (true, true) => "same pid and start, counter goes on",
        (true, false) => "same process, but another counter",
        (false, _) => "another process",
    };
    Finding::new(measured, "the same as before", same && on)
}

/// Reads the log until the last line that the app printed, and looks for gaps.
async fn lines(scene: &Scene) -> anyhow::Result<Finding> {
    let last = scene.tenant("notes:alice")?.get("/log?n=1").await?.good()?.number("last")?;
    let query = LogsQuery { tail: None, follow: true, after: None };
    let mut stream = scene.client().logs(&"notes:alice".parse()?, query).await?;
    let mut numbers = Vec::new();
    let reading = async {
        while let Some(line) = stream.next().await? {
            let number = line.text.strip_prefix("line ").and_then(|n| n.parse::<i64>().ok());
            // The app counts anew each time it is started.
            if number == Some(1) {
                numbers.clear();
            }
            numbers.extend(number);
            if number == Some(last) {
                return Ok(());
            }
        }
        bail!("the log ended before line {last}")
    };
    timeout(PATIENCE, reading).await.with_context(|| format!("line {last} never came"))??;
    let whole = numbers.iter().copied().eq(1..=last);
    let measured = format!("{} of {last}, {}", numbers.len(), if whole { "in order" } else { "with gaps" });
    Ok(Finding::new(measured, "all, in order", whole))
}
