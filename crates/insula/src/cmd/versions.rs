//! `insula deploy`, `route`, `weight`: versions, and who of them answers.

use std::collections::BTreeMap;
use std::time::Duration;

use insula_api::{Client, DeployRequest, Deployed, Routes, Strategy, Timestamp, Version};
use insula_spec::InstanceId;

use crate::cli::versions::{DeployArgs, RouteArgs, StrategyArg, WeightArgs};
use crate::exit::Exit;
use crate::format;
use crate::printer::{Printer, table};

const HEADINGS: [&str; 6] = ["VERSION", "WEIGHT", "SHARE", "STATE", "DEPLOYED", "URL"];

pub(super) async fn deploy(client: &Client, args: DeployArgs, printer: Printer) -> anyhow::Result<Exit> {
    let strategy = args.strategy.map(|strategy| match strategy {
        StrategyArg::Replace => Strategy::Replace,
        StrategyArg::Rolling => Strategy::Rolling,
    });
    let ms = |time: Duration| u64::try_from(time.as_millis()).ok();
    let request = DeployRequest {
        weight: args.weight,
        strategy,
        keep: args.keep,
        steps: args.steps,
        pause_ms: args.pause.and_then(ms),
        timeout_ms: ms(args.timeout),
    };
    let deployed = client.deploy(&args.name, &request).await?;
    printer.either(&deployed, |d| deployed_text(d, Timestamp::now()))?;
    Ok(Exit::Ok)
}

pub(super) async fn route(client: &Client, args: RouteArgs, printer: Printer) -> anyhow::Result<Exit> {
    let routes = match (args.from, args.to) {
        (Some(from), Some(to)) => client.route(&args.service, (from, to), Some(args.timeout)).await?,
        _ => client.routes(&args.service).await?,
    };
    show(&routes, printer)
}

pub(super) async fn weight(client: &Client, args: WeightArgs, printer: Printer) -> anyhow::Result<Exit> {
    let weights: BTreeMap<InstanceId, u8> = args.weights.into_iter().map(|w| (w.id, w.weight)).collect();
    show(&client.weight(&args.service, weights).await?, printer)
}

fn show(routes: &Routes, printer: Printer) -> anyhow::Result<Exit> {
    if routes.versions.is_empty() && !printer.json {
        printer.talk(&format!("no versions; run `insula deploy {}:ID`", routes.service));
        return Ok(Exit::Ok);
    }
    printer.either(routes, |routes| versions_text(&routes.versions, Timestamp::now()))?;
    Ok(Exit::Ok)
}

fn deployed_text(d: &Deployed, now: Timestamp) -> String {
    let mut text = format!("{} {}, {}", d.name, d.status.observed, d.url);
    if d.tenant {
        return text;
    }
    for (names, word) in [(&d.slept, "put to sleep"), (&d.forgotten, "forgotten")] {
        for name in names {
            text += &format!("\n{name} {word}");
        }
    }
    format!("{text}\n{}", versions_text(&d.versions, now))
}

fn versions_text(versions: &[Version], now: Timestamp) -> String {
    table(&HEADINGS, versions.iter().map(|version| row(version, now)).collect())
}

fn row(version: &Version, now: Timestamp) -> Vec<String> {
    let deployed = version.deployed.map(|at| format::age(now.since(at)));
    vec![
        version.id.to_string(),
        version.weight.to_string(),
        format!("{:.1}%", version.share),
        version.status.observed.to_string(),
        format::or_dash(deployed),
        version.url.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use insula_api::{Observed, Status, Wanted};

    use super::*;

    fn version(id: &str, weight: u8, share: f64) -> Version {
        Version {
            id: id.parse().unwrap(),
            weight,
            share,
            deployed: (weight > 0).then(|| Timestamp::from_micros(1_000_000)),
            status: Status {
                observed: Observed::Running,
                wanted: Wanted::Up,
                since: Timestamp::from_micros(0),
                why: String::new(),
                health: None,
            },
            url: format!("http://{id}.api.localhost/"),
        }
    }

    #[test]
    fn a_deploy_tells_what_answers_now() {
        let deployed = Deployed {
            name: "api:v3".parse().unwrap(),
            tenant: false,
            status: version("v3", 0, 0.0).status,
            url: "http://v3.api.localhost/".into(),
            versions: vec![version("v2", 0, 0.0), version("v3", 100, 100.0)],
            slept: vec!["api:v2".parse().unwrap()],
            forgotten: vec!["api:v1".parse().unwrap()],
        };
        insta::assert_snapshot!(deployed_text(&deployed, Timestamp::from_micros(61_000_000)), @r"
        api:v3 running, http://v3.api.localhost/
        api:v2 put to sleep
        api:v1 forgotten
        VERSION  WEIGHT  SHARE   STATE    DEPLOYED  URL
        v2       0       0.0%    running  -         http://v2.api.localhost/
        v3       100     100.0%  running  1m        http://v3.api.localhost/
        ");
    }
}
