//! `insula audit`: what was changed, by whom, and how it ended.

use insula_api::{Audit, AuditQuery, AuditRecord, Client};

use crate::cli::AuditArgs;
use crate::exit::Exit;
use crate::printer::{Printer, table};

const HEADINGS: [&str; 7] = ["ID", "TIME", "WHO", "WHAT", "TARGET", "RESULT", "REQUEST"];

pub(super) async fn run(client: &Client, args: AuditArgs, printer: Printer) -> anyhow::Result<Exit> {
    let AuditArgs { who, target, action, since, until, result, after, limit } = args;
    let query = AuditQuery { who, target, action, since, until, result, after, limit };
    let everything = AuditQuery { limit, ..AuditQuery::default() } == query;
    let audit = client.audit(query).await?;
    if audit.records.is_empty() && !printer.json {
        printer.talk(if everything { "nothing was changed" } else { "there is no such record" });
        return Ok(Exit::Ok);
    }
    printer.either(&audit, text)?;
    Ok(Exit::Ok)
}

fn text(audit: &Audit) -> String {
    table(&HEADINGS, audit.records.iter().map(row).collect())
}

fn row(record: &AuditRecord) -> Vec<String> {
    let result = match (record.status, &record.code) {
        (Some(status), Some(code)) => format!("{status} {code}"),
        _ => "not known".to_owned(),
    };
    // What came from outside may hold control characters.
    let shown = |text: &str| text.escape_debug().to_string();
    vec![
        record.id.to_string(),
        record.time.to_string(),
        shown(&record.who.to_string()),
        format!("{} {}", record.method, record.path),
        record.target.as_deref().map_or_else(|| "-".to_owned(), shown),
        result,
        record.request_id.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use insula_api::{Timestamp, Who};

    use super::*;

    #[test]
    fn a_record_is_one_line_whatever_is_in_it() {
        let record = AuditRecord {
            id: 7,
            time: Timestamp::from_micros(0),
            who: Who::Token { id: "aa".into(), name: "c\u{1b}[2Ji".into() },
            address: None,
            method: "POST".into(),
            path: "/v1/instances/{name}/stop".into(),
            target: Some("a:b\n".into()),
            request_id: "00ff".into(),
            status: Some(200),
            code: Some("ok".into()),
        };
        let pending = AuditRecord {
            status: None,
            code: None,
            who: Who::Unix { uid: 0 },
            target: None,
            ..record.clone()
        };
        insta::assert_snapshot!(text(&Audit { records: vec![record, pending] }), @r"
        ID  TIME                         WHO                     WHAT                            TARGET  RESULT     REQUEST
        7   1970-01-01T00:00:00.000000Z  token aa (c\u{1b}[2Ji)  POST /v1/instances/{name}/stop  a:b\n   200 ok     00ff
        7   1970-01-01T00:00:00.000000Z  user 0                  POST /v1/instances/{name}/stop  -       not known  00ff
        ");
    }
}
