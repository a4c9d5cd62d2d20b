//! A new version takes the place of the old one under load; one that is ill never does.

use std::time::Duration;

use anyhow::bail;
use insula_api::{ClientError, DeployRequest};
use insula_spec::{InstanceId, InstanceName};
use tokio::time::sleep;

use crate::demo::load::Load;
use crate::demo::report::{Finding, Report};
use crate::demo::scene::Scene;
use crate::stage::http::Place;

/// Clients of the load.
const CLIENTS: usize = 8;
/// How long the load runs before and after each change.
const WHILE: Duration = Duration::from_millis(400);
/// Requests that look who answers.
const LOOKS: usize = 20;
/// How long the ill version has to become healthy, in milliseconds.
const ILL_FOR: u64 = 1_000;

/// Blue-green and back under load, then a deploy that must fail.
pub(in crate::demo) async fn versions(scene: &Scene, report: &mut Report) -> anyhow::Result<()> {
    report.row("blue-green and back under load", blue_green(scene).await)?;
    report.row("  a version that is never healthy", ill(scene).await)
}

async fn blue_green(scene: &Scene) -> anyhow::Result<Finding> {
    let place = scene.service("api");
    deploy(scene, "api:v1", DeployRequest::default()).await?;
    let load = Load::begin(&place, "/", CLIENTS);
    sleep(WHILE).await;
    deploy(scene, "api:v2", DeployRequest { weight: Some(0), ..DeployRequest::default() }).await?;
    let mut seen = vec![who_answers(&place).await?];
    for (from, to) in [("v1", "v2"), ("v2", "v1"), ("v1", "v2")] {
        let between: (InstanceId, InstanceId) = (from.parse()?, to.parse()?);
        scene.client().route(&"api".parse()?, between, None).await?;
        seen.push(who_answers(&place).await?);
        sleep(WHILE).await;
    }
    let outcome = load.end().await;
    let (served, failed, order) = (outcome.served, outcome.failed.len(), seen.join(" "));
    let good = failed == 0 && served > 0 && order == "v1 v2 v1 v2";
    Ok(Finding::new(format!("{order}: {served} served, {failed} failed"), "v1 v2 v1 v2, 0 failed", good))
}

async fn ill(scene: &Scene) -> anyhow::Result<Finding> {
    let request = DeployRequest { timeout_ms: Some(ILL_FOR), ..DeployRequest::default() };
    let Err(error) = deploy(scene, "api:broken", request).await else { bail!("it was deployed") };
    let Some(ClientError::Problem(problem)) = error.downcast_ref() else { return Err(error) };
    let still = who_answers(&scene.service("api")).await?;
    let good = problem.code.starts_with("not_healthy") && still == "v2";
    Ok(Finding::new(format!("{}, {still} answers", problem.code), "not_healthy, v2 answers", good))
}

async fn deploy(scene: &Scene, version: &str, request: DeployRequest) -> anyhow::Result<()> {
    let name: InstanceName = version.parse()?;
    Ok(scene.client().deploy(&name, &request).await.map(drop)?)
}

/// The one version that answers now.
async fn who_answers(place: &Place) -> anyhow::Result<String> {
    let mut seen = Vec::new();
    for _ in 0..LOOKS {
        let answer = place.get("/").await?.good()?.json()?;
        seen.push(answer["version"].as_str().unwrap_or("nobody").to_owned());
    }
    seen.dedup();
    Ok(seen.join("+"))
}
