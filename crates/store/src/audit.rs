//! The audit log: who changed what, when, and how it ended.
//!
//! ```text
//! begin ──► row without outcome ──finish──► row with status and code
//!                  │
//!                  └ the daemon ended meanwhile: it stays without one
//! ```
//! A change begins only after its row is stored, so that none is missing. Each actor has room for
//! [`PER_ACTOR`] rows: nobody can push out what others did.

use std::time::SystemTime;

use rusqlite::{Connection, Row};

use crate::db::Db;
use crate::error::{ReadError, WriteError};
use crate::store::Store;
use crate::time::{from_micros, micros};
use crate::writer::Class;

/// Rows kept of one actor.
const PER_ACTOR: i64 = 10_000;

/// Rows after which those of an actor are counted.
const TRIM_EVERY: i64 = 64;

/// Most rows that one query returns.
const LIMIT_MAX: usize = 1_000;

/// Who asked for a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A user of this host, over the Unix socket.
    Unix {
        /// The user's id.
        uid: u32,
    },
    /// The holder of a token.
    Token {
        /// The token's id.
        id: String,
        /// What its owner called it.
        name: String,
    },
    /// Somebody on this host's loopback, where no token is asked for.
    Anonymous,
    /// Whoever sent the daemon a signal.
    Signal,
}

/// The key of [`Actor::Signal`].
const SIGNAL: &str = "signal";

impl Actor {
    /// What the rows of one actor have in common.
    fn key(&self) -> String {
        match self {
            Self::Unix { uid } => format!("unix:{uid}"),
            Self::Token { id, .. } => format!("token:{id}"),
            Self::Anonymous => "anonymous".to_owned(),
            Self::Signal => SIGNAL.to_owned(),
        }
    }
}

/// A change that somebody asks for. Never holds a body, a query or a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who.
    pub actor: Actor,
    /// From which address, over the network.
    pub address: Option<String>,
    /// The method.
    pub method: String,
    /// The template of the path.
    pub path: String,
    /// What its placeholders stand for, joined by `/`.
    pub target: Option<String>,
    /// Id of the request.
    pub request: String,
}

/// How a change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The HTTP status.
    pub status: u16,
    /// `ok`, or the code of the problem.
    pub code: String,
}

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Grows with each row; never reused.
    pub id: u64,
    /// When it was asked for.
    pub time: SystemTime,
    /// Who asked for what.
    pub entry: AuditEntry,
    /// How it ended; `None` while it goes on, and for ever when the daemon ended before it did.
    pub outcome: Option<Outcome>,
}

/// Which rows to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Oldest first, behind this id. Without it newest first.
    pub after: Option<u64>,
    /// At most so many; `None` and anything above it means 1,000.
    pub limit: Option<usize>,
}

impl Store {
    /// Writes down what somebody asks for, before it is done; answers the id of the row.
    ///
    /// # Errors
    /// When the write fails.
    pub async fn audit_begin(&self, entry: AuditEntry) -> Result<u64, WriteError> {
        self.write(Class::STATE, move |db| begin(db, &entry)).await
    }

    /// Writes down how it ended.
    ///
    /// # Errors
    /// When the write fails.
    pub async fn audit_finish(&self, id: u64, outcome: Outcome) -> Result<(), WriteError> {
        self.write(Class::STATE, move |db| {
            let sql = "UPDATE audit SET status = ?2, code = ?3 WHERE id = ?1";
            let id = i64::try_from(id).unwrap_or(i64::MAX);
            db.conn.prepare_cached(sql)?.execute((id, outcome.status, &outcome.code)).map(drop)
        })
        .await
    }

    /// Rows of the log, as the query asks.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRow>, ReadError> {
        self.read(move |conn| select(conn, query)).await
    }
}

fn begin(db: &mut Db, entry: &AuditEntry) -> rusqlite::Result<u64> {
    let (uid, token, token_name) = match &entry.actor {
        Actor::Unix { uid } => (Some(*uid), None, None),
        Actor::Token { id, name } => (None, Some(id), Some(name)),
        Actor::Anonymous | Actor::Signal => (None, None, None),
    };
    let key = entry.actor.key();
    let mut insert = db.conn.prepare_cached(
        "INSERT INTO audit (time, actor, uid, token, token_name, address, method, path, target, request)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let AuditEntry { address, method, path, target, request, .. } = entry;
    let now = micros(SystemTime::now());
    let id = insert.insert((now, &key, uid, token, token_name, address, method, path, target, request))?;
    if id % TRIM_EVERY == 0 {
        let sql = "DELETE FROM audit WHERE actor = ?1 AND id <=
            (SELECT id FROM audit WHERE actor = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
        db.conn.prepare_cached(sql)?.execute((&key, PER_ACTOR))?;
    }
    Ok(u64::try_from(id).unwrap_or(0))
}

fn select(conn: &Connection, query: AuditQuery) -> rusqlite::Result<Vec<AuditRow>> {
    let limit = i64::try_from(query.limit.unwrap_or(LIMIT_MAX).min(LIMIT_MAX)).unwrap_or(0);
    let after = query.after.map(|after| i64::try_from(after).unwrap_or(i64::MAX));
    let sql = match after {
        Some(_) => "SELECT * FROM audit WHERE id > ?1 ORDER BY id LIMIT ?2",
        None => "SELECT * FROM audit WHERE ?1 IS NULL ORDER BY id DESC LIMIT ?2",
    };
    conn.prepare_cached(sql)?.query_map((after, limit), row)?.collect()
}

fn row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    let actor = match (row.get("uid")?, row.get("token")?) {
        (Some(uid), _) => Actor::Unix { uid },
        (None, Some(id)) => {
            Actor::Token { id, name: row.get::<_, Option<String>>("token_name")?.unwrap_or_default() }
        }
        (None, None) if row.get::<_, String>("actor")? == SIGNAL => Actor::Signal,
        (None, None) => Actor::Anonymous,
    };
    let entry = AuditEntry {
        actor,
        address: row.get("address")?,
        method: row.get("method")?,
        path: row.get("path")?,
        target: row.get("target")?,
        request: row.get("request")?,
    };
    let outcome = match (row.get("status")?, row.get("code")?) {
        (Some(status), Some(code)) => Some(Outcome { status, code }),
        _ => None,
    };
    Ok(AuditRow { id: row.get("id")?, time: from_micros(row.get("time")?), entry, outcome })
}
