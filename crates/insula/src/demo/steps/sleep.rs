//! Sleeping, and what is kept.

use anyhow::Context;
use insula_api::Observed;
use tokio::time::Instant;

use crate::demo::report::{Finding, median, time};
use crate::demo::scene::Scene;

/// Frozen wakes that are measured.
const ROUNDS: usize = 10;
/// What a frozen wake may take, in milliseconds; on a quiet machine it takes about one.
const FROZEN_LIMIT_MS: u128 = 10;

/// Two tenants write; each reads only its own.
pub(in crate::demo) async fn apart(scene: &Scene) -> anyhow::Result<Finding> {
    let (alice, bob) = (scene.tenant("notes:alice")?, scene.tenant("notes:bob")?);
    for text in ["milk", "bread"] {
        alice.post("/notes", &format!("{{\"text\": \"{text}\"}}")).await?.good()?;
    }
    bob.post("/notes", "{\"text\": \"nails\"}").await?.good()?;
    let (of_alice, of_bob) = (alice.get("/notes").await?.good()?.body, bob.get("/notes").await?.good()?.body);
    let count = |body: &str| body.matches("\"text\"").count();
    let good = count(&of_alice) == 2
        && count(&of_bob) == 1
        && !of_alice.contains("nails")
        && !of_bob.contains("milk");
    let measured = format!("alice sees {}, bob sees {}", count(&of_alice), count(&of_bob));
    Ok(Finding::new(measured, "alice sees 2, bob sees 1", good))
}

/// Without requests a tenant's processes end.
pub(in crate::demo) async fn idle(scene: &Scene) -> anyhow::Result<Finding> {
    scene.tenant("notes:alice")?.get("/notes").await?.good()?;
    let began = Instant::now();
    scene.wait("notes:alice", Observed::Asleep).await?;
    let took = began.elapsed();
    let processes = scene.inspect("notes:alice").await?.processes;
    let measured = format!("after {}, {} process", time(took), usize::from(processes.is_some()));
    let good = (600..3_000).contains(&took.as_millis()) && processes.is_none();
    Ok(Finding::new(measured, "after 0.7 s, 0 process", good))
}

/// The notes written before the sleep.
pub(in crate::demo) async fn kept(scene: &Scene) -> anyhow::Result<Finding> {
    scene.wait("notes:alice", Observed::Asleep).await?;
    let body = scene.tenant("notes:alice")?.get("/notes").await?.good()?.body;
    let notes = body.matches("\"text\"").count();
    Ok(Finding::new(format!("{notes} notes"), "2 notes", notes == 2))
}

/// A frozen tenant answers at once, from the same memory.
pub(in crate::demo) async fn frozen(scene: &Scene) -> anyhow::Result<Finding> {
    let place = scene.tenant("hello:web")?;
    let first = place.get("/").await?.good()?.json()?;
    let from = first["counter"].as_u64().context("no counter in the answer")?;
    let mut took = Vec::new();
    let mut last = first.clone();
    for _ in 0..ROUNDS {
        scene.wait("hello:web", Observed::Frozen).await?;
        let answer = place.get("/").await?.good()?;
        took.push(answer.first_byte);
        last = answer.json()?;
    }
    let same = last["pid"] == first["pid"] && last["counter"].as_u64() == Some(from + ROUNDS as u64);
    let middle = median(took);
    let memory = if same { "same memory" } else { "another memory" };
    let wanted = format!("at most {FROZEN_LIMIT_MS} ms, same memory");
    Ok(Finding::new(
        format!("{}, {memory}", time(middle)),
        wanted,
        same && middle.as_millis() < FROZEN_LIMIT_MS,
    ))
}
