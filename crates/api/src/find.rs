//! Looking through the captured output and the events of many instances, on the wire.

use insula_spec::InstanceName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{LogLine, Moment, Output, Timestamp};

/// Query of `GET /v1/logs`. With `Accept: text/event-stream` lines are sent as they come, and only the fields
/// that narrow, and `after`, are allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FindQuery {
    /// Only of these instances, separated by commas; together with those of `service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Only of the instances of these services, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only lines with these words: `a b` both, `a OR b` either, `"a b"` a phrase, `ab*` a beginning, `-a` not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Only of this stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Output>,
    /// Only read from the workload at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Moment>,
    /// Only read from the workload before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
    /// At most so many lines: 100 where it is not given, 1,000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only lines ahead of this cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Only lines behind this cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Which come first; `newest` where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
}

/// Which lines come first, and which ones a limit keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The newest first, backwards.
    Newest,
    /// The oldest first, forwards.
    Oldest,
}

/// One captured line, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogEntry {
    /// Whose line.
    pub instance: InstanceName,
    /// The line.
    #[serde(flatten)]
    pub line: LogLine,
}

/// Answer of `GET /v1/logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundLogs {
    /// The lines, in the order asked for. There may be none although more can be found: go by `next`.
    pub lines: Vec<LogEntry>,
    /// Ask again with this as `before` (newest first) or `after` (oldest first); null at the end.
    pub next: Option<u64>,
    /// The newest line of anyone; follow from here, when `next` is null.
    pub head: u64,
    /// Whether lines of before an upgrade cannot be searched yet; they can after a while.
    pub incomplete: bool,
}

/// Query of `GET /v1/events`; with `Accept: text/event-stream` without `limit`, `before` and `order`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Only of this instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceName>,
    /// Only of these kinds, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Moment>,
    /// At most so many: 100 where it is not given, 1,000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only with a greater id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Which come first; `newest` where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventEntry {
    /// Grows with each event; never reused.
    pub id: u64,
    /// When it happened.
    pub time: Timestamp,
    /// To whom; null for the home as a whole.
    pub instance: Option<InstanceName>,
    /// Its kind, as the event log names it.
    pub kind: String,
    /// What caused it.
    pub cause: String,
    /// More, for programs; null where there is none.
    pub detail: serde_json::Value,
    /// Id of the request that caused it.
    pub request: Option<String>,
}

/// Answer of `GET /v1/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FoundEvents {
    /// The events, in the order asked for.
    pub events: Vec<EventEntry>,
    /// The newest event of anyone; follow from here.
    pub head: u64,
}

/// A query as part of a URL, without the question mark (RFC 3986, section 2.1).
pub(crate) fn to_query<T: Serialize>(query: &T) -> serde_json::Result<String> {
    let fields = serde_json::to_value(query)?;
    let fields = fields.as_object().into_iter().flatten();
    let pair = |(key, value): (&String, &serde_json::Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), escaped);
        format!("{key}={value}")
    };
    Ok(fields.map(pair).collect::<Vec<_>>().join("&"))
}

fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_only_what_was_asked_and_nothing_of_it_is_syntax() {
        assert_eq!(to_query(&FindQuery::default()).unwrap(), "");
        let query = FindQuery {
            search: Some("a&b=\"c\" ü".to_owned()),
            stream: Some(Output::Stderr),
            since: Some("10m".parse().unwrap()),
            after: Some(7),
            ..FindQuery::default()
        };
        let text = to_query(&query).unwrap();
        let mut fields: Vec<_> = text.split('&').collect();
        fields.sort_unstable();
        assert_eq!(fields, ["after=7", "search=a%26b%3D%22c%22%20%C3%BC", "since=600000ms", "stream=stderr"]);
    }

    #[test]
    fn an_entry_is_a_line_with_a_name() {
        let line = LogLine::new(7, Timestamp::from_micros(1), Output::Stderr, b"x".to_vec());
        let entry = LogEntry { instance: "notes:alice".parse().unwrap(), line };
        let json = serde_json::to_value(&entry).unwrap();
        assert_eq!(
            (&json["instance"], &json["cursor"], &json["text"]),
            (&"notes:alice".into(), &7.into(), &"x".into())
        );
        assert_eq!(serde_json::from_value::<LogEntry>(json).unwrap(), entry);
    }
}
