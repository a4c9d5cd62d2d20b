//! What is known of each instance.
//!
//! ```text
//! unknown ──remember──► known ──transition(change, event)──► known ──forget──► unknown
//!                         │                                                      │
//!                         └ captured lines                                       └ they are removed, in steps
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use insula_spec::{InstanceName, Level};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;

use crate::db::{Db, Durability};
use crate::error::WriteError;
use crate::event::{self, Event, foreign};
use crate::time::{from_micros, micros};
use crate::writer::Class;

/// What an instance should be doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// Running.
    Up,
    /// Asleep until somebody asks for it.
    Asleep,
    /// Stopped by the operator; requests do not wake it.
    Stopped,
}

impl Wanted {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Asleep => "asleep",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names nothing an instance could be wanted to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not something an instance can be wanted to be")]
pub struct UnknownWanted(pub String);

impl UnknownWanted {
    /// What to type instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "use one of up, asleep, stopped"
    }
}

impl FromStr for Wanted {
    type Err = UnknownWanted;
    fn from_str(text: &str) -> Result<Self, UnknownWanted> {
        let found = [Self::Up, Self::Asleep, Self::Stopped].into_iter().find(|w| w.as_str() == text);
        found.ok_or_else(|| UnknownWanted(text.to_owned()))
    }
}

impl FromSql for Wanted {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(|e: UnknownWanted| FromSqlError::Other(Box::new(e)))
    }
}

/// One known instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRow {
    /// Whose row it is.
    pub name: InstanceName,
    /// What it should be doing.
    pub wanted: Wanted,
    /// The level resolved at its first deploy.
    pub level: Option<Level>,
    /// The sandbox that runs for it, as the level described it (JSON; opaque here).
    pub record: Option<String>,
    /// How often it was started again after it ended by itself.
    pub restarts: u64,
    /// How often a request woke it.
    pub wakes: u64,
    /// How many requests and raw connections it took, as far as that was written: see [`Change::requests`].
    pub requests: u64,
    /// Why it was given up, if it was.
    pub failed: Option<String>,
    /// When any of this changed last.
    pub updated: SystemTime,
}

/// What changes about an instance, in one transaction with the event that says why.
///
/// A change of level, to `stopped`, or one marked [`Change::lasting`] is on the disk before the answer; the
/// rest may be undone by a power cut, which ends every sandbox anyway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    wanted: Option<Wanted>,
    level: Option<Level>,
    record: Option<Option<String>>,
    failed: Option<Option<String>>,
    wakes: i64,
    restarts: i64,
    requests: u64,
    lasting: bool,
}

impl Change {
    /// Nothing yet; with this alone only the event is written.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// A sandbox runs: keeps its record (JSON) and clears an earlier failure.
    #[must_use]
    pub fn started(record: impl Into<String>) -> Self {
        Self { record: Some(Some(record.into())), failed: Some(None), ..Self::default() }
    }

    /// No sandbox runs any more: clears the record.
    #[must_use]
    pub fn ended() -> Self {
        Self { record: Some(None), ..Self::default() }
    }

    /// It is given up: clears the record and keeps the reason.
    #[must_use]
    pub fn failed(why: impl Into<String>) -> Self {
        Self { record: Some(None), failed: Some(Some(why.into())), ..Self::default() }
    }

    /// It should be doing this from now on.
    #[must_use]
    pub fn wanted(mut self, wanted: Wanted) -> Self {
        self.wanted = Some(wanted);
        self
    }

    /// It runs at this level from now on.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// Clears an earlier failure.
    #[must_use]
    pub fn recovered(mut self) -> Self {
        self.failed = Some(None);
        self
    }

    /// Counts a wake.
    #[must_use]
    pub fn wake(mut self) -> Self {
        self.wakes = 1;
        self
    }

    /// Counts a restart.
    #[must_use]
    pub fn restart(mut self) -> Self {
        self.restarts = 1;
        self
    }

    /// Counts requests that it took since this was last written.
    #[must_use]
    pub fn requests(mut self, requests: u64) -> Self {
        self.requests = requests;
        self
    }

    /// Must survive a power cut: for what an operator decided.
    #[must_use]
    pub fn lasting(mut self) -> Self {
        self.lasting = true;
        self
    }

    pub(crate) fn class(&self) -> Class {
        let lasting = self.lasting || self.level.is_some() || self.wanted == Some(Wanted::Stopped);
        let durability = if lasting { Durability::Power } else { Durability::Process };
        Class { durability, ..Class::STATE }
    }
}

/// Why an instance was not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    /// It is not known.
    #[error("cannot change `{0}`: it is not known")]
    Unknown(InstanceName),
    /// The write failed.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl ChangeError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown(name) => {
                format!("`insula ps` lists what is known; `insula spawn {name}` makes it known")
            }
            Self::Write(e) => e.hint(),
        }
    }
}

