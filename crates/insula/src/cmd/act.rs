//! `insula spawn`, `stop`, `restart`: change one instance and wait for the outcome.

use insula_api::{Client, Summary};

use crate::cli::ActArgs;
use crate::exit::Exit;
use crate::printer::Printer;

pub(super) async fn spawn(client: &Client, args: ActArgs, printer: Printer) -> anyhow::Result<Exit> {
    done(client.spawn(&args.name, args.timeout).await?, printer)
}

pub(super) async fn stop(client: &Client, args: ActArgs, printer: Printer) -> anyhow::Result<Exit> {
    done(client.stop(&args.name, args.timeout).await?, printer)
}

pub(super) async fn restart(client: &Client, args: ActArgs, printer: Printer) -> anyhow::Result<Exit> {
    done(client.restart(&args.name, args.timeout).await?, printer)
}

fn done(summary: Summary, printer: Printer) -> anyhow::Result<Exit> {
    printer.either(&summary, text)?;
    Ok(Exit::Ok)
}

fn text(i: &Summary) -> String {
    let level = i.level.map(|l| format!(" at level {l}")).unwrap_or_default();
    match i.app_pid {
        Some(pid) => format!("{} {}{level}, pid {pid}, {}", i.name, i.status.observed, i.url),
        None => format!("{} {}", i.name, i.status.observed),
    }
}
