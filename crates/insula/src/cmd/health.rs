//! `insula health`: how the daemon, or one instance, is. Exits with 1 where it is not well.

use insula_api::{Client, Condition, Health, HealthAnswer, Observed, Status};

use crate::cli::HealthArgs;
use crate::exit::Exit;
use crate::format::bytes;
use crate::printer::Printer;

pub(super) async fn run(client: &Client, args: HealthArgs, printer: Printer) -> anyhow::Result<Exit> {
    let Some(name) = args.name else {
        printer.either(&client.daemon().await?, daemon)?;
        return Ok(Exit::Ok);
    };
    let status = client.inspect(&name).await?.summary.status;
    printer.either(&status, |status| format!("{name} {}", describe(status)))?;
    Ok(if well(&status) { Exit::Ok } else { Exit::Failed })
}

fn daemon(answer: &HealthAnswer) -> String {
    match answer {
        HealthAnswer::Full(health) => text(health),
        HealthAnswer::Alive(alive) => format!("ok: insula {}, {}", alive.version, alive.url),
    }
}

fn text(h: &Health) -> String {
    let (n, f) = (h.instances, &h.footprint);
    let memory = |known: Option<u64>| known.map_or_else(|| "memory not readable".to_owned(), bytes);
    [
        format!("ok: insula {}, worker {} (pid {}), {}", h.version, h.epoch, h.pid, h.url),
        format!(
            "instances: {} up, {} asleep, {} between, {} stopped, {} failed",
            n.up, n.asleep, n.moving, n.stopped, n.failed
        ),
        format!("blank shells: {} waiting, {}", f.shells, memory(f.shells_memory_bytes)),
        format!("daemon: {}", memory(f.daemon_memory_bytes)),
    ]
    .join("\n")
}

fn describe(status: &Status) -> String {
    match status.health {
        Some(health) if status.observed == Observed::Running => {
            format!("{}, {}", status.observed, health.as_str())
        }
        _ => format!("{}: {}", status.observed, status.why),
    }
}

/// An instance that sleeps or was stopped on purpose is well.
fn well(status: &Status) -> bool {
    let given_up = matches!(status.observed, Observed::Failed | Observed::BackingOff);
    !given_up && status.health != Some(Condition::Unhealthy)
}

#[cfg(test)]
mod tests {
    use insula_api::{Counts, Footprint, Timestamp};

    use super::*;

    #[test]
    fn the_daemon_tells_what_it_holds_and_uses() {
        let health = Health {
            version: "0.1.0".into(),
            pid: 7,
            epoch: 2,
            since: Timestamp::from_micros(0),
            url: "http://localhost:8080/".into(),
            config: "/srv/insula.toml".into(),
            instances: Counts { up: 1, asleep: 2, ..Counts::default() },
            footprint: Footprint {
                shells: 2,
                shells_memory_bytes: Some(1_572_864),
                pools: Vec::new(),
                daemon_memory_bytes: None,
            },
        };
        insta::assert_snapshot!(text(&health), @r"
        ok: insula 0.1.0, worker 2 (pid 7), http://localhost:8080/
        instances: 1 up, 2 asleep, 0 between, 0 stopped, 0 failed
        blank shells: 2 waiting, 1.5 MiB
        daemon: memory not readable
        ");
    }
}
