//! Versions of services, and how requests are shared out among them.
//!
//! ```text
//! unknown ──deployed──► weight 0 to 100 ──weighed──► other weights ──instance forgotten──► unknown
//! ```
//! All weights that belong together change in one transaction with the event that says why, so that after
//! any crash either all of them hold or none.

use std::time::SystemTime;

use insula_spec::InstanceName;
use rusqlite::{Connection, Row};

use crate::db::Db;
use crate::event::{self, Event, foreign};
use crate::instance;
use crate::time::{from_micros, micros};

/// One version of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    /// Its name.
    pub name: InstanceName,
    /// Its share of the requests, relative to those of the other versions; 0 to 100.
    pub weight: u8,
    /// When it was deployed last.
    pub deployed: SystemTime,
}

/// New weights, written together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weighing {
    /// The version that was deployed just now, if one was.
    pub deployed: Option<InstanceName>,
    /// Weights, 0 to 100, of versions that change theirs.
    pub weights: Vec<(InstanceName, u8)>,
}

/// Writes the weights and the event. The first name that is not known is answered; then nothing is written.
pub(crate) fn weigh(
    db: &mut Db,
    weighing: &Weighing,
    event: (&InstanceName, &Event),
) -> rusqlite::Result<Option<InstanceName>> {
    let (about, event) = event;
    let names = weighing.weights.iter().map(|(name, _)| name).chain(&weighing.deployed);
    for name in names {
        if instance::number(&db.conn, name)?.is_none() {
            return Ok(Some(name.clone()));
        }
    }
    let now = micros(event.time);
    for (name, weight) in &weighing.weights {
        let sql = "INSERT INTO version (name, weight, deployed) VALUES (?1, ?2, ?3)
            ON CONFLICT (name) DO UPDATE SET weight = excluded.weight";
        db.conn.prepare_cached(sql)?.execute((name.to_string(), weight, now))?;
    }
    if let Some(name) = &weighing.deployed {
        let sql = "INSERT INTO version (name, weight, deployed) VALUES (?1, 0, ?2)
            ON CONFLICT (name) DO UPDATE SET deployed = excluded.deployed";
        db.conn.prepare_cached(sql)?.execute((name.to_string(), now))?;
    }
    event::insert(db, Some(about), event)?;
    Ok(None)
}

/// Removes a version, as part of forgetting its instance.
pub(crate) fn forget(conn: &Connection, name: &InstanceName) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM version WHERE name = ?1")?.execute([name.to_string()])?;
    Ok(())
}

/// Every version, by name.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<VersionRow>> {
    let sql = "SELECT name, weight, deployed FROM version ORDER BY name";
    conn.prepare_cached(sql)?.query_map([], row)?.collect()
}

fn row(row: &Row<'_>) -> rusqlite::Result<VersionRow> {
    let name: String = row.get("name")?;
    Ok(VersionRow {
        name: name.parse().map_err(foreign)?,
        weight: row.get("weight")?,
        deployed: from_micros(row.get("deployed")?),
    })
}
