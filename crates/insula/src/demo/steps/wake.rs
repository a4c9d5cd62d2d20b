//! Waking.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use insula_api::Observed;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::demo::apps::free_port;
use crate::demo::report::{Finding, median, time};
use crate::demo::scene::Scene;
use crate::stage::http::{PATIENCE, Place};

/// Wakes that are measured.
const ROUNDS: usize = 3;
/// What a wake may take beyond the app's own start. Most of it is slack for a busy machine.
const SLACK: Duration = Duration::from_millis(100);

/// The first request to a sleeping tenant, against the same program started by hand.
pub(in crate::demo) async fn first_request(scene: &Scene) -> anyhow::Result<Finding> {
    let place = scene.tenant("notes:alice")?;
    let (mut woken, mut by_hand) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        scene.wait("notes:alice", Observed::Asleep).await?;
        by_hand.push(start_by_hand(scene).await?);
        woken.push(place.get("/health").await?.good()?.first_byte);
    }
    let (woken, by_hand) = (median(woken), median(by_hand));
    let limit = by_hand * 3 / 2 + SLACK;
    let measured = format!("{} (by hand {})", time(woken), time(by_hand));
    Ok(Finding::new(measured, format!("at most {}", time(limit)), woken <= limit))
}

/// Starts the notes app without Insula; time until its first answer.
async fn start_by_hand(scene: &Scene) -> anyhow::Result<Duration> {
    let port = free_port()?;
    let place = Place { address: ([127, 0, 0, 1], port).into(), host: "localhost".to_owned() };
    let began = Instant::now();
    let mut app = Command::new("/usr/bin/python3")
        .arg("app.py")
        .current_dir(scene.folder().join("notes"))
        .env("PORT", port.to_string())
        .env("DATABASE_PATH", scene.folder().join("by-hand.db"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start `/usr/bin/python3`")?;
    let answered = timeout(PATIENCE, first_answer(&place)).await.context("the app by hand does not answer");
    let took = began.elapsed();
    app.kill()?;
    app.wait()?;
    answered.map(|()| took)
}

/// Nothing tells that a process listens now, so this tries again every millisecond.
async fn first_answer(place: &Place) {
    while place.get("/health").await.is_err() {
        sleep(Duration::from_millis(1)).await;
    }
}

/// A hundred requests to a sleeping tenant at the same moment.
pub(in crate::demo) async fn hundred(scene: &Scene) -> anyhow::Result<Finding> {
    let place = scene.tenant("notes:bob")?;
    scene.wait("notes:bob", Observed::Asleep).await?;
    let before = scene.inspect("notes:bob").await?.summary.wakes;
    let mut asks = JoinSet::new();
    for _ in 0..100 {
        let place = place.clone();
        asks.spawn(async move { place.get("/counter").await?.good()?.json() });
    }
    let mut counters = BTreeSet::new();
    let mut processes = BTreeSet::new();
    let mut failed = 0;
    for answer in asks.join_all().await {
        match answer {
            Ok(value) => {
                counters.insert(value["counter"].to_string());
                processes.insert(value["started"].to_string());
            }
            Err(_) => failed += 1,
        }
    }
    let wakes = scene.inspect("notes:bob").await?.summary.wakes - before;
    let good = (counters.len(), processes.len(), wakes, failed) == (100, 1, 1, 0);
    let measured = format!("{} answered, {} process, {wakes} wake", counters.len(), processes.len());
    Ok(Finding::new(measured, "100 answered, 1 process, 1 wake", good))
}
