//! `insula health`: how the daemon, or one instance, is. Exits with 1 where it is not well.

use insula_api::{Client, Condition, Health, Observed, Status};

use crate::cli::HealthArgs;
use crate::exit::Exit;
use crate::printer::Printer;

pub(super) async fn run(client: &Client, args: HealthArgs, printer: Printer) -> anyhow::Result<Exit> {
    let Some(name) = args.name else {
        printer.either(&client.health().await?, text)?;
        return Ok(Exit::Ok);
    };
    let status = client.inspect(&name).await?.summary.status;
    printer.either(&status, |status| format!("{name} {}", describe(status)))?;
    Ok(if well(&status) { Exit::Ok } else { Exit::Failed })
}

fn text(h: &Health) -> String {
    let n = h.instances;
    format!(
        "ok: insula {}, worker {} (pid {}), {}\ninstances: {} up, {} asleep, {} between, {} stopped, {} failed",
        h.version, h.epoch, h.pid, h.url, n.up, n.asleep, n.moving, n.stopped, n.failed
    )
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
