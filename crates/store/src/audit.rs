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

/// Which rows to read: those that fit everything that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Oldest first, behind this id. Without it newest first.
    pub after: Option<u64>,
    /// At most so many; `None` and anything above it means 1,000.
    pub limit: Option<usize>,
    /// Of this actor.
    pub who: Option<Whom>,
    /// About this very target, or about an instance of the service of this name.
    pub target: Option<String>,
    /// With this method, and with this path if there is one.
    pub action: Option<(String, Option<String>)>,
    /// Asked for at this time or later.
    pub since: Option<SystemTime>,
    /// Asked for before this time.
    pub until: Option<SystemTime>,
    /// That ended so.
    pub result: Option<Ending>,
}

/// An actor, as one is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// A user of this host.
    Unix(u32),
    /// The token with this id.
    Token(String),
    /// Somebody who was asked for no token.
    Anonymous,
    /// Whoever sent a signal.
    Signal,
}

impl Whom {
    /// The same as [`Actor::key`].
    fn key(&self) -> String {
        let actor = match self {
            Self::Unix(uid) => Actor::Unix { uid: *uid },
            Self::Token(id) => Actor::Token { id: id.clone(), name: String::new() },
            Self::Anonymous => Actor::Anonymous,
            Self::Signal => Actor::Signal,
        };
        actor.key()
    }
}

/// An ending, as one is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// With a status of 400 or more.
    Failed,
    /// Not yet, or nobody knows how.
    Open,
    /// With this code.
    Code(String),
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

/// What every row must fit; a parameter that is null asks nothing.
const FITS: &str = "(:who IS NULL OR actor = :who)
    AND (:target IS NULL OR target = :target OR substr(target, 1, length(:target) + 1) = :target || ':')
    AND (:method IS NULL OR method = :method) AND (:path IS NULL OR path = :path)
    AND (:since IS NULL OR time >= :since) AND (:until IS NULL OR time < :until)
    AND (:code IS NULL OR code = :code)
    AND (:ending IS NULL OR CASE :ending WHEN 'failed' THEN status >= 400 ELSE status IS NULL END)";

fn select(conn: &Connection, query: AuditQuery) -> rusqlite::Result<Vec<AuditRow>> {
    let limit = i64::try_from(query.limit.unwrap_or(LIMIT_MAX).min(LIMIT_MAX)).unwrap_or(0);
    let after = query.after.map(|after| i64::try_from(after).unwrap_or(i64::MAX));
    let (order, from) = if after.is_some() { ("ASC", ":after") } else { ("DESC", "coalesce(:after, 0)") };
    let (method, path) = query.action.unzip();
    let (code, ending) = match query.result {
        Some(Ending::Code(code)) => (Some(code), None),
        Some(Ending::Failed) => (None, Some("failed")),
        Some(Ending::Open) => (None, Some("open")),
        None => (None, None),
    };
    let sql = format!("SELECT * FROM audit WHERE id > {from} AND {FITS} ORDER BY id {order} LIMIT :limit");
    let parameters = rusqlite::named_params! {
        ":after": after,
        ":limit": limit,
        ":who": query.who.map(|who| who.key()),
        ":target": query.target,
        ":method": method,
        ":path": path.flatten(),
        ":since": query.since.map(micros),
        ":until": query.until.map(micros),
        ":code": code,
        ":ending": ending,
    };
    conn.prepare_cached(&sql)?.query_map(parameters, row)?.collect()
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
