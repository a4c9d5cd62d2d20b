//! The words and the times of captured lines, for whoever looks for some of them.
//!
//! ```text
//! append ──► log, log_words, log_zone      in one transaction
//! trim   ──► the same three
//! lines of a file that is older than the index: Backlog, newest first, while nothing waits
//!
//!      1 ····················· log_unindexed ─────────────────── log_head
//!        not indexed yet  ◄──step── │          indexed
//! ```

use std::borrow::Cow;

use rusqlite::{CachedStatement, Connection};

use crate::db::{Db, Durability, meta, set_meta};

use super::Output;

/// Lines in one zone: the last bits of the cursor that do not count.
pub(super) const ZONE_BITS: u32 = 12;
/// Lines in one step of the backlog.
const STEP_ROWS: i64 = 2048;
/// Bytes after which a step ends, however few lines that is.
const STEP_BYTES: usize = 2 * 1024 * 1024;

/// Puts lines into the index; made once for many of them.
pub(super) struct Words<'c>(CachedStatement<'c>);

impl<'c> Words<'c> {
    pub(super) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        let sql = "INSERT INTO log_words (rowid, who, line) VALUES (?1, ?2, ?3)";
        conn.prepare_cached(sql).map(Self)
    }

    /// Puts a line into the index.
    pub(super) fn add(
        &mut self,
        id: i64,
        owner: &Owner,
        output: Output,
        line: &[u8],
    ) -> rusqlite::Result<()> {
        let who = match output {
            Output::Stdout => &owner.out,
            Output::Stderr => &owner.err,
        };
        self.0.execute((id, who, text(line)))?;
        Ok(())
    }
}

/// Whose lines these are, as the index says it.
pub(super) struct Owner {
    out: String,
    err: String,
}

impl Owner {
    pub(super) fn new(number: i64) -> Self {
        Self { out: number.to_string(), err: format!("{number} err") }
    }
}

/// What is not text is indexed as far as it is.
fn text(line: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(line)
}

/// Earliest and latest time of lines that follow each other.
#[derive(Debug, Default)]
pub(super) struct Zones(Option<(i64, i64, i64)>);

impl Zones {
    /// Takes note of a line; the cursors come in order.
    pub(super) fn add(&mut self, db: &Db, id: i64, time: i64) -> rusqlite::Result<()> {
        let zone = id >> ZONE_BITS;
        match &mut self.0 {
            Some((current, first, last)) if *current == zone => {
                *first = time.min(*first);
                *last = time.max(*last);
            }
            _ => {
                self.flush(db)?;
                self.0 = Some((zone, time, time));
            }
        }
        Ok(())
    }

    /// Writes what is not written yet.
    pub(super) fn flush(&mut self, db: &Db) -> rusqlite::Result<()> {
        let Some(zone) = self.0.take() else { return Ok(()) };
        let sql = "INSERT INTO log_zone (zone, first, last) VALUES (?1, ?2, ?3) ON CONFLICT (zone)
            DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)";
        db.conn.prepare_cached(sql)?.execute(zone)?;
        Ok(())
    }
}

/// Removes the lines of one instance up to this one from the index. They must still be in `log`.
pub(crate) fn remove_of(db: &Db, number: i64, last: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM log_words WHERE rowid IN (SELECT id FROM log WHERE instance = ?1 AND id <= ?2)";
    db.conn.prepare_cached(sql)?.execute((number, last))?;
    Ok(())
}

/// Removes all lines up to this one from the index. They must still be in `log`.
pub(crate) fn remove_to(db: &Db, last: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM log_words WHERE rowid IN (SELECT id FROM log WHERE id <= ?1)";
    db.conn.prepare_cached(sql)?.execute([last])?;
    let sql = "DELETE FROM log_zone WHERE zone < ?1";
    db.conn.prepare_cached(sql)?.execute([last >> ZONE_BITS])?;
    Ok(())
}

/// Lines that were stored before there was an index.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// The newest of them; 0 when there are none (left).
    last: i64,
}

impl Backlog {
    /// Reads how much there is.
    pub(crate) fn new(db: &Db) -> rusqlite::Result<Self> {
        Ok(Self { last: meta(&db.conn, "log_unindexed")? })
    }

    /// Whether a step would do something.
    pub(crate) fn has_work(&self) -> bool {
        self.last > 0
    }

    /// Indexes some of them, the newest first. A step that fails ends it until the next start.
    pub(crate) fn step(&mut self, db: &mut Db) {
        match self.try_step(db) {
            Ok(last) => self.last = last,
            Err(error) => {
                db.rollback();
                tracing::warn!(%error, "cannot index old output; it cannot be searched until the next start");
                self.last = 0;
            }
        }
    }

    fn try_step(&self, db: &mut Db) -> rusqlite::Result<i64> {
        db.begin(Durability::Process)?;
        let mut lines = read(db, self.last)?;
        let rest = lines.last().map_or(0, |line| line.id - 1);
        // The index takes cursors that grow without a break in between.
        lines.reverse();
        let (mut words, mut zones) = (Words::new(&db.conn)?, Zones::default());
        for line in &lines {
            words.add(line.id, &Owner::new(line.instance), line.output, &line.bytes)?;
            zones.add(db, line.id, line.time)?;
        }
        drop(words);
        zones.flush(db)?;
        set_meta(&db.conn, "log_unindexed", rest)?;
        db.commit()?;
        Ok(rest)
    }
}

struct Old {
    id: i64,
    instance: i64,
    time: i64,
    output: Output,
    bytes: Vec<u8>,
}

/// The newest lines up to `last`, newest first.
fn read(db: &Db, last: i64) -> rusqlite::Result<Vec<Old>> {
    let sql = "SELECT id, instance, time, output, line FROM log WHERE id <= ?1 ORDER BY id DESC LIMIT ?2";
    let mut select = db.conn.prepare_cached(sql)?;
    let mut rows = select.query((last, STEP_ROWS))?;
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while bytes < STEP_BYTES {
        let Some(row) = rows.next()? else { break };
        let line = row.get_ref(4)?.as_bytes()?.to_vec();
        bytes += line.len();
        let output = if row.get::<_, i64>(3)? == 0 { Output::Stdout } else { Output::Stderr };
        lines.push(Old { id: row.get(0)?, instance: row.get(1)?, time: row.get(2)?, output, bytes: line });
    }
    Ok(lines)
}
