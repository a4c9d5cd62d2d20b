//! Tokens of the control API: who may come in over the network, as far as that can be told from the outside.
//!
//! ```text
//! add ──► live ──touch──► live ──revoke, or its time passes──► dead ──KEPT later──► gone
//! ```
//! Only the SHA-256 of a token is stored: it has 256 random bits, so nothing can be guessed from the hash.

use std::time::{Duration, SystemTime};

use insula_spec::Scope;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::db::Db;
use crate::error::{ReadError, WriteError};
use crate::event::foreign;
use crate::store::Store;
use crate::time::{from_micros, micros};
use crate::writer::Class;

/// Most tokens that are neither revoked nor expired.
const LIVE_MAX: u32 = 10_000;

/// How long a dead token is still listed.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// A token to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// What it is found by; part of the token itself, and no secret.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// What it may be used for.
    pub scope: Scope,
    /// SHA-256 of the whole token.
    pub hash: [u8; 32],
    /// When it ends by itself.
    pub expires: Option<SystemTime>,
}

/// A token as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// What it is found by.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// What it may be used for.
    pub scope: Scope,
    /// SHA-256 of the whole token.
    pub hash: [u8; 32],
    /// When it was made.
    pub created: SystemTime,
    /// When it ends by itself.
    pub expires: Option<SystemTime>,
    /// When it was last used, to about a minute.
    pub last_used: Option<SystemTime>,
    /// When it was revoked.
    pub revoked: Option<SystemTime>,
}

/// Why a token was not stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenError {
    /// There are as many as there may be.
    #[error("there are {LIVE_MAX} live tokens already")]
    TooMany,
    /// The write failed.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl TokenError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::TooMany => {
                "revoke tokens that nobody uses; `insula token ls` shows when each was used".to_owned()
            }
            Self::Write(e) => e.hint(),
        }
    }
}

impl Store {
    /// Stores a new token. Survives a power cut.
    ///
    /// # Errors
    /// When there are too many, or the write fails; an id that exists already is a failed write.
    pub async fn add_token(&self, token: NewToken) -> Result<TokenRow, TokenError> {
        let added = self.write(Class::LASTING, move |db| add(db, &token)).await?;
        added.ok_or(TokenError::TooMany)
    }

    /// Every token that is live, or has not been dead for long, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, ReadError> {
        self.read(all).await
    }

    /// The token of this id, dead or alive.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn token(&self, id: &str) -> Result<Option<TokenRow>, ReadError> {
        let id = id.to_owned();
        self.read(move |conn| one(conn, &id)).await
    }

    /// Ends a token, for good; the first time counts. `None` when there is none of this id. Survives a power cut.
    ///
    /// # Errors
    /// When the write fails.
    pub async fn revoke_token(&self, id: &str) -> Result<Option<TokenRow>, WriteError> {
        let id = id.to_owned();
        self.write(Class::LASTING, move |db| revoke(db, &id)).await
    }

    /// Notes that a token was used at this moment.
    ///
    /// # Errors
    /// When the write fails.
    pub async fn touch_token(&self, id: &str) -> Result<(), WriteError> {
        let (id, now) = (id.to_owned(), micros(SystemTime::now()));
        self.write(Class::STATE, move |db| {
            let sql = "UPDATE token SET last_used = ?2 WHERE id = ?1";
            db.conn.prepare_cached(sql)?.execute((&id, now)).map(drop)
        })
        .await
    }
}

const COLUMNS: &str = "SELECT id, name, scope, tenant, hash, created, expires, last_used, revoked FROM token";

fn add(db: &mut Db, token: &NewToken) -> rusqlite::Result<Option<TokenRow>> {
    let now = SystemTime::now();
    let gone = micros(now - KEPT);
    db.conn.execute("DELETE FROM token WHERE revoked < ?1 OR expires < ?1", [gone])?;
    let live = "SELECT count(*) FROM token WHERE revoked IS NULL AND (expires IS NULL OR expires > ?1)";
    if db.conn.query_row(live, [micros(now)], |row| row.get::<_, u32>(0))? >= LIVE_MAX {
        return Ok(None);
    }
    let (scope, tenant) = match &token.scope {
        Scope::Admin => ("admin", None),
        Scope::Tenant(tenant) => ("tenant", Some(tenant.to_string())),
    };
    let sql = "INSERT INTO token (id, name, scope, tenant, hash, created, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let expires = token.expires.map(micros);
    let values = (&token.id, &token.name, scope, tenant, &token.hash[..], micros(now), expires);
    db.conn.prepare_cached(sql)?.execute(values)?;
    one(&db.conn, &token.id)
}

fn revoke(db: &mut Db, id: &str) -> rusqlite::Result<Option<TokenRow>> {
    let sql = "UPDATE token SET revoked = ?2 WHERE id = ?1 AND revoked IS NULL";
    db.conn.prepare_cached(sql)?.execute((id, micros(SystemTime::now())))?;
    one(&db.conn, id)
}

fn all(conn: &Connection) -> rusqlite::Result<Vec<TokenRow>> {
    conn.prepare_cached(&format!("{COLUMNS} ORDER BY created, id"))?.query_map([], row)?.collect()
}

fn one(conn: &Connection, id: &str) -> rusqlite::Result<Option<TokenRow>> {
    conn.prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?.query_row([id], row).optional()
}

fn row(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    let time = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(from_micros));
    let tenant: Option<String> = row.get("tenant")?;
    // The table's own checks leave no third case: an admin is one only where nothing else is said.
    let scope = match tenant {
        Some(text) => Scope::Tenant(text.parse().map_err(foreign)?),
        None => Scope::Admin,
    };
    Ok(TokenRow {
        id: row.get("id")?,
        name: row.get("name")?,
        scope,
        hash: row.get("hash")?,
        created: from_micros(row.get("created")?),
        expires: time("expires")?,
        last_used: time("last_used")?,
        revoked: time("revoked")?,
    })
}
