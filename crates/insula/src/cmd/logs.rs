//! `insula logs`: what an instance wrote.

use insula_api::{Client, LogLine, LogsQuery, Output};

use crate::cli::LogsArgs;
use crate::exit::Exit;
use crate::printer::Printer;

pub(super) async fn run(client: &Client, args: LogsArgs, printer: Printer) -> anyhow::Result<Exit> {
    let query = LogsQuery { tail: args.tail, follow: args.follow, after: args.after };
    let mut stream = client.logs(&args.name, query).await?;
    while let Some(line) = stream.next().await? {
        if printer.json {
            printer.json_line(&line)?;
        } else if args.time {
            printer.text(&stamped(&line))?;
        } else {
            printer.bytes(&line.bytes())?;
        }
    }
    Ok(Exit::Ok)
}

fn stamped(line: &LogLine) -> String {
    let stream = match line.output {
        Output::Stdout => "out",
        Output::Stderr => "err",
    };
    format!("{} {stream} {}", line.time, line.text)
}
