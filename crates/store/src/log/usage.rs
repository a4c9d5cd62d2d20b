//! How much is stored.

use rusqlite::Connection;

use crate::db::meta;

/// Captured output as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogUsage {
    /// Lines stored now.
    pub rows: u64,
    /// Their bytes, and [`Retention::LINE`](crate::Retention::LINE) for each.
    pub bytes: u64,
    /// Lines that were removed since the file was made, because of their age, their size or a forgotten instance.
    pub trimmed: u64,
}

/// Adds up what the accounts say.
pub(crate) fn usage(conn: &Connection) -> rusqlite::Result<LogUsage> {
    let sql = "SELECT coalesce(sum(rows), 0), coalesce(sum(bytes), 0) FROM log_usage";
    let (rows, bytes) = conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(LogUsage { rows, bytes, trimmed: u64::try_from(meta(conn, "log_trimmed")?).unwrap_or(0) })
}
