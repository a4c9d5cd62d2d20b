//! `insula events`: what happened.

use insula_api::{Client, EventEntry, EventsQuery, Order};

use crate::cli::EventsArgs;
use crate::exit::Exit;
use crate::printer::Printer;

pub(super) async fn run(client: &Client, args: EventsArgs, printer: Printer) -> anyhow::Result<Exit> {
    let kind = (!args.kinds.is_empty()).then(|| args.kinds.join(","));
    let query = EventsQuery { instance: args.name, kind, since: args.since, ..EventsQuery::default() };
    let page = EventsQuery { limit: args.tail, order: Some(Order::Newest), ..query.clone() };
    let found = client.find_events(&page).await?;
    // What came between the look at the head and the events is among them already.
    let head = found.events.first().map_or(found.head, |event| event.id.max(found.head));
    found.events.iter().rev().try_for_each(|event| print(printer, event))?;
    if args.follow {
        let mut events = client.follow_events(&query, head).await?;
        loop {
            print(printer, &events.next().await?)?;
        }
    }
    Ok(Exit::Ok)
}

fn print(printer: Printer, event: &EventEntry) -> anyhow::Result<()> {
    if printer.json {
        return printer.json_line(event);
    }
    let name = event.instance.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    printer.text(&format!("{} {name} {}: {}", event.time, event.kind, event.cause))
}