const COLUMNS: &str =
    "SELECT name, wanted, level, record, restarts, wakes, requests, failed, updated FROM instance";

/// The number under which an instance's lines are kept.
pub(crate) fn number(conn: &Connection, name: &InstanceName) -> rusqlite::Result<Option<i64>> {
    let mut select = conn.prepare_cached("SELECT id FROM instance WHERE name = ?1")?;
    select.query_row([name.to_string()], |row| row.get(0)).optional()
}

/// Makes an instance known; the event is written only if it was not.
pub(crate) fn remember(db: &mut Db, name: &InstanceName, event: &Event) -> rusqlite::Result<InstanceRow> {
    let sql =
        "INSERT INTO instance (name, wanted, updated) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO NOTHING";
    let values = (name.to_string(), Wanted::Up.as_str(), micros(event.time));
    if db.conn.prepare_cached(sql)?.execute(values)? == 1 {
        event::insert(db, Some(name), event)?;
    }
    one(&db.conn, name)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// Makes an instance unknown; its lines are left to the trimmer.
pub(crate) fn forget(db: &mut Db, name: &InstanceName, event: &Event) -> rusqlite::Result<bool> {
    let Some(number) = number(&db.conn, name)? else { return Ok(false) };
    db.conn
        .prepare_cached("UPDATE instance SET name = NULL, record = NULL, failed = NULL WHERE id = ?1")?
        .execute([number])?;
    db.conn.prepare_cached("DELETE FROM stream WHERE instance = ?1")?.execute([number])?;
    crate::version::forget(&db.conn, name)?;
    crate::net_policy::forget(&db.conn, name)?;
    db.touched.logs.insert(number);
    event::insert(db, Some(name), event)?;
    Ok(true)
}

/// Changes an instance and writes why. `false` when it is not known; then nothing is written.
pub(crate) fn change(
    db: &mut Db,
    name: &InstanceName,
    change: &Change,
    event: &Event,
) -> rusqlite::Result<bool> {
    let sql = "UPDATE instance SET
            wanted = coalesce(?2, wanted), level = coalesce(?3, level),
            record = CASE WHEN ?4 THEN ?5 ELSE record END,
            failed = CASE WHEN ?6 THEN ?7 ELSE failed END,
            wakes = wakes + ?8, restarts = restarts + ?9, updated = ?10, requests = requests + ?11
        WHERE name = ?1";
    let changed = db.conn.prepare_cached(sql)?.execute((
        name.to_string(),
        change.wanted.map(Wanted::as_str),
        change.level.map(Level::as_str),
        change.record.is_some(),
        change.record.as_ref().and_then(Option::as_ref),
        change.failed.is_some(),
        change.failed.as_ref().and_then(Option::as_ref),
        change.wakes,
        change.restarts,
        micros(event.time),
        i64::try_from(change.requests).unwrap_or(i64::MAX),
    ))?;
    if changed == 0 {
        return Ok(false);
    }
    event::insert(db, Some(name), event)?;
    Ok(true)
}

/// Counts requests of an instance without anything else to tell. Nothing happens where it is not known.
pub(crate) fn count_requests(db: &mut Db, name: &InstanceName, requests: u64) -> rusqlite::Result<()> {
    let sql = "UPDATE instance SET requests = requests + ?2 WHERE name = ?1";
    let more = i64::try_from(requests).unwrap_or(i64::MAX);
    db.conn.prepare_cached(sql)?.execute((name.to_string(), more)).map(|_| ())
}

/// Every known instance, by name.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<InstanceRow>> {
    let sql = format!("{COLUMNS} WHERE name IS NOT NULL ORDER BY name");
    conn.prepare_cached(&sql)?.query_map([], row)?.collect()
}

/// One known instance.
pub(crate) fn one(conn: &Connection, name: &InstanceName) -> rusqlite::Result<Option<InstanceRow>> {
    let sql = format!("{COLUMNS} WHERE name = ?1");
    conn.prepare_cached(&sql)?.query_row([name.to_string()], row).optional()
}

fn row(row: &Row<'_>) -> rusqlite::Result<InstanceRow> {
    let name: String = row.get("name")?;
    let level: Option<String> = row.get("level")?;
    Ok(InstanceRow {
        name: name.parse().map_err(foreign)?,
        wanted: row.get("wanted")?,
        level: level.map(|text| text.parse()).transpose().map_err(foreign)?,
        record: row.get("record")?,
        restarts: row.get("restarts")?,
        wakes: row.get("wakes")?,
        requests: row.get("requests")?,
        failed: row.get("failed")?,
        updated: from_micros(row.get("updated")?),
    })
}
