//! Captured output on the wire: one JSON object a line (NDJSON), in order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Problem, Timestamp};

/// Query of `GET /v1/instances/{service:id}/logs`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogsQuery {
    /// Begin with the last so many lines; `None` from the first kept one. Not together with `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Go on as new lines come.
    #[serde(default)]
    pub follow: bool,
    /// Begin behind the line with this cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

impl LogsQuery {
    /// The query as part of a URL, without the question mark.
    #[must_use]
    pub fn to_query(self) -> String {
        let mut query = format!("follow={}", self.follow);
        if let Some(tail) = self.tail {
            query.push_str(&format!("&tail={tail}"));
        }
        if let Some(after) = self.after {
            query.push_str(&format!("&after={after}"));
        }
        query
    }
}

/// One line of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LogFrame {
    /// A captured line.
    Line(LogLine),
    /// The stream cannot go on.
    Error(Problem),
}

/// Which stream of the workload a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One captured line, without its newline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Its place among all lines; ask for the lines behind it with `after`.
    pub cursor: u64,
    /// When it was read from the workload.
    pub time: Timestamp,
    /// Where it came from.
    pub output: Output,
    /// The text; bytes that are not UTF-8 appear as U+FFFD.
    pub text: String,
    /// The bytes in hexadecimal, only where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
}

impl LogLine {
    /// A line of these bytes.
    #[must_use]
    pub fn new(cursor: u64, time: Timestamp, output: Output, bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self { cursor, time, output, text, hex: None },
            Err(e) => {
                let text = String::from_utf8_lossy(e.as_bytes()).into_owned();
                let hex = e.as_bytes().iter().map(|b| format!("{b:02x}")).collect();
                Self { cursor, time, output, text, hex: Some(hex) }
            }
        }
    }

    /// The bytes as the workload wrote them.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.hex.as_deref().and_then(unhex).unwrap_or_else(|| self.text.clone().into_bytes())
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pair = |i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok();
    text.len().is_multiple_of(2).then(|| (0..text.len()).step_by(2).map(pair).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back() {
        for bytes in [b"plain".to_vec(), b"".to_vec(), vec![0xff, 0, 0x80], "\u{fffd}".into()] {
            let line = LogLine::new(7, Timestamp::from_micros(1), Output::Stderr, bytes.clone());
            let json = serde_json::to_string(&LogFrame::Line(line)).unwrap();
            assert!(!json.contains('\n'), "a frame must be one line: {json}");
            let LogFrame::Line(back) = serde_json::from_str(&json).unwrap() else { panic!("{json}") };
            assert_eq!(back.bytes(), bytes);
        }
    }

    #[test]
    fn a_query_says_only_what_was_asked() {
        assert_eq!(LogsQuery::default().to_query(), "follow=false");
        let all = LogsQuery { tail: Some(3), follow: true, after: Some(9) };
        assert_eq!(all.to_query(), "follow=true&tail=3&after=9");
    }
}
