//! Reading lines back.

use std::time::SystemTime;

use insula_spec::InstanceName;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::{Cursor, Output};
use crate::instance;
use crate::options::Retention;
use crate::time::from_micros;

/// Most lines in one page.
const PAGE_ROWS: usize = 10_000;
/// A page ends after so many bytes, however few lines that is.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;

/// Which lines to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Of this instance.
    pub instance: InstanceName,
    /// Only lines after this place.
    pub after: Option<Cursor>,
    /// Only the newest so many. Without it the oldest come first in the page.
    pub tail: Option<usize>,
    /// At most so many lines in the page; never more than 10,000 lines or about 4 MiB.
    pub limit: Option<usize>,
    /// Only of this stream.
    pub output: Option<Output>,
}

impl LogQuery {
    /// All lines of an instance, oldest first.
    #[must_use]
    pub fn of(instance: InstanceName) -> Self {
        Self { instance, after: None, tail: None, limit: None, output: None }
    }
}

/// One stored line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Its place.
    pub cursor: Cursor,
    /// Its number within its set of walls.
    pub seq: u64,
    /// When it was read, in microseconds.
    pub time: SystemTime,
    /// Where it came from.
    pub output: Output,
    /// The bytes, without the newline.
    pub bytes: Vec<u8>,
}

/// Some lines, oldest first, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The lines.
    pub rows: Vec<LogRow>,
    /// Pass it as [`LogQuery::after`] to read on without a gap or a repeat.
    pub next: Cursor,
}

/// The lines that a query asks for. The caller holds a read transaction.
pub(crate) fn select(conn: &Connection, query: &LogQuery) -> rusqlite::Result<LogPage> {
    let head: i64 =
        conn.prepare_cached("SELECT value FROM meta WHERE key = 'log_head'")?.query_row([], |r| r.get(0))?;
    let start = query.after.unwrap_or_default();
    let wanted = query.tail.unwrap_or(PAGE_ROWS).min(query.limit.unwrap_or(PAGE_ROWS)).min(PAGE_ROWS);
    let number = instance::number(conn, &query.instance)?;
    let (mut rows, whole) = match number {
        Some(number) => page(conn, number, query, wanted)?,
        None => (Vec::new(), true),
    };
    if query.tail.is_some() {
        rows.reverse();
    }
    // A tail reaches to the head by itself; so does a page that ran out of lines.
    let next = if query.tail.is_some() || whole {
        start.max(Cursor::from_row(head))
    } else {
        rows.last().map_or(start, |last| last.cursor)
    };
    Ok(LogPage { rows, next })
}

/// Up to `wanted` lines, newest first for a tail; and whether there are no more.
fn page(
    conn: &Connection,
    number: i64,
    query: &LogQuery,
    wanted: usize,
) -> rusqlite::Result<(Vec<LogRow>, bool)> {
    let mut sql = "SELECT id, seq, time, output, line FROM log WHERE instance = ? AND id > ?".to_owned();
    let mut values = vec![Value::from(number), Value::from(query.after.unwrap_or_default().to_row())];
    if let Some(output) = query.output {
        sql.push_str(" AND output = ?");
        values.push(output.code().into());
    }
    sql.push_str(if query.tail.is_some() { " ORDER BY id DESC" } else { " ORDER BY id" });
    let mut statement = conn.prepare_cached(&sql)?;
    let mut found = statement.query(params_from_iter(values))?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while rows.len() < wanted && bytes < PAGE_BYTES {
        let Some(row) = found.next()? else { return Ok((rows, true)) };
        let row = line(row)?;
        bytes += Retention::LINE + row.bytes.len() as u64;
        rows.push(row);
    }
    Ok((rows, false))
}

fn line(row: &Row<'_>) -> rusqlite::Result<LogRow> {
    let output = match row.get::<_, i64>("output")? {
        0 => Output::Stdout,
        1 => Output::Stderr,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(3, other)),
    };
    Ok(LogRow {
        cursor: Cursor::from_row(row.get("id")?),
        seq: row.get("seq")?,
        time: from_micros(row.get("time")?),
        output,
        bytes: row.get_ref("line")?.as_bytes()?.to_vec(),
    })
}
