//! Retention: the oldest goes, one small transaction at a time.
//!
//! The writer calls [`Trimmer::after_group`] when a group was answered, and [`Trimmer::step`] again while
//! nothing else waits. A step frees more than a group adds, so that it keeps up without ever holding up a
//! write for long. A step that fails (a full disk) is tried again after the next group.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use rusqlite::OptionalExtension;

use crate::db::{Db, Durability};
use crate::log;
use crate::options::Retention;
use crate::time::{from_micros, micros};

/// Bytes of captured output freed in one step: twice what a group may add.
const STEP_BYTES: i64 = 2 * 1024 * 1024;
/// Lines freed in one step because there are too many in all.
const STEP_ROWS: i64 = 32 * 1024;
/// Events freed in one step because there are too many in all.
const STEP_EVENTS: i64 = 1024;
/// Events written before those of the instances concerned are counted.
const EVENTS_EVERY: u32 = 64;

/// How much longer than asked for lines may stay, so that they do not go one by one.
fn slack(age: Duration) -> Duration {
    (age / 16).min(Duration::from_secs(60))
}

fn oldest_time(db: &Db) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT time FROM log ORDER BY id LIMIT 1";
    db.conn.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()
}

/// Knows what may be over its limit.
#[derive(Debug)]
pub(crate) struct Trimmer {
    retention: Retention,
    logs: HashSet<i64>,
    events: HashSet<String>,
    work: bool,
}

impl Trimmer {
    /// Looks for what is over its limit already.
    pub(crate) fn new(db: &Db, retention: Retention) -> rusqlite::Result<Self> {
        let logs = "SELECT id FROM instance WHERE name IS NULL
            UNION SELECT instance FROM log_usage WHERE bytes > ?1";
        let events = "SELECT instance FROM event WHERE instance IS NOT NULL
            GROUP BY instance HAVING count(*) > ?1";
        let logs = db
            .conn
            .prepare(logs)?
            .query_map([signed(retention.log_bytes_per_instance)], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let events = db
            .conn
            .prepare(events)?
            .query_map([retention.events_per_instance], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        Ok(Self { retention, logs, events, work: true })
    }

    /// Whether a step would do something.
    pub(crate) fn has_work(&self) -> bool {
        self.work
    }

    /// Takes note of what a group wrote, and does one step.
    pub(crate) fn after_group(&mut self, db: &mut Db) {
        self.logs.extend(db.touched.logs.drain());
        let every = EVENTS_EVERY.min(self.retention.events_per_instance / 8).max(1);
        if db.touched.event_count >= every {
            db.touched.event_count = 0;
            self.events.extend(db.touched.events.drain());
        }
        self.step(db);
    }

    /// Frees some of what is over its limit.
    pub(crate) fn step(&mut self, db: &mut Db) {
        let outcome = self.try_step(db);
        self.work = match outcome {
            Ok(more) => more,
            Err(error) => {
                tracing::warn!(%error, "cannot remove old events and output; trying again after the next write");
                false
            }
        };
    }

    fn try_step(&mut self, db: &mut Db) -> rusqlite::Result<bool> {
        self.keep_only_excessive(db)?;
        if self.logs.is_empty() && self.events.is_empty() && !self.too_many(db)? {
            return Ok(false);
        }
        let before = db.committed();
        db.begin(Durability::Process)?;
        if let Err(error) = self.trim(db) {
            db.rollback();
            return Err(error);
        }
        db.commit()?;
        self.events.clear();
        // A step that freed nothing must not be followed by another at once, whatever the accounts say.
        Ok(db.committed() != before && (!self.logs.is_empty() || self.too_many(db)?))
    }

    fn too_many(&self, db: &Db) -> rusqlite::Result<bool> {
        let now = db.committed();
        Ok(now.log_rows > signed(self.retention.log_rows)
            || now.log_bytes > signed(self.retention.log_bytes)
            || now.event_rows > i64::from(self.retention.events)
            || self.overdue(db)?.is_some())
    }

    /// The time before which lines go, when the oldest one is due.
    fn overdue(&self, db: &Db) -> rusqlite::Result<Option<i64>> {
        let (Some(age), Some(oldest)) = (self.retention.log_age, oldest_time(db)?) else { return Ok(None) };
        let now = SystemTime::now();
        let due = now.checked_sub(age + slack(age)).is_some_and(|due| oldest <= micros(due));
        Ok(now.checked_sub(age).filter(|_| due).map(micros))
    }

    /// How long nothing becomes due by age; `None` for ever.
    pub(crate) fn rest(&self, db: &Db) -> Option<Duration> {
        let age = self.retention.log_age?;
        let oldest = oldest_time(db).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot tell the age of captured output; looking again after the next write");
            None
        });
        let due = from_micros(oldest?) + age + slack(age);
        // A moment more than nothing, should a step have freed less than it ought to.
        Some(due.duration_since(SystemTime::now()).unwrap_or_default().max(slack(age)))
    }

