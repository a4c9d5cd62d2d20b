//! How far each receiver of alerts has been told.
//!
//! There is no queue of alerts: the event log is the queue, and a receiver is a cursor into it.
//!
//! ```text
//! event log   ... 41  42  43  44
//! receiver `ops`      └── cursor: 42 is settled (delivered, given up, or not asked for), 43 is next
//! ```
//! A cursor moves only after its event is settled, so that the death of this process loses nothing: at
//! worst one event is delivered again, under the same id.

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, Row};

use crate::db::Db;
use crate::error::{ReadError, WriteError};
use crate::store::Store;
use crate::time::{from_micros, micros};
use crate::writer::Class;

/// Longest error stored, in bytes; a longer one is cut.
const ERROR_MAX: usize = 1024;

/// What is known of one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertCursor {
    /// Name of the receiver.
    pub hook: String,
    /// Id of the last event that is settled.
    pub cursor: u64,
    /// Alerts that it accepted.
    pub delivered: u64,
    /// Alerts that it refused for good, or that grew too old.
    pub given_up: u64,
    /// Attempts that failed and are repeated.
    pub failed: u64,
    /// When it last accepted one.
    pub last_success: Option<SystemTime>,
    /// When it last failed, and why.
    pub last_error: Option<(SystemTime, String)>,
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlertStep {
    /// Events up to the given one are not for this receiver.
    Passed,
    /// The receiver accepted it.
    Delivered,
    /// It will not be sent again.
    GivenUp(String),
    /// It will be sent again; the cursor stays.
    Failed(String),
}

impl Store {
    /// Where a receiver is; one that was never heard of begins behind the newest event.
    ///
    /// # Errors
    /// When the write fails.
    pub async fn alert_cursor(&self, hook: &str) -> Result<u64, WriteError> {
        let hook = hook.to_owned();
        self.write(Class::STATE, move |db| begin(db, &hook)).await
    }

    /// Writes down what became of the event `id` at a receiver.
    ///
    /// # Errors
    /// When the write fails.
    pub async fn alert_step(&self, hook: &str, id: u64, step: AlertStep) -> Result<(), WriteError> {
        let hook = hook.to_owned();
        self.write(Class::STATE, move |db| settle(db, (&hook, id), &step)).await
    }

    /// Every receiver that there ever was, by name.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn alert_cursors(&self) -> Result<Vec<AlertCursor>, ReadError> {
        self.read(all).await
    }
}

fn begin(db: &Db, hook: &str) -> rusqlite::Result<u64> {
    let sql = "SELECT cursor FROM alert WHERE hook = ?1";
    let known: Option<u64> = db.conn.prepare_cached(sql)?.query_row([hook], |row| row.get(0)).optional()?;
    if let Some(cursor) = known {
        return Ok(cursor);
    }
    let head = db.now.event_head;
    db.conn.prepare_cached("INSERT INTO alert (hook, cursor) VALUES (?1, ?2)")?.execute((hook, head))?;
    Ok(u64::try_from(head).unwrap_or(0))
}

fn settle(db: &Db, (hook, id): (&str, u64), step: &AlertStep) -> rusqlite::Result<()> {
    let id = i64::try_from(id).unwrap_or(i64::MAX);
    let now = micros(SystemTime::now());
    let change =
        |sql: &str, values: &[&dyn rusqlite::ToSql]| db.conn.prepare_cached(sql)?.execute(values).map(drop);
    match step {
        AlertStep::Passed => {
            change("UPDATE alert SET cursor = max(cursor, ?2) WHERE hook = ?1", &[&hook, &id])
        }
        AlertStep::Delivered => change(
            "UPDATE alert SET cursor = max(cursor, ?2), delivered = delivered + 1, success = ?3 WHERE hook = ?1",
            &[&hook, &id, &now],
        ),
        AlertStep::GivenUp(why) => change(
            "UPDATE alert SET cursor = max(cursor, ?2), given_up = given_up + 1, failure = ?3, error = ?4
             WHERE hook = ?1",
            &[&hook, &id, &now, &cut(why)],
        ),
        AlertStep::Failed(why) => change(
            "UPDATE alert SET failed = failed + 1, failure = ?2, error = ?3 WHERE hook = ?1",
            &[&hook, &now, &cut(why)],
        ),
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(ERROR_MAX)]
}

fn all(conn: &Connection) -> rusqlite::Result<Vec<AlertCursor>> {
    conn.prepare_cached("SELECT * FROM alert ORDER BY hook")?.query_map([], row)?.collect()
}

fn row(row: &Row<'_>) -> rusqlite::Result<AlertCursor> {
    let success: Option<i64> = row.get("success")?;
    let failure: Option<i64> = row.get("failure")?;
    let error: Option<String> = row.get("error")?;
    Ok(AlertCursor {
        hook: row.get("hook")?,
        cursor: row.get("cursor")?,
        delivered: row.get("delivered")?,
        given_up: row.get("given_up")?,
        failed: row.get("failed")?,
        last_success: success.map(from_micros),
        last_error: failure.map(from_micros).zip(error),
    })
}

#[cfg(test)]
mod tests {
    use crate::{Event, EventKind};

    use super::*;

    #[tokio::test]
    async fn a_cursor_begins_at_the_end_and_moves_only_when_an_event_is_settled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let store = Store::open(&path).await.unwrap();
        store.note(None, Event::new(EventKind::Swept, "before")).await.unwrap();
        let start = store.alert_cursor("ops").await.unwrap();
        assert_eq!(start, 1);
        store.note(None, Event::new(EventKind::Swept, "after")).await.unwrap();
        store.alert_step("ops", 2, AlertStep::Failed("refused".into())).await.unwrap();
        assert_eq!(store.alert_cursor("ops").await.unwrap(), 1, "a failure moved it");
        store.alert_step("ops", 2, AlertStep::Delivered).await.unwrap();
        store.alert_step("ops", 1, AlertStep::Passed).await.unwrap();
        store.alert_step("ops", 3, AlertStep::GivenUp("ä".repeat(600))).await.unwrap();
        store.close().await.unwrap();
        let store = Store::open(&path).await.unwrap();
        assert_eq!(store.alert_cursor("ops").await.unwrap(), 3);
        let known = store.alert_cursors().await.unwrap().remove(0);
        assert_eq!((known.delivered, known.given_up, known.failed), (1, 1, 1));
        assert!(known.last_success.is_some());
        assert_eq!(known.last_error.unwrap().1.len(), 1024);
    }
}
