//! Looking for lines of any instances, by words, stream and time.
//!
//! ```text
//! words ──► log_words (newest or oldest first) ──► log ─┐
//! few owners ──► log_instance, for each ──► merged ─────┼─► filter ──► page, until full or enough was read
//! neither ──► log, in order ────────────────────────────┘
//!        cursors are bounded first: by the query, and by zones where it asks for times
//! ```

use std::collections::HashMap;
use std::time::SystemTime;

use insula_spec::{InstanceName, ServiceName};
use rusqlite::{Connection, OptionalExtension, Row};

use super::index::ZONE_BITS;
use super::words::Search;
use super::{Cursor, Output};
use crate::db::meta;
use crate::event::foreign;
use crate::options::Retention;
use crate::time::{from_micros, micros};

/// Most lines in one page.
const PAGE_ROWS: usize = 10_000;
/// A page ends after so many bytes.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// A page ends after so many lines were looked at, however few of them fit.
const SCAN_ROWS: usize = 50_000;
/// Owners that are asked for by the index of words; more are told apart line by line.
const OWNERS_IN_QUERY: usize = 64;

/// Whose lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Of this instance.
    Instance(InstanceName),
    /// Of all instances of this service.
    Service(ServiceName),
}

impl Whose {
    /// Whether the instance is meant.
    #[must_use]
    pub fn covers(&self, name: &InstanceName) -> bool {
        match self {
            Self::Instance(instance) => instance == name,
            Self::Service(service) => *service == name.service,
        }
    }

    /// The least name and one behind the last, as the file orders names: `!` is before, `;` right behind
    /// everything that can stand in a name.
    pub(crate) fn names(&self) -> (String, String) {
        match self {
            Self::Instance(name) => (name.to_string(), format!("{name}!")),
            Self::Service(name) => (format!("{name}:"), format!("{name};")),
        }
    }
}

impl std::fmt::Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Instance(name) => name.fmt(f),
            Self::Service(name) => name.fmt(f),
        }
    }
}

/// Which end of what is stored comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogOrder {
    /// Newest first, backwards.
    #[default]
    Newest,
    /// Oldest first, forwards.
    Oldest,
}

/// Which lines to find. The default is the newest of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Of any of these; empty for all.
    pub whose: Vec<Whose>,
    /// Only lines with these words.
    pub search: Option<Search>,
    /// Only of this stream.
    pub output: Option<Output>,
    /// Only read from the workload at or after this time.
    pub since: Option<SystemTime>,
    /// Only read from the workload before this time.
    pub until: Option<SystemTime>,
    /// Only lines behind this one.
    pub after: Option<Cursor>,
    /// Only lines ahead of this one.
    pub before: Option<Cursor>,
    /// At most so many in the page; never more than 10,000 or about 4 MiB.
    pub limit: Option<usize>,
    /// Which come first, and which a limit keeps.
    pub order: LogOrder,
}

/// A line, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLine {
    /// Its place.
    pub cursor: Cursor,
    /// Whose it is.
    pub instance: InstanceName,
    /// When it was read from the workload, in microseconds.
    pub time: SystemTime,
    /// Where it came from.
    pub output: Output,
    /// The bytes, without the newline.
    pub bytes: Vec<u8>,
}

/// Some lines in the order asked for. There may be none although there are more to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPage {
    /// The lines.
    pub lines: Vec<FoundLine>,
    /// Where to go on: as `before` with the newest first, as `after` with the oldest first. `None` at the end.
    pub next: Option<Cursor>,
    /// The newest line of anyone when this was read. Whoever has reached the end waits for lines behind it.
    pub head: Cursor,
    /// Whether older lines cannot be searched yet, because the index is still being made.
    pub incomplete: bool,
}

/// What the query says, in numbers.
struct Plan<'a> {
    filter: &'a LogFilter,
    owners: HashMap<i64, InstanceName>,
    /// Whether `owners` is everybody.
    all: bool,
    /// First and last cursor that may fit.
    range: (i64, i64),
    times: (i64, i64),
    limit: usize,
}