    fn trim(&mut self, db: &mut Db) -> rusqlite::Result<()> {
        let mut budget = STEP_BYTES;
        for number in &self.logs {
            if budget > 0 {
                budget -= self.trim_instance(db, *number, budget)?;
            }
        }
        self.trim_all_logs(db)?;
        for name in &self.events {
            let sql = "DELETE FROM event WHERE instance = ?1 AND id <=
                (SELECT id FROM event WHERE instance = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
            let gone = db.conn.prepare_cached(sql)?.execute((name, self.retention.events_per_instance))?;
            db.now.event_rows -= count(gone);
        }
        let excess = (db.now.event_rows - i64::from(self.retention.events)).clamp(0, STEP_EVENTS);
        if excess > 0 {
            let sql = "DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY id LIMIT ?1)";
            db.now.event_rows -= count(db.conn.prepare_cached(sql)?.execute([excess])?);
        }
        Ok(())
    }

    /// Forgets candidates that are within their limit.
    fn keep_only_excessive(&mut self, db: &Db) -> rusqlite::Result<()> {
        let mut keep = HashSet::new();
        for number in &self.logs {
            if self.retention.excess(usage(db, *number)?) > 0 {
                keep.insert(*number);
            }
        }
        self.logs = keep;
        Ok(())
    }

    /// Frees the oldest lines of one instance; answers how much.
    fn trim_instance(&self, db: &mut Db, number: i64, budget: i64) -> rusqlite::Result<i64> {
        let usage = usage(db, number)?;
        let goal = self.retention.excess(usage).min(budget);
        let freed = oldest(db, number, goal)?;
        log::remove_of(db, number, freed.last)?;
        db.conn
            .prepare_cached("DELETE FROM log WHERE instance = ?1 AND id <= ?2")?
            .execute((number, freed.last))?;
        give_back(db, number, freed.rows, freed.bytes)?;
        if usage.forgotten && freed.rows == usage.rows {
            db.conn.prepare_cached("DELETE FROM log_usage WHERE instance = ?1")?.execute([number])?;
            db.conn.prepare_cached("DELETE FROM instance WHERE id = ?1")?.execute([number])?;
        }
        Ok(freed.bytes)
    }

    fn trim_all_logs(&self, db: &mut Db) -> rusqlite::Result<()> {
        let rows_over = db.now.log_rows - signed(self.retention.log_rows);
        let bytes_over = db.now.log_bytes - signed(self.retention.log_bytes);
        let oldest_kept = self.overdue(db)?.unwrap_or(i64::MIN);
        let mut freed: HashMap<i64, (i64, i64)> = HashMap::new();
        let (mut last, mut gone, mut bytes) = (0, 0, 0);
        {
            let sql = "SELECT id, instance, octet_length(line), time FROM log ORDER BY id LIMIT ?1";
            let mut select = db.conn.prepare_cached(sql)?;
            let mut rows = select.query([STEP_ROWS])?;
            while let Some(row) = rows.next()? {
                if gone >= rows_over && bytes >= bytes_over && row.get::<_, i64>(3)? >= oldest_kept {
                    break;
                }
                last = row.get(0)?;
                let size = row.get::<_, i64>(2)? + signed(Retention::LINE);
                let sum = freed.entry(row.get(1)?).or_default();
                *sum = (sum.0 + 1, sum.1 + size);
                (gone, bytes) = (gone + 1, bytes + size);
            }
        }
        if gone == 0 {
            return Ok(());
        }
        log::remove_to(db, last)?;
        db.conn.prepare_cached("DELETE FROM log WHERE id <= ?1")?.execute([last])?;
        freed.into_iter().try_for_each(|(number, (rows, bytes))| give_back(db, number, rows, bytes))
    }
}

impl Retention {
    /// How much an instance has to give back: nothing within the limit, else enough for a while.
    fn excess(&self, usage: Usage) -> i64 {
        let limit = signed(self.log_bytes_per_instance);
        match usage {
            // One more than it has, so that a forgotten instance without lines has something to do too.
            Usage { forgotten: true, bytes, .. } => bytes + 1,
            Usage { bytes, .. } if bytes > limit => bytes - (limit - limit / 16),
            Usage { .. } => 0,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    bytes: i64,
    rows: i64,
    forgotten: bool,
}

/// What an instance has stored. Zeros when its number is gone.
fn usage(db: &Db, number: i64) -> rusqlite::Result<Usage> {
    let sql = "SELECT coalesce(u.bytes, 0), coalesce(u.rows, 0), i.name IS NULL
        FROM instance i LEFT JOIN log_usage u ON u.instance = i.id WHERE i.id = ?1";
    let mut select = db.conn.prepare_cached(sql)?;
    let mut rows = select.query([number])?;
    let Some(row) = rows.next()? else { return Ok(Usage::default()) };
    Ok(Usage { bytes: row.get(0)?, rows: row.get(1)?, forgotten: row.get(2)? })
}

#[derive(Default)]
struct Freed {
    last: i64,
    rows: i64,
    bytes: i64,
}

/// The oldest lines of an instance that together make up `goal` bytes.
fn oldest(db: &Db, number: i64, goal: i64) -> rusqlite::Result<Freed> {
    let sql = "SELECT id, octet_length(line) FROM log WHERE instance = ?1 ORDER BY id";
    let mut select = db.conn.prepare_cached(sql)?;
    let mut rows = select.query([number])?;
    let mut freed = Freed::default();
    while freed.bytes < goal {
        let Some(row) = rows.next()? else { break };
        freed.last = row.get(0)?;
        freed.rows += 1;
        freed.bytes += row.get::<_, i64>(1)? + signed(Retention::LINE);
    }
    Ok(freed)
}

fn give_back(db: &mut Db, number: i64, rows: i64, bytes: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE log_usage SET rows = rows - ?2, bytes = bytes - ?3 WHERE instance = ?1";
    db.conn.prepare_cached(sql)?.execute((number, rows, bytes))?;
    let sql = "UPDATE meta SET value = value + ?1 WHERE key = 'log_trimmed'";
    db.conn.prepare_cached(sql)?.execute([rows])?;
    db.now.log_rows -= rows;
    db.now.log_bytes -= bytes;
    Ok(())
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
