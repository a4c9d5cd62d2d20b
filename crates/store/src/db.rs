//! The writing connection, and what it knows without asking the file.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension};

/// How a group is made to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Durability {
    /// Survives the death of every process; a power cut may take the last moments.
    Process,
    /// On the disk before the answer (`synchronous = FULL`).
    Power,
}

/// Counters that follow the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Cursor of the newest line ever stored.
    pub(crate) log_head: i64,
    /// Id of the newest event ever stored.
    pub(crate) event_head: i64,
    /// Lines stored now.
    pub(crate) log_rows: i64,
    /// Bytes of the lines stored now, as retention counts them.
    pub(crate) log_bytes: i64,
    /// Events stored now.
    pub(crate) event_rows: i64,
}

/// What the last transactions wrote, for whoever trims.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Instances (by number) that got lines or were forgotten.
    pub(crate) logs: HashSet<i64>,
    /// Instances that got events since the last trim of events.
    pub(crate) events: HashSet<String>,
    /// How many events were written since the last trim of events.
    pub(crate) event_count: u32,
}

/// The only connection that writes.
#[derive(Debug)]
pub(crate) struct Db {
    pub(crate) conn: Connection,
    pub(crate) now: Counters,
    pub(crate) touched: Touched,
    committed: Counters,
    durability: Option<Durability>,
}

impl Db {
    pub(crate) fn new(conn: Connection) -> rusqlite::Result<Self> {
        let log_head = meta(&conn, "log_head")?;
        let event_head = conn
            .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'event'", [], |row| row.get(0))
            .optional()?
            .unwrap_or(0);
        let sums = "SELECT coalesce(sum(rows), 0), coalesce(sum(bytes), 0) FROM log_usage";
        let (log_rows, log_bytes) = conn.query_row(sums, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let event_rows = conn.query_row("SELECT count(*) FROM event", [], |row| row.get(0))?;
        let now = Counters { log_head, event_head, log_rows, log_bytes, event_rows };
        Ok(Self { conn, now, touched: Touched::default(), committed: now, durability: None })
    }

    /// Starts a transaction that holds the write lock.
    pub(crate) fn begin(&mut self, durability: Durability) -> rusqlite::Result<()> {
        self.sync(durability)?;
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.now = self.committed;
        Ok(())
    }

    /// Not by a cached statement: SQLite obeys this pragma when it is prepared, not when it runs.
    fn sync(&mut self, durability: Durability) -> rusqlite::Result<()> {
        if self.durability == Some(durability) {
            return Ok(());
        }
        self.durability = None;
        self.conn.execute_batch(match durability {
            Durability::Process => "PRAGMA synchronous = NORMAL",
            Durability::Power => "PRAGMA synchronous = FULL",
        })?;
        self.durability = Some(durability);
        Ok(())
    }

    /// Commits, or rolls back and says why.
    pub(crate) fn commit(&mut self) -> rusqlite::Result<()> {
        let done = self.seal();
        match done {
            Ok(()) => self.committed = self.now,
            Err(_) => self.rollback(),
        }
        done
    }

    /// Undoes everything since [`Db::begin`].
    pub(crate) fn rollback(&mut self) {
        self.now = self.committed;
        // SQLite rolls back by itself after some errors (a full disk, for one).
        if self.conn.is_autocommit() {
            return;
        }
        if let Err(error) = self.conn.execute_batch("ROLLBACK") {
            tracing::warn!(%error, "cannot roll back");
        }
    }

    fn seal(&self) -> rusqlite::Result<()> {
        if self.now.log_head != self.committed.log_head {
            set_meta(&self.conn, "log_head", self.now.log_head)?;
        }
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// What is in the file for good.
    pub(crate) fn committed(&self) -> Counters {
        self.committed
    }
}

pub(crate) fn meta(conn: &Connection, key: &str) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?.query_row([key], |row| row.get(0))
}

pub(crate) fn set_meta(conn: &Connection, key: &str, value: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE meta SET value = ?2 WHERE key = ?1")?.execute((key, value))?;
    Ok(())
}