/// The lines that a filter asks for. The caller holds a read transaction.
pub(crate) fn find(conn: &Connection, filter: &LogFilter) -> rusqlite::Result<FoundPage> {
    let head = meta(conn, "log_head")?;
    let unindexed = meta(conn, "log_unindexed")?;
    let plan = Plan {
        filter,
        owners: owners(conn, &filter.whose)?,
        all: filter.whose.is_empty(),
        range: range(conn, filter, unindexed)?,
        times: (filter.since.map_or(i64::MIN, micros), filter.until.map_or(i64::MAX, micros)),
        limit: filter.limit.unwrap_or(PAGE_ROWS).min(PAGE_ROWS),
    };
    let mut page = FoundPage {
        lines: Vec::new(),
        next: None,
        head: Cursor::from_row(head),
        incomplete: filter.search.is_some() && unindexed > 0,
    };
    if plan.range.0 > plan.range.1 || plan.owners.is_empty() {
        return Ok(page);
    }
    match &filter.search {
        Some(search) => plan.by_words(conn, search, &mut page)?,
        None if plan.all => plan.in_order(conn, &mut page)?,
        None => plan.by_owner(conn, &mut page)?,
    }
    Ok(page)
}

/// Whose lines may be shown, by number. An instance that was forgotten has no name.
fn owners(conn: &Connection, whose: &[Whose]) -> rusqlite::Result<HashMap<i64, InstanceName>> {
    let mut owners = HashMap::new();
    for one in whose {
        let (from, to) = one.names();
        collect(conn, (&from, &to), &mut owners)?;
    }
    if whose.is_empty() {
        collect(conn, ("", "\u{10FFFF}"), &mut owners)?;
    }
    Ok(owners)
}

fn collect(
    conn: &Connection,
    names: (&str, &str),
    owners: &mut HashMap<i64, InstanceName>,
) -> rusqlite::Result<()> {
    let mut select = conn.prepare_cached("SELECT id, name FROM instance WHERE name >= ?1 AND name < ?2")?;
    let mut rows = select.query(names)?;
    while let Some(row) = rows.next()? {
        owners.insert(row.get(0)?, row.get::<_, String>(1)?.parse().map_err(foreign)?);
    }
    Ok(())
}

/// First and last cursor that may fit.
fn range(conn: &Connection, filter: &LogFilter, unindexed: i64) -> rusqlite::Result<(i64, i64)> {
    let mut first = filter.after.map_or(1, |cursor| cursor.to_row().saturating_add(1));
    let mut last = filter.before.map_or(i64::MAX, |cursor| cursor.to_row().saturating_sub(1));
    let zone = |sql: &str, time: SystemTime| -> rusqlite::Result<Option<i64>> {
        conn.prepare_cached(sql)?.query_row([micros(time)], |row| row.get(0)).optional()
    };
    if let Some(since) = filter.since
        && unindexed == 0
    {
        let sql = "SELECT zone FROM log_zone WHERE last >= ?1 ORDER BY zone LIMIT 1";
        first = first.max(zone(sql, since)?.map_or(i64::MAX, |zone| zone << ZONE_BITS));
    }
    if let Some(until) = filter.until {
        let sql = "SELECT zone FROM log_zone WHERE first < ?1 ORDER BY zone DESC LIMIT 1";
        last = last.min(zone(sql, until)?.map_or(unindexed, |zone| ((zone + 1) << ZONE_BITS) - 1));
    }
    Ok((first, last))
}

