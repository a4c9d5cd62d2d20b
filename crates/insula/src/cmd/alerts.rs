//! `insula alerts`: who is told when something goes wrong.

use insula_api::{AlertWebhook, Alerts, Client, Timestamp};
use serde::Serialize;

use super::config;
use crate::alerts::{Message, Origin, Poster};
use crate::cli::{AlertsTestArgs, AlertsVerb};
use crate::environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::format;
use crate::home::Home;
use crate::printer::{Printer, table};

const HEADINGS: [&str; 7] = ["NAME", "URL", "DELIVERED", "FAILED", "GIVEN UP", "LAST SUCCESS", "LAST ERROR"];

/// How a receiver answered a test.
#[derive(Debug, Serialize)]
struct Tested {
    name: String,
    delivery: String,
    status: u16,
    answer: String,
}

pub(super) async fn run(
    (client, home): (&Client, &Home),
    verb: AlertsVerb,
    printer: Printer,
) -> anyhow::Result<Exit> {
    match verb {
        AlertsVerb::Ls => list(client, printer).await,
        AlertsVerb::Test(args) => test(home, args, printer).await,
    }
}

async fn list(client: &Client, printer: Printer) -> anyhow::Result<Exit> {
    let all = client.alerts().await?;
    if all.webhooks.is_empty() && !printer.json {
        printer.talk("nobody is told; name a receiver with a table `[[alerts.webhook]]`");
        return Ok(Exit::Ok);
    }
    printer.either(&all, |all| text(all, Timestamp::now()))?;
    Ok(Exit::Ok)
}

fn text(all: &Alerts, now: Timestamp) -> String {
    table(&HEADINGS, all.webhooks.iter().map(|one| row(one, now)).collect())
}

fn row(one: &AlertWebhook, now: Timestamp) -> Vec<String> {
    let ago = |time: Timestamp| format!("{} ago", format::age(now.since(time)));
    vec![
        one.name.clone(),
        one.url.clone(),
        one.delivered.to_string(),
        one.failed.to_string(),
        one.given_up.to_string(),
        format::or_dash(one.last_success.map(ago)),
        format::or_dash(one.last_error.as_ref().map(|e| format!("{}: {}", ago(e.time), e.cause))),
    ]
}

/// Sends from here, once: the daemon need not run.
async fn test(home: &Home, args: AlertsTestArgs, printer: Printer) -> anyhow::Result<Exit> {
    let overrides = environment::overrides(None, None, None)?;
    let (config, _) = config::read(args.config, &overrides)?;
    let Some(webhook) = config.alerts.iter().find(|one| one.name == args.name) else {
        let known: Vec<_> = config.alerts.iter().map(|one| one.name.as_str()).collect();
        let hint = match known.is_empty() {
            true => "name one with a table `[[alerts.webhook]]`".to_owned(),
            false => format!("the receivers are {}", known.join(", ")),
        };
        let message = format!("no receiver of alerts is called `{}`", args.name);
        return Err(Failure::new(Exit::NotFound, message, hint).into());
    };
    let now = Timestamp::now().micros();
    let message = Message::test(&Origin::perhaps(home)?, now);
    let answer = Poster::new(webhook).send(&message).await?;
    let status = answer.status;
    let tested =
        Tested { name: args.name, delivery: message.id, status: status.as_u16(), answer: answer.excerpt };
    printer.either(&tested, |t| {
        let said = if t.answer.is_empty() { String::new() } else { format!(": {}", t.answer.escape_debug()) };
        format!("`{}` answered {status}{said}", t.name)
    })?;
    Ok(if status.is_success() { Exit::Ok } else { Exit::Failed })
}
