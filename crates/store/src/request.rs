//! Requests worth remembering: those that waited, failed, were slow or refused.
//!
//! They have a table of their own, so that a flood of them takes no room from the story of an instance.
//!
//! ```text
//! record_requests ──► row n ──► row n - 20,000 goes
//! ```

use std::time::{Duration, SystemTime};

use insula_spec::InstanceName;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use crate::db::{Db, meta};
use crate::event::foreign;
use crate::log::Whose;
use crate::time::{from_micros, micros};

/// Requests kept in all; the oldest goes first.
const KEPT: i64 = 20_000;
/// Longest path stored, in bytes; a longer one is cut.
const PATH_MAX: usize = 1024;
/// Most requests that one query returns.
const LIMIT_MAX: usize = 1_000;

/// One request that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// Its id, as the client and the workload were told.
    pub id: String,
    /// When it came; stored with microseconds.
    pub time: SystemTime,
    /// The instance asked for; `None` if there is none of that name, or the request was refused before it
    /// was known.
    pub instance: Option<InstanceName>,
    /// The method; empty for raw TCP and for heads that could not be parsed.
    pub method: String,
    /// The path, without the query. Cut at 1 KiB.
    pub path: String,
    /// The status that the client was sent; 499 if it left before, 0 for raw TCP.
    pub status: u16,
    /// The code of what went wrong, as in `docs/reference/http.md`.
    pub error: Option<String>,
    /// Time spent waiting for the instance. Microseconds are kept, here and below.
    pub waited: Duration,
    /// Time from the complete head to the last byte.
    pub total: Duration,
    /// Bytes of the body from the client.
    pub bytes_in: u64,
    /// Bytes of the body to the client.
    pub bytes_out: u64,
    /// Whether the instance had to be woken.
    pub woke: bool,
    /// Whether it was sent to the workload more than once.
    pub retried: bool,
    /// How many like it were not recorded since the one before, because there were too many.
    pub skipped: u64,
}

/// Which requests to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestQuery {
    /// Of whom; without it of everyone, and those that reached no instance.
    pub whose: Option<Whose>,
    /// Only those that came at or after this time.
    pub since: Option<SystemTime>,
    /// At most so many; 1,000 without it, and never more.
    pub limit: Option<usize>,
}

impl RequestQuery {
    /// Those of one instance.
    #[must_use]
    pub fn of(name: InstanceName) -> Self {
        Self { whose: Some(Whose::Instance(name)), ..Self::default() }
    }
}

/// Writes one request inside the caller's transaction, and forgets the oldest.
pub(crate) fn insert(db: &Db, record: &RequestRecord) -> rusqlite::Result<()> {
    let mut insert = db.conn.prepare_cached(
        "INSERT INTO request (request, time, instance, method, path, status, error, waited, total,
             bytes_in, bytes_out, woke, retried, skipped)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    let row = insert.insert(params![
        record.id,
        micros(record.time),
        record.instance.as_ref().map(ToString::to_string),
        record.method,
        &record.path[..record.path.floor_char_boundary(PATH_MAX)],
        record.status,
        record.error,
        span(record.waited),
        span(record.total),
        signed(record.bytes_in),
        signed(record.bytes_out),
        record.woke,
        record.retried,
        signed(record.skipped),
    ])?;
    db.conn.prepare_cached("DELETE FROM request WHERE id <= ?1")?.execute([row - KEPT])?;
    Ok(())
}

/// The request of this id.
pub(crate) fn one(conn: &Connection, id: &str) -> rusqlite::Result<Option<RequestRecord>> {
    let mut select = conn.prepare_cached("SELECT * FROM request WHERE request = ?1")?;
    select.query_row([id], record).optional()
}

/// Those asked for, newest first.
pub(crate) fn newest(conn: &Connection, query: &RequestQuery) -> rusqlite::Result<Vec<RequestRecord>> {
    let mut sql = "SELECT * FROM request WHERE true".to_owned();
    let mut values: Vec<Value> = Vec::new();
    if let Some((first, behind)) = query.whose.as_ref().map(Whose::names) {
        sql.push_str(" AND instance >= ? AND instance < ?");
        values.extend([first.into(), behind.into()]);
    }
    if let Some(since) = query.since {
        sql.push_str(" AND time >= ?");
        values.push(micros(since).into());
    }
    sql.push_str(" ORDER BY id DESC LIMIT ?");
    let limit = query.limit.unwrap_or(LIMIT_MAX).min(LIMIT_MAX);
    values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
    conn.prepare_cached(&sql)?.query_map(params_from_iter(values), record)?.collect()
}

/// A random number of this home, made at first use.
pub(crate) fn key(db: &Db) -> rusqlite::Result<i64> {
    db.conn.execute("INSERT OR IGNORE INTO meta VALUES ('request_key', random())", [])?;
    meta(&db.conn, "request_key")
}

fn record(row: &Row<'_>) -> rusqlite::Result<RequestRecord> {
    let instance: Option<String> = row.get("instance")?;
    Ok(RequestRecord {
        id: row.get("request")?,
        time: from_micros(row.get("time")?),
        instance: instance.map(|n| n.parse()).transpose().map_err(foreign)?,
        method: row.get("method")?,
        path: row.get("path")?,
        status: row.get("status")?,
        error: row.get("error")?,
        waited: Duration::from_micros(row.get("waited")?),
        total: Duration::from_micros(row.get("total")?),
        bytes_in: row.get("bytes_in")?,
        bytes_out: row.get("bytes_out")?,
        woke: row.get("woke")?,
        retried: row.get("retried")?,
        skipped: row.get("skipped")?,
    })
}

fn span(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