impl Plan<'_> {
    fn by_words(&self, conn: &Connection, search: &Search, page: &mut FoundPage) -> rusqlite::Result<()> {
        // CROSS JOIN: the words come first, whatever the planner thinks.
        let sql = format!(
            "SELECT l.id, l.instance, l.time, l.output, l.line FROM log_words w CROSS JOIN log l ON l.id = w.rowid
             WHERE log_words MATCH ?1 AND w.rowid BETWEEN ?2 AND ?3 ORDER BY w.rowid {}",
            self.direction()
        );
        let query = search.query(self.who().as_deref());
        let mut select = conn.prepare_cached(&sql)?;
        let mut rows = select.query((query, self.range.0, self.range.1))?;
        self.fill(page, || rows.next()?.map(read).transpose())
    }

    fn in_order(&self, conn: &Connection, page: &mut FoundPage) -> rusqlite::Result<()> {
        let sql = format!(
            "SELECT id, instance, time, output, line FROM log WHERE id BETWEEN ?1 AND ?2 ORDER BY id {}",
            self.direction()
        );
        let mut select = conn.prepare_cached(&sql)?;
        let mut rows = select.query(self.range)?;
        self.fill(page, || rows.next()?.map(read).transpose())
    }

    /// Asks for the lines of each owner and takes those that come first of all.
    fn by_owner(&self, conn: &Connection, page: &mut FoundPage) -> rusqlite::Result<()> {
        let outputs = match self.filter.output {
            None => (0, 1),
            Some(output) => (output.code(), output.code()),
        };
        let sql = format!(
            "SELECT id FROM log WHERE instance = ?1 AND id BETWEEN ?2 AND ?3 AND time >= ?4 AND time < ?5
             AND output BETWEEN ?6 AND ?7 ORDER BY id {} LIMIT ?8",
            self.direction()
        );
        let mut select = conn.prepare_cached(&sql)?;
        let mut ids: Vec<i64> = Vec::new();
        // One more than fits tells whether there are more.
        let wanted = self.limit + 1;
        for owner in self.owners.keys() {
            let (first, last) = self.range;
            let times = self.times;
            let found = select
                .query_map((owner, first, last, times.0, times.1, outputs.0, outputs.1, wanted), |row| {
                    row.get(0)
                })?;
            found.into_iter().try_for_each(|id| id.map(|id| ids.push(id)))?;
            if ids.len() > 4 * wanted.max(SCAN_ROWS) {
                self.keep_first(&mut ids, wanted);
            }
        }
        self.keep_first(&mut ids, wanted);
        let mut line =
            conn.prepare_cached("SELECT id, instance, time, output, line FROM log WHERE id = ?1")?;
        let mut ids = ids.into_iter();
        self.fill(page, || ids.next().map(|id| line.query_row([id], read)).transpose())
    }

    fn keep_first(&self, ids: &mut Vec<i64>, wanted: usize) {
        match self.filter.order {
            LogOrder::Newest => ids.sort_unstable_by(|a, b| b.cmp(a)),
            LogOrder::Oldest => ids.sort_unstable(),
        }
        ids.truncate(wanted);
    }

    /// Takes lines until the page is full, enough were looked at, or there are no more.
    fn fill(
        &self,
        page: &mut FoundPage,
        mut next: impl FnMut() -> rusqlite::Result<Option<Stored>>,
    ) -> rusqlite::Result<()> {
        let (mut seen, mut bytes, mut last) = (0, 0, None);
        loop {
            let Some(line) = next()? else { return Ok(()) };
            let fits = self.fits(&line);
            if page.lines.len() >= self.limit && fits || seen >= SCAN_ROWS || bytes >= PAGE_BYTES {
                // A page of none goes nowhere: back to where it began.
                page.next = Some(last.unwrap_or_else(|| self.start()));
                return Ok(());
            }
            last = Some(Cursor::from_row(line.id));
            seen += 1;
            if fits && let Some(found) = self.found(line) {
                bytes += Retention::LINE + found.bytes.len() as u64;
                page.lines.push(found);
            }
        }
    }

    fn start(&self) -> Cursor {
        match self.filter.order {
            LogOrder::Newest => Cursor::from_row(self.range.1.saturating_add(1)),
            LogOrder::Oldest => Cursor::from_row(self.range.0.saturating_sub(1)),
        }
    }

    fn fits(&self, line: &Stored) -> bool {
        self.owners.contains_key(&line.instance)
            && self.filter.output.is_none_or(|output| output.code() == line.output)
            && (self.times.0..self.times.1).contains(&line.time)
    }

    fn found(&self, line: Stored) -> Option<FoundLine> {
        Some(FoundLine {
            cursor: Cursor::from_row(line.id),
            instance: self.owners.get(&line.instance)?.clone(),
            time: from_micros(line.time),
            output: if line.output == 0 { Output::Stdout } else { Output::Stderr },
            bytes: line.bytes,
        })
    }

    fn direction(&self) -> &'static str {
        match self.filter.order {
            LogOrder::Newest => "DESC",
            LogOrder::Oldest => "ASC",
        }
    }

    /// What the index of words says of owner and stream, where it is worth asking.
    fn who(&self) -> Option<String> {
        let few = !self.all && self.owners.len() <= OWNERS_IN_QUERY;
        let owners =
            few.then(|| self.owners.keys().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(" OR "));
        let err = (self.filter.output == Some(Output::Stderr)).then(|| "\"err\"".to_owned());
        match (owners, err) {
            (Some(owners), Some(err)) => Some(format!("(({owners}) AND {err})")),
            (Some(one), None) | (None, Some(one)) => Some(format!("({one})")),
            (None, None) => None,
        }
    }
}

/// A line as it is in the file.
struct Stored {
    id: i64,
    instance: i64,
    time: i64,
    output: i64,
    bytes: Vec<u8>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        id: row.get(0)?,
        instance: row.get(1)?,
        time: row.get(2)?,
        output: row.get(3)?,
        bytes: row.get_ref(4)?.as_bytes()?.to_vec(),
    })
}
