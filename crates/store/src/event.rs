//! The event log: what happened, when, to whom, and why.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use insula_spec::InstanceName;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use serde::Serialize;

use crate::db::Db;
use crate::log::Whose;
use crate::time::{from_micros, micros};

/// Longest cause stored, in bytes; a longer one is cut and ends in `…`.
const CAUSE_MAX: usize = 4096;
/// Largest detail stored, in bytes of JSON; a larger one is replaced by its size.
const DETAIL_MAX: usize = 16 * 1024;
/// Most events that one query returns.
const LIMIT_MAX: usize = 10_000;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $text:literal,)*) => {
        /// What kind of thing happened. Stored and shown as its word.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$doc])* $kind,)*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $text,)*
                }
            }
        }
    };
}

kinds! {
    /// The instance is known from now on.
    Remembered = "remembered",
    /// The instance is no longer known.
    Forgotten = "forgotten",
    /// A sandbox was started because the operator or the configuration asked.
    Spawned = "spawned",
    /// A sandbox was started because a request came.
    Woken = "woken",
    /// The workload accepts connections.
    Ready = "ready",
    /// A start failed before the workload could end by itself.
    StartFailed = "start_failed",
    /// The workload ended.
    Exited = "exited",
    /// The workload was started again after it ended.
    Restarted = "restarted",
    /// The instance was given up until somebody asks for it.
    Failed = "failed",
    /// The instance was stopped because it was idle.
    Slept = "slept",
    /// The instance was frozen because it was idle.
    Frozen = "frozen",
    /// A frozen instance runs again.
    Thawed = "thawed",
    /// The operator stopped the instance.
    Stopped = "stopped",
    /// A running sandbox was taken over by a new worker.
    Adopted = "adopted",
    /// A recorded sandbox was not there any more.
    Lost = "lost",
    /// The health of the workload changed.
    Health = "health",
    /// The isolation level was resolved or changed.
    Level = "level",
    /// A version or tenant was deployed.
    Deployed = "deployed",
    /// A deploy did not come to its end; what was before still holds.
    DeployFailed = "deploy_failed",
    /// Requests are shared out among versions in another way.
    Routed = "routed",
    /// A tenant's directory came near its limit, reached it, or has room again.
    Disk = "disk",
    /// Captured lines were lost before they could be stored.
    LogGap = "log_gap",
    /// Something outside was wanted and the policy refused it.
    NetDenied = "net_denied",
    /// What an instance may reach outside was changed.
    NetPolicy = "net_policy",
    /// Something was asked for and refused.
    Refused = "refused",
    /// Left-overs that no record knew were removed.
    Swept = "swept",
    /// A worker began its work.
    WorkerStarted = "worker_started",
    /// A worker ended in order.
    WorkerStopped = "worker_stopped",
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no kind of event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of event")]
pub struct UnknownKind(pub String);

impl UnknownKind {
    /// What to type instead.
    #[must_use]
    pub fn hint(&self) -> String {
        let words: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("use one of {}", words.join(", "))
    }
}

impl FromStr for EventKind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let found = Self::ALL.iter().copied().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

impl FromSql for EventKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(|e: UnknownKind| FromSqlError::Other(Box::new(e)))
    }
}

/// Something that happened, to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When; set by [`Event::new`].
    pub time: SystemTime,
    /// What kind of thing.
    pub kind: EventKind,
    /// Why, in words for the operator. Cut at 4 KiB.
    pub cause: String,
    /// More, for programs. Dropped (but for its size) beyond 16 KiB.
    pub detail: serde_json::Value,
    /// Id of the request that caused it.
    pub request: Option<String>,
}

impl Event {
    /// An event of this moment.
    pub fn new(kind: EventKind, cause: impl Into<String>) -> Self {
        let (time, detail) = (SystemTime::now(), serde_json::Value::Null);
        Self { time, kind, cause: cause.into(), detail, request: None }
    }

    /// Adds what a program may want to know.
    #[must_use]
    pub fn detail(mut self, detail: serde_json::Value) -> Self {
        self.detail = detail;
        self
    }

    /// Adds the request that caused it.
    #[must_use]
    pub fn request(mut self, id: impl Into<String>) -> Self {
        self.request = Some(id.into());
        self
    }
}

/// An event as it was stored.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// Grows with each event; never reused.
    pub id: u64,
    /// To whom; `None` for the home as a whole.
    pub instance: Option<InstanceName>,
    /// What happened. Its time has microseconds.
    pub event: Event,
}

/// Which events to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Only of this instance.
    pub instance: Option<InstanceName>,
    /// Only of any of these; empty for all, and those of the home as a whole.
    pub whose: Vec<Whose>,
    /// Only of these kinds; empty for all.
    pub kinds: Vec<EventKind>,
    /// Only at or after this time.
    pub since: Option<SystemTime>,
    /// Only with a greater id.
    pub after: Option<u64>,
    /// At most so many; `None` and anything above it means 10,000.
    pub limit: Option<usize>,
    /// Newest first instead of oldest first. Decides which ones a limit keeps.
    pub newest_first: bool,
}

