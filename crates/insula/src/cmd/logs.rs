//! `insula logs`: what instances wrote.
//!
//! ```text
//! -n N ──► newest pages, turned around ─┐
//! else ──► oldest pages, in order ──────┴─► -f? ──► lines as they come, from behind the last page on
//! ```

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, IsTerminal};

use insula_api::{Client, FindQuery, FoundLogs, LogEntry, Order, Output};
use insula_spec::Tenant;

use crate::cli::LogsArgs;
use crate::exit::Exit;
use crate::printer::Printer;

/// Lines of one page.
const PAGE: u32 = 1000;
/// Colours of names (ECMA-48 SGR), without those that terminals use for alarms or their own ground.
const COLOURS: [u8; 6] = [32, 33, 34, 35, 36, 92];

pub(super) async fn run(client: &Client, args: LogsArgs, printer: Printer) -> anyhow::Result<Exit> {
    let query = query(&args);
    let style = Style::of(&args);
    let head = match args.tail {
        Some(tail) => newest(client, &query, tail, (printer, &style)).await?,
        None => oldest(client, &query, (printer, &style)).await?,
    };
    if args.follow {
        let mut lines = client.follow_logs(&query, head).await?;
        loop {
            style.print(printer, &lines.next().await?)?;
        }
    }
    Ok(Exit::Ok)
}

fn query(args: &LogsArgs) -> FindQuery {
    let names = |wanted: fn(&Tenant) -> Option<String>| {
        let names: Vec<_> = args.names.iter().filter_map(wanted).collect();
        (!names.is_empty()).then(|| names.join(","))
    };
    FindQuery {
        instance: names(|tenant| match tenant {
            Tenant::Instance(name) => Some(name.to_string()),
            Tenant::Service(_) => None,
        }),
        service: names(|tenant| match tenant {
            Tenant::Instance(_) => None,
            Tenant::Service(name) => Some(name.to_string()),
        }),
        search: args.search.clone(),
        stream: args.stream.map(Output::from),
        since: args.since,
        until: args.until,
        after: args.after,
        ..FindQuery::default()
    }
}

/// Prints everything that fits, oldest first; answers where to follow from.
async fn oldest(
    client: &Client,
    query: &FindQuery,
    (printer, style): (Printer, &Style),
) -> anyhow::Result<u64> {
    let mut query = FindQuery { order: Some(Order::Oldest), limit: Some(PAGE), ..query.clone() };
    loop {
        let page = client.find_logs(&query).await?;
        warn(printer, &page);
        page.lines.iter().try_for_each(|line| style.print(printer, line))?;
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(page.head.max(query.after.unwrap_or(0))),
        }
    }
}

/// Prints the newest so many that fit, oldest first; answers where to follow from.
async fn newest(
    client: &Client,
    query: &FindQuery,
    tail: u32,
    (printer, style): (Printer, &Style),
) -> anyhow::Result<u64> {
    let mut query = FindQuery { order: Some(Order::Newest), limit: Some(tail.min(PAGE)), ..query.clone() };
    let (mut lines, mut head) = (Vec::new(), None);
    let wanted = usize::try_from(tail)?;
    loop {
        let page = client.find_logs(&query).await?;
        if head.is_none() {
            warn(printer, &page);
        }
        head.get_or_insert(page.head);
        lines.extend(page.lines);
        match page.next {
            Some(next) if lines.len() < wanted => query.before = Some(next),
            _ => break,
        }
    }
    lines.truncate(wanted);
    lines.iter().rev().try_for_each(|line| style.print(printer, line))?;
    Ok(head.unwrap_or(0))
}

fn warn(printer: Printer, page: &FoundLogs) {
    if page.incomplete {
        printer.talk("note: lines of before the upgrade are still being indexed; some cannot be found yet");
    }
}

/// What stands before each line.
struct Style {
    time: bool,
    name: bool,
    colour: bool,
}

impl Style {
    fn of(args: &LogsArgs) -> Self {
        let colour =
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        let one = matches!(&*args.names, [Tenant::Instance(_)]);
        Self { time: args.time, name: !one, colour }
    }

    fn print(&self, printer: Printer, entry: &LogEntry) -> anyhow::Result<()> {
        if printer.json { printer.json_line(entry) } else { printer.bytes(&self.line(entry)) }
    }

    fn line(&self, entry: &LogEntry) -> Vec<u8> {
        let mut text = Vec::new();
        if self.name {
            text.extend(self.coloured(&entry.instance.to_string()).into_bytes());
            text.extend(b" | ");
        }
        if self.time {
            let stream = match entry.line.output {
                Output::Stdout => "out",
                Output::Stderr => "err",
            };
            text.extend(format!("{} {stream} ", entry.line.time).into_bytes());
        }
        text.extend(entry.line.bytes());
        text
    }

    /// The same name has the same colour in every run.
    fn coloured(&self, name: &str) -> String {
        if !self.colour {
            return name.to_owned();
        }
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % COLOURS.len() as u64).unwrap_or(0);
        format!("\x1b[{}m{name}\x1b[0m", COLOURS.get(at).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use insula_api::{LogLine, Timestamp};

    use super::*;

    #[test]
    fn a_name_stands_before_a_line_only_where_there_could_be_several() {
        let line = LogLine::new(1, Timestamp::from_micros(0), Output::Stderr, b"\xff x".to_vec());
        let entry = LogEntry { instance: "notes:alice".parse().unwrap(), line };
        let style = |time, name, colour| Style { time, name, colour };
        assert_eq!(style(false, false, true).line(&entry), b"\xff x");
        assert_eq!(style(false, true, false).line(&entry), b"notes:alice | \xff x");
        assert_eq!(style(true, false, false).line(&entry), b"1970-01-01T00:00:00.000000Z err \xff x");
        let coloured = String::from_utf8_lossy(&style(false, true, true).line(&entry)).into_owned();
        assert!(coloured.starts_with("\x1b[") && coloured.contains("mnotes:alice\x1b[0m | "), "{coloured:?}");
    }
}
