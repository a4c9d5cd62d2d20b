//! `insula requests`: those that are remembered, newest first.

use std::time::Duration;

use insula_api::{Client, FoundRequests, RequestEntry, RequestsQuery};

use crate::cli::requests::RequestsArgs;
use crate::exit::Exit;
use crate::format::or_dash;
use crate::printer::{Printer, table};

const HEADINGS: [&str; 8] = ["REQUEST", "TIME", "INSTANCE", "STATUS", "TOOK", "WAITED", "NOTE", "WHAT"];

pub(super) async fn run(client: &Client, args: RequestsArgs, printer: Printer) -> anyhow::Result<Exit> {
    let query = RequestsQuery { of: args.of, since: args.since, limit: args.limit };
    let found = client.find_requests(&query).await?;
    if found.requests.is_empty() && !printer.json {
        printer
            .talk("there are none; requests that waited, failed, were refused, sent again or slow are kept");
        return Ok(Exit::Ok);
    }
    printer.either(&found, text)?;
    Ok(Exit::Ok)
}

fn text(found: &FoundRequests) -> String {
    table(&HEADINGS, found.requests.iter().map(row).collect())
}

fn row(entry: &RequestEntry) -> Vec<String> {
    let RequestEntry { id, request, .. } = entry;
    vec![
        id.clone(),
        request.time.to_string(),
        or_dash(request.instance.as_ref()),
        request.status.to_string(),
        millis(request.total()),
        if request.waited_us == 0 { "-".to_owned() } else { millis(request.waited()) },
        note(entry),
        what(entry),
    ]
}

/// Why it is here, as the access log says it.
fn note(entry: &RequestEntry) -> String {
    let RequestEntry { request, skipped, .. } = entry;
    let flags =
        [request.woke.then_some("woke"), request.retried.then_some("retried"), request.error.as_deref()];
    let mut words: Vec<_> = flags.into_iter().flatten().map(str::to_owned).collect();
    if *skipped > 0 {
        words.push(format!("{skipped} more"));
    }
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}

/// What was asked. It came from outside, and may hold anything.
fn what(entry: &RequestEntry) -> String {
    match entry.request.method.as_str() {
        "" => "-".to_owned(),
        method => format!("{method} {}", entry.request.path).escape_debug().to_string(),
    }
}

fn millis(span: Duration) -> String {
    format!("{}.{}ms", span.as_millis(), span.subsec_micros() / 100 % 10)
}

#[cfg(test)]
mod tests {
    use insula_api::{Request, Timestamp};

    use super::*;

    #[test]
    fn a_request_is_one_line_whatever_is_in_it() {
        let request = Request {
            time: Timestamp::from_micros(0),
            instance: Some("notes:alice".parse().unwrap()),
            method: "GET".into(),
            path: "/a\u{1b}[2J".into(),
            status: 503,
            error: Some("failed".into()),
            waited_us: 1_234,
            total_us: 12_345_678,
            bytes_in: 0,
            bytes_out: 0,
            woke: true,
            retried: false,
        };
        let refused = Request {
            instance: None,
            method: String::new(),
            status: 400,
            error: Some("bad_head".into()),
            waited_us: 0,
            woke: false,
            ..request.clone()
        };
        let slow = Request { status: 200, error: None, woke: false, waited_us: 0, ..request.clone() };
        let entry = |id: &str, request, skipped| RequestEntry { id: id.into(), request, skipped };
        let requests = vec![entry("a1", request, 0), entry("a2", refused, 7), entry("a3", slow, 0)];
        insta::assert_snapshot!(text(&FoundRequests { requests }), @r"
        REQUEST  TIME                         INSTANCE     STATUS  TOOK       WAITED  NOTE             WHAT
        a1       1970-01-01T00:00:00.000000Z  notes:alice  503     12345.6ms  1.2ms   woke,failed      GET /a\u{1b}[2J
        a2       1970-01-01T00:00:00.000000Z  -            400     12345.6ms  -       bad_head,7 more  -
        a3       1970-01-01T00:00:00.000000Z  notes:alice  200     12345.6ms  -       -                GET /a\u{1b}[2J
        ");
    }
}