/// Writes one event inside the caller's transaction.
pub(crate) fn insert(db: &mut Db, instance: Option<&InstanceName>, event: &Event) -> rusqlite::Result<()> {
    let name = instance.map(ToString::to_string);
    let mut insert = db.conn.prepare_cached(
        "INSERT INTO event (time, instance, kind, cause, detail, request) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let detail = detail_text(&event.detail);
    let time = micros(event.time);
    db.now.event_head =
        insert.insert((time, &name, event.kind.as_str(), cut(&event.cause), detail, &event.request))?;
    db.now.event_rows += 1;
    db.touched.event_count += 1;
    db.touched.events.extend(name);
    Ok(())
}

/// The events that a query asks for.
pub(crate) fn select(conn: &Connection, query: &EventQuery) -> rusqlite::Result<Vec<EventRow>> {
    let mut sql = "SELECT id, time, instance, kind, cause, detail, request FROM event WHERE true".to_owned();
    let mut values: Vec<Value> = Vec::new();
    let mut only = |condition: &str, value: Value| {
        sql.push_str(condition);
        values.push(value);
    };
    if let Some(instance) = &query.instance {
        only(" AND instance = ?", instance.to_string().into());
    }
    if !query.whose.is_empty() {
        let ranges = query.whose.iter().map(Whose::names).collect::<Vec<_>>();
        only(
            " AND EXISTS (SELECT 1 FROM json_each(?) WHERE instance >= value ->> 0 AND instance < value ->> 1)",
            serde_json::json!(ranges).to_string().into(),
        );
    }
    if !query.kinds.is_empty() {
        let words: Vec<_> = query.kinds.iter().map(|kind| kind.as_str()).collect();
        only(
            " AND kind IN (SELECT value FROM json_each(?))",
            serde_json::Value::from(words).to_string().into(),
        );
    }
    if let Some(since) = query.since {
        only(" AND time >= ?", micros(since).into());
    }
    if let Some(after) = query.after {
        only(" AND id > ?", i64::try_from(after).unwrap_or(i64::MAX).into());
    }
    sql.push_str(if query.newest_first { " ORDER BY id DESC LIMIT ?" } else { " ORDER BY id LIMIT ?" });
    let limit = query.limit.unwrap_or(LIMIT_MAX).min(LIMIT_MAX);
    values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
    conn.prepare_cached(&sql)?.query_map(params_from_iter(values), row)?.collect()
}

fn row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let instance: Option<String> = row.get("instance")?;
    let detail: Option<String> = row.get("detail")?;
    let event = Event {
        time: from_micros(row.get("time")?),
        kind: row.get("kind")?,
        cause: row.get("cause")?,
        detail: detail
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(foreign)?
            .unwrap_or_default(),
        request: row.get("request")?,
    };
    Ok(EventRow {
        id: row.get("id")?,
        instance: instance.map(|n| n.parse()).transpose().map_err(foreign)?,
        event,
    })
}

/// A stored text that is not what this program writes.
pub(crate) fn foreign(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    FromSqlError::Other(Box::new(error)).into()
}

fn cut(cause: &str) -> std::borrow::Cow<'_, str> {
    if cause.len() <= CAUSE_MAX {
        return cause.into();
    }
    let end = cause.floor_char_boundary(CAUSE_MAX - "…".len());
    format!("{}…", &cause[..end]).into()
}

fn detail_text(detail: &serde_json::Value) -> Option<String> {
    if detail.is_null() {
        return None;
    }
    let text = detail.to_string();
    if text.len() <= DETAIL_MAX { Some(text) } else { Some(format!("{{\"omitted_bytes\":{}}}", text.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_back_as_itself() {
        for kind in EventKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("woke".parse::<EventKind>().is_err());
    }

    #[test]
    fn a_long_cause_is_cut_between_characters_and_a_short_one_is_not() {
        let long = "ä".repeat(CAUSE_MAX);
        let kept = cut(&long);
        assert!(kept.len() <= CAUSE_MAX && kept.ends_with("ä…"), "{} bytes", kept.len());
        let short = "x".repeat(CAUSE_MAX);
        assert_eq!(cut(&short), short);
    }

    #[test]
    fn a_huge_detail_leaves_its_size() {
        let text = detail_text(&serde_json::Value::from("x".repeat(DETAIL_MAX))).unwrap();
        assert_eq!(text, format!("{{\"omitted_bytes\":{}}}", DETAIL_MAX + 2));
        assert_eq!(detail_text(&serde_json::json!({"a": 1})).unwrap(), "{\"a\":1}");
    }
}
