//! What single instances may reach outside, where the operator set it.

use insula_spec::{InstanceName, NetPolicy};
use rusqlite::Connection;

use crate::db::Db;
use crate::event::{self, Event, foreign};
use crate::instance;

/// Sets the policy of an instance, or takes it away, and writes why. `false`, and nothing written, when it is
/// not known.
pub(crate) fn set(
    db: &mut Db,
    name: &InstanceName,
    policy: Option<&NetPolicy>,
    event: &Event,
) -> rusqlite::Result<bool> {
    if instance::number(&db.conn, name)?.is_none() {
        return Ok(false);
    }
    match policy {
        Some(policy) => {
            let rules = serde_json::to_string(policy).map_err(foreign)?;
            let sql = "INSERT INTO net_policy (name, rules) VALUES (?1, ?2)
                ON CONFLICT (name) DO UPDATE SET rules = excluded.rules";
            db.conn.prepare_cached(sql)?.execute((name.to_string(), rules))?;
        }
        None => forget(&db.conn, name)?,
    }
    event::insert(db, Some(name), event)?;
    Ok(true)
}

/// Takes a policy away, as part of forgetting its instance.
pub(crate) fn forget(conn: &Connection, name: &InstanceName) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM net_policy WHERE name = ?1")?.execute([name.to_string()])?;
    Ok(())
}

/// Every policy that was set, by name. One that cannot be read lets nothing out: it never widens.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<(InstanceName, NetPolicy)>> {
    let sql = "SELECT name, rules FROM net_policy ORDER BY name";
    let row = |row: &rusqlite::Row<'_>| {
        let (name, rules): (String, String) = (row.get("name")?, row.get("rules")?);
        let policy = serde_json::from_str(&rules).unwrap_or_else(|error| {
            tracing::warn!(name, %error, "a network policy cannot be read; nothing is let out");
            NetPolicy::none()
        });
        Ok((name.parse().map_err(foreign)?, policy))
    };
    conn.prepare_cached(sql)?.query_map([], row)?.collect()
}
