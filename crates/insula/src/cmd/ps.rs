//! `insula ps`: which instances there are and what they do.

use insula_api::{Client, Condition, Instances, Status, Summary, Timestamp};

use crate::cli::PsArgs;
use crate::exit::Exit;
use crate::format;
use crate::printer::{Printer, table};

const HEADINGS: [&str; 9] = ["NAME", "STATE", "SINCE", "LEVEL", "PID", "RESTARTS", "WAKES", "MEMORY", "URL"];

pub(super) async fn run(client: &Client, args: PsArgs, printer: Printer) -> anyhow::Result<Exit> {
    let mut all = client.instances().await?;
    if let Some(service) = args.service {
        all.instances.retain(|i| i.name.service == service);
    }
    if all.instances.is_empty() && !printer.json {
        printer.talk("no instances; declare some under `[instances]`, or run `insula spawn SERVICE:ID`");
        return Ok(Exit::Ok);
    }
    printer.either(&all, |all| text(all, Timestamp::now()))?;
    Ok(Exit::Ok)
}

fn text(all: &Instances, now: Timestamp) -> String {
    table(&HEADINGS, all.instances.iter().map(|i| row(i, now)).collect())
}

fn row(i: &Summary, now: Timestamp) -> Vec<String> {
    let memory = i.usage.memory_bytes.map(format::bytes);
    vec![
        i.name.to_string(),
        state(&i.status),
        format::age(now.since(i.status.since)),
        format::or_dash(i.level),
        format::or_dash(i.app_pid),
        i.restarts.to_string(),
        i.wakes.to_string(),
        format::or_dash(memory),
        i.url.clone(),
    ]
}

/// What it does; how well, where that is worth knowing.
fn state(status: &Status) -> String {
    match status.health {
        Some(ill @ (Condition::Degraded | Condition::Unhealthy)) => ill.as_str().to_owned(),
        _ => status.observed.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use insula_api::{Observed, Usage, Wanted};
    use insula_spec::Level;

    use super::*;

    fn summary(name: &str, observed: Observed) -> Summary {
        Summary {
            name: name.parse().unwrap(),
            status: Status {
                observed,
                wanted: Wanted::Asleep,
                since: Timestamp::from_micros(1_000_000),
                why: String::new(),
                health: None,
            },
            level: None,
            app_pid: None,
            restarts: 0,
            wakes: 3,
            disk_bytes: None,
            usage: Usage::default(),
            url: format!("http://{name}/"),
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_instance() {
        let running = Summary {
            level: Some(Level::Namespace),
            app_pid: Some(4711),
            usage: Usage { memory_bytes: Some(12 << 20), ..Usage::default() },
            ..summary("notes:alice", Observed::Running)
        };
        let mut ill = summary("notes:eve", Observed::Running);
        ill.status.health = Some(Condition::Degraded);
        let all = Instances { instances: vec![running, summary("notes:bob", Observed::Asleep), ill] };
        insta::assert_snapshot!(text(&all, Timestamp::from_micros(301_000_000)), @r"
        NAME         STATE     SINCE  LEVEL      PID   RESTARTS  WAKES  MEMORY    URL
        notes:alice  running   5m     namespace  4711  0         3      12.0 MiB  http://notes:alice/
        notes:bob    asleep    5m     -          -     0         3      -         http://notes:bob/
        notes:eve    degraded  5m     -          -     0         3      -         http://notes:eve/
        ");
    }
}
