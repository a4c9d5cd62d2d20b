//! Captured output: from the pipe until it can be searched, and the search, beside SQLite alone.
//!
//! The floor is one thread that inserts the same lines into the same tables with the same settings, in
//! transactions of [`BATCH`] lines, from memory: no pipe, no walls, no acknowledgement. Both files grow alike,
//! round by round, and are searched when they are full.

use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use anyhow::Context;
use rusqlite::Connection;

use crate::Extent;
use crate::api::Api;
use crate::cloud::Cloud;
use crate::goal::{Beside, Goal};
use crate::table::Table;

/// Lines of one transaction of the floor: about what Insula's writer finds waiting.
const BATCH: u64 = 4000;
/// Rounds, whatever the extent: 1,000,000 lines in a full run.
const ROUNDS: u64 = 10;
/// Times that each search is done.
const SEARCHES: usize = 100;

/// What the floor has of the tables of `insula.db`.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 1024;
    CREATE TABLE log (id INTEGER PRIMARY KEY, instance INTEGER NOT NULL, seq INTEGER NOT NULL,
        time INTEGER NOT NULL, output INTEGER NOT NULL, line ANY NOT NULL) STRICT;
    CREATE INDEX log_instance ON log (instance);
    CREATE VIRTUAL TABLE log_words USING fts5(
        who, line, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2');";

/// What is looked for: the words for people, and as SQLite wants them.
const SEARCH: [(&str, &str, &str); 3] = [
    ("search, common word, newest 100", "timeout", "line : (\"timeout\")"),
    ("search, phrase, newest 100", "%22panic+index%22", "line : (\"panic index\")"),
    ("search, rare word", "n777", "line : (\"n777\")"),
];

/// A line of about 60 bytes. A real log repeats its words and has a number or two that it never repeats.
pub(crate) fn line(n: u64) -> String {
    const WORDS: [&str; 10] =
        ["request", "done", "user", "cache", "miss", "error", "timeout", "retry", "panic", "index"];
    let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let word = |at: u32| WORDS[usize::try_from((mixed >> (at * 8 + 20)) % 10).unwrap_or(0)];
    format!("{} {} {} n{n} took {} ms for {}", word(0), word(1), word(2), mixed % 1000, word(3))
}

/// The last line of a round.
pub(crate) fn end(round: u64) -> String {
    format!("endofround{round}")
}

/// Lines per second for both, then milliseconds of each search.
pub(crate) fn measure(cloud: &Cloud, extent: Extent) -> anyhow::Result<Vec<Table>> {
    let floor = Floor::open(cloud)?;
    let mut ingest =
        Table::new("log ingest, pipe to searchable", "lines/s", &["floor: SQLite alone", "insula"])
            .goal(Goal::at_least(0.8, 1).beside(Beside::Times(0)));
    crate::http::first_answer(cloud.port, "a.chatter.localhost", crate::http::SELDOM)?;
    let before = count(cloud)?;
    for round in 0..ROUNDS {
        ingest.add(0, floor.round(round, extent.lines)?);
        ingest.add(1, insula(cloud, round, extent.lines)?);
    }
    let wanted = ROUNDS * (extent.lines + 1);
    let stored = count(cloud)? - before;
    anyhow::ensure!(stored == wanted, "{} of {wanted} lines were lost", wanted - stored);
    let mut tables = vec![ingest];
    let mut api = Api::connect(cloud)?;
    for (title, words, query) in SEARCH {
        let title = format!("{title}, {wanted} lines");
        let mut table =
            Table::new(title, "ms", &["floor: SQLite alone", "insula over HTTP"]).goal(Goal::at_most(2.0, 1));
        for _ in 0..SEARCHES {
            let (took, found) = floor.search(query)?;
            table.add(0, took);
            let started = Instant::now();
            let answer = api.get(&format!("/v1/logs?limit=100&search={words}"))?;
            table.add(1, started.elapsed().as_secs_f64() * 1000.0);
            let lines = answer["lines"].as_array().map_or(0, Vec::len);
            anyhow::ensure!(lines == found && found > 0, "`{words}`: {lines} lines, the floor has {found}");
        }
        tables.push(table);
    }
    Ok(tables)
}

/// Lines per second: from the request that makes the app write until the last of its lines is found.
fn insula(cloud: &Cloud, round: u64, lines: u64) -> anyhow::Result<f64> {
    let told = Told::after_this(cloud, round)?;
    let started = Instant::now();
    let _request = chat(cloud, round, lines, None)?;
    told.wait()?;
    Ok(rate(lines, started))
}

/// Makes the app write so many lines, and one that ends the round; not more than `rate` each second. The request
/// ends with what it gives back: a client that leaves takes it back.
pub(crate) fn chat(cloud: &Cloud, round: u64, lines: u64, rate: Option<u32>) -> anyhow::Result<TcpStream> {
    let mut app = TcpStream::connect(("127.0.0.1", cloud.port))?;
    let rate = rate.unwrap_or(0);
    let head = format!("GET /{round}/{lines}/{rate} HTTP/1.1\r\nHost: a.chatter.localhost\r\n\r\n");
    app.write_all(head.as_bytes())?;
    Ok(app)
}

/// The end of a round, once it can be found.
pub(crate) struct Told(Api);

impl Told {
    /// Follows a search for it from now on.
    pub(crate) fn after_this(cloud: &Cloud, round: u64) -> anyhow::Result<Self> {
        let head = Api::connect(cloud)?.get("/v1/logs?limit=1")?["head"].as_u64().context("no head")?;
        let mut follow = Api::connect(cloud)?;
        let path = format!("/v1/logs?search={}&after={head}", end(round));
        follow.ask(&path, "Accept: text/event-stream\r\n")?;
        follow.until(": so far")?;
        Ok(Self(follow))
    }

    pub(crate) fn wait(mut self) -> anyhow::Result<()> {
        self.0.until("data: ")
    }
}

fn rate(lines: u64, started: Instant) -> f64 {
    u32::try_from(lines).map_or(f64::NAN, f64::from) / started.elapsed().as_secs_f64()
}

/// How many lines of the app are stored.
pub(crate) fn count(cloud: &Cloud) -> anyhow::Result<u64> {
    let (mut api, mut after, mut all) = (Api::connect(cloud)?, 0, 0);
    loop {
        let path = format!("/v1/logs?instance=chatter:a&order=oldest&limit=1000&after={after}");
        let page = api.get(&path)?;
        all += page["lines"].as_array().map_or(0, Vec::len);
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => return Ok(u64::try_from(all)?),
        }
    }
}

