//! Claims about the store, each with the real file.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod access;
mod crash;
mod events;
mod faults;
mod full;
mod instances;
mod logs;
mod model;
mod open;
mod requests;
mod retention;
mod search;
mod versions;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use insula_spec::InstanceName;
use insula_store::{
    Event, EventKind, EventQuery, LogBatch, LogLine, LogPage, LogQuery, Options, Output, Retention, Store,
};

/// A directory of its own for each test, and the database in it.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("insula.db")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.dir.path().join(format!("insula.db{suffix}"))
    }

    async fn open(&self) -> Store {
        Store::open(&self.path()).await.unwrap()
    }

    async fn open_with(&self, retention: Retention) -> Store {
        Store::open_with(&self.path(), Options { retention, ..impatient() }).await.unwrap()
    }

    /// A connection of somebody else.
    fn stranger(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }
}

/// Does not wait for strangers.
fn impatient() -> Options {
    Options { busy_timeout: Duration::ZERO, ..Options::default() }
}

fn name(text: &str) -> InstanceName {
    text.parse().unwrap()
}

fn event(kind: EventKind) -> Event {
    Event::new(kind, "a test")
}

async fn remember(store: &Store, text: &str) -> InstanceName {
    let name = name(text);
    store.remember(&name, event(EventKind::Remembered)).await.unwrap();
    name
}

fn line(seq: u64, text: impl Into<Vec<u8>>) -> LogLine {
    let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_000 + seq % 1_000_000);
    LogLine { seq, time, output: Output::Stdout, bytes: text.into() }
}

/// Lines with these numbers, each saying its own number.
fn lines(seqs: impl IntoIterator<Item = u64>) -> LogBatch {
    LogBatch { gap: None, lines: seqs.into_iter().map(|seq| line(seq, format!("line {seq}"))).collect() }
}

async fn read(store: &Store, name: &InstanceName) -> LogPage {
    store.logs(LogQuery::of(name.clone())).await.unwrap()
}

async fn read_seqs(store: &Store, name: &InstanceName) -> Vec<u64> {
    read(store, name).await.rows.iter().map(|row| row.seq).collect()
}

async fn kinds_of(store: &Store, name: &InstanceName) -> Vec<EventKind> {
    let query = EventQuery { instance: Some(name.clone()), ..EventQuery::default() };
    store.events(query).await.unwrap().iter().map(|row| row.event.kind).collect()
}
