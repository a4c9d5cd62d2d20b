//! Storing lines, once each.

use std::time::SystemTime;

use insula_spec::InstanceName;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, ToSql, types::ToSqlOutput};

use super::index::{Owner, Words, Zones};
use super::{LogBatch, LogLine};
use crate::db::Db;
use crate::error::WriteError;
use crate::event::{self, Event, EventKind};
use crate::instance;
use crate::options::Retention;
use crate::time::micros;

/// Sets of walls whose place is remembered, per instance. Far more than can still deliver anything.
const STREAMS: i64 = 16;
/// Sequence numbers end here, since SQLite's integers do.
const SEQ_END: u64 = i64::MAX as u64;

/// Why lines were not stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The instance is not known (any more); the lines have no owner and may be dropped.
    #[error("cannot store output of `{0}`: it is not known")]
    Unknown(InstanceName),
    /// The numbers cannot be meant.
    #[error("cannot store output of `{name}`: sequence number {seq} is beyond the last possible one")]
    Sequence {
        /// Whose lines.
        name: InstanceName,
        /// The number.
        seq: u64,
    },
    /// The write failed; deliver the lines again.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl AppendError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown(name) => format!("`{name}` was removed; its output is not kept"),
            Self::Sequence { name, .. } => {
                format!("the agent of `{name}` sends nonsense: restart it with `insula restart {name}`")
            }
            Self::Write(e) => e.hint(),
        }
    }
}

/// What a batch costs, for retention and for the size of a transaction.
pub(crate) fn cost(batch: &LogBatch) -> u64 {
    batch.lines.iter().map(line_cost).sum()
}

fn line_cost(line: &LogLine) -> u64 {
    Retention::LINE + line.bytes.len() as u64
}

/// The first number that cannot be stored, if the batch has one: asked before anything waits for the writer.
pub(crate) fn beyond(batch: &LogBatch) -> Option<u64> {
    let ends = batch.lines.iter().map(|line| line.seq).chain(batch.gap.map(|gap| gap.to));
    ends.max().filter(|seq| *seq >= SEQ_END)
}

/// What became of the numbers of one batch.
#[derive(Default)]
struct Tally {
    rows: i64,
    bytes: u64,
    lost: u64,
    first_lost: Option<u64>,
    next: u64,
}

impl Tally {
    /// Moves on to `seq`; whatever lies between is lost.
    fn skip_to(&mut self, seq: u64) {
        if seq > self.next {
            self.first_lost.get_or_insert(self.next);
            self.lost += seq - self.next;
            self.next = seq;
        }
    }
}

/// Stores what is new in the batch and answers the number of the next line; `None` when the instance is not
/// known.
pub(crate) fn append(
    db: &mut Db,
    name: &InstanceName,
    key: &str,
    batch: &LogBatch,
) -> rusqlite::Result<Option<u64>> {
    let Some(number) = instance::number(&db.conn, name)? else { return Ok(None) };
    let before = position(&db.conn, number, key)?;
    let mut tally = Tally { next: before.unwrap_or(0), ..Tally::default() };
    if let Some(gap) = batch.gap {
        tally.skip_to(gap.to);
    }
    insert(db, number, batch, &mut tally)?;
    if before.is_none() {
        open_stream(&db.conn, number, key)?;
    }
    if before != Some(tally.next) {
        account(db, number, key, &tally)?;
    }
    if let Some(from) = tally.first_lost {
        event::insert(db, Some(name), &gap_event(key, from, &tally))?;
    }
    Ok(Some(tally.next))
}

/// The number of the first line of this set of walls that is not stored.
pub(crate) fn next_seq(conn: &Connection, name: &InstanceName, key: &str) -> rusqlite::Result<u64> {
    let Some(number) = instance::number(conn, name)? else { return Ok(0) };
    Ok(position(conn, number, key)?.unwrap_or(0))
}

fn position(conn: &Connection, number: i64, key: &str) -> rusqlite::Result<Option<u64>> {
    let mut select = conn.prepare_cached("SELECT next FROM stream WHERE instance = ?1 AND key = ?2")?;
    select.query_row((number, key), |row| row.get(0)).optional()
}

fn insert(db: &mut Db, number: i64, batch: &LogBatch, tally: &mut Tally) -> rusqlite::Result<()> {
    let mut insert = db.conn.prepare_cached(
        "INSERT INTO log (id, instance, seq, time, output, line) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut words = Words::new(&db.conn)?;
    let (owner, mut zones) = (Owner::new(number), Zones::default());
    // Nobody can have read a line that is still to be written; retention by age counts on it.
    let now = micros(SystemTime::now());
    for line in &batch.lines {
        if line.seq < tally.next {
            continue;
        }
        tally.skip_to(line.seq);
        let id = db.now.log_head + 1;
        let time = micros(line.time).min(now);
        insert.execute((id, number, line.seq, time, line.output.code(), Line(&line.bytes)))?;
        words.add(id, &owner, line.output, &line.bytes)?;
        zones.add(db, id, time)?;
        db.now.log_head = id;
        tally.next = line.seq + 1;
        tally.rows += 1;
        tally.bytes += line_cost(line);
    }
    zones.flush(db)
}

/// Text where it is text, so that it can be searched and read with any tool.
struct Line<'a>(&'a [u8]);

impl ToSql for Line<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value =
            if std::str::from_utf8(self.0).is_ok() { ValueRef::Text(self.0) } else { ValueRef::Blob(self.0) };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

fn open_stream(conn: &Connection, number: i64, key: &str) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT INTO stream (instance, key, next) VALUES (?1, ?2, 0)")?
        .execute((number, key))?;
    let sql = "DELETE FROM stream WHERE instance = ?1 AND id <=
        (SELECT id FROM stream WHERE instance = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
    conn.prepare_cached(sql)?.execute((number, STREAMS))?;
    Ok(())
}

fn account(db: &mut Db, number: i64, key: &str, tally: &Tally) -> rusqlite::Result<()> {
    let sql = "UPDATE stream SET next = ?3 WHERE instance = ?1 AND key = ?2";
    db.conn.prepare_cached(sql)?.execute((number, key, tally.next))?;
    if tally.rows == 0 {
        return Ok(());
    }
    let sql = "INSERT INTO log_usage (instance, bytes, rows) VALUES (?1, ?2, ?3) ON CONFLICT (instance)
        DO UPDATE SET bytes = bytes + excluded.bytes, rows = rows + excluded.rows";
    db.conn.prepare_cached(sql)?.execute((number, tally.bytes, tally.rows))?;
    db.now.log_rows += tally.rows;
    db.now.log_bytes += i64::try_from(tally.bytes).unwrap_or(i64::MAX);
    db.touched.logs.insert(number);
    Ok(())
}

fn gap_event(key: &str, from: u64, tally: &Tally) -> Event {
    let cause =
        format!("{} lines of output were lost: nobody took them before the buffers were full", tally.lost);
    let detail = serde_json::json!({ "key": key, "from": from, "next": tally.next, "lost": tally.lost });
    Event::new(EventKind::LogGap, cause).detail(detail)
}