/// SQLite alone.
struct Floor(Connection);

impl Floor {
    fn open(cloud: &Cloud) -> anyhow::Result<Self> {
        let conn = Connection::open(cloud.dir().join("floor.db"))?;
        conn.execute_batch(SCHEMA)?;
        Ok(Self(conn))
    }

    fn round(&self, round: u64, lines: u64) -> anyhow::Result<f64> {
        let texts: Vec<_> = (0..lines).map(|n| line(round * lines + n)).chain([end(round)]).collect();
        let mut id = i64::try_from(round * (lines + 1))?;
        let started = Instant::now();
        for batch in texts.chunks(usize::try_from(BATCH)?) {
            self.0.execute_batch("BEGIN IMMEDIATE")?;
            let sql =
                "INSERT INTO log (id, instance, seq, time, output, line) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let mut log = self.0.prepare_cached(sql)?;
            let sql = "INSERT INTO log_words (rowid, who, line) VALUES (?1, ?2, ?3)";
            let mut words = self.0.prepare_cached(sql)?;
            for text in batch {
                id += 1;
                log.execute((id, 1, id, 1_700_000_000_000_000 + id, 0, text))?;
                words.execute((id, "1", text))?;
            }
            self.0.execute_batch("COMMIT")?;
        }
        Ok(rate(lines, started))
    }

    /// Milliseconds, and how many lines were found.
    fn search(&self, query: &str) -> anyhow::Result<(f64, usize)> {
        let started = Instant::now();
        let sql = "SELECT l.id, l.instance, l.time, l.output, l.line FROM log_words w
            CROSS JOIN log l ON l.id = w.rowid WHERE log_words MATCH ?1 ORDER BY w.rowid DESC LIMIT 100";
        let mut select = self.0.prepare_cached(sql)?;
        let rows = select.query_map([query], |row| row.get::<_, String>(4))?;
        let found = rows.collect::<Result<Vec<_>, _>>()?.len();
        Ok((started.elapsed().as_secs_f64() * 1000.0, found))
    }
}
