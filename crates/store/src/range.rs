//! Host ids: one range per instance name, for ever.
//!
//! A range stays with its name when the instance is forgotten, since files of that tenant may still carry
//! the ids; the same name gets the same range again.

use insula_spec::{IdRange, InstanceName};
use rusqlite::OptionalExtension;

use crate::db::{Db, meta, set_meta};
use crate::error::WriteError;

/// First id after the last range. Stays below 2^31, because some programs read ids as signed, and below
/// the ids that systemd keeps for files of foreign systems (from 0x7FFE_0000).
const END: i64 = 0x7FFE_0000;

/// Why an instance got no host ids.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IdRangeError {
    /// All ranges were given away. None is ever given twice.
    #[error("cannot give host ids to `{0}`: all ranges are taken")]
    Exhausted(InstanceName),
    /// The write failed.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl IdRangeError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Exhausted(_) => {
                "a home can serve some 28,000 different instance names in its life: use a second home for new \
                 tenants, or run this service as an ordinary user, where instances have no range of their own"
                    .to_owned()
            }
            Self::Write(e) => e.hint(),
        }
    }
}

/// The range of this name, given now if it has none; `None` when all are taken.
pub(crate) fn of(db: &mut Db, name: &InstanceName) -> rusqlite::Result<Option<IdRange>> {
    let name = name.to_string();
    let mut select = db.conn.prepare_cached("SELECT base FROM id_range WHERE name = ?1")?;
    if let Some(base) = select.query_row([&name], |row| row.get(0)).optional()? {
        return Ok(Some(IdRange { base }));
    }
    let next = meta(&db.conn, "next_base")?;
    let len = i64::from(IdRange::LEN);
    let Some(base) = u32::try_from(next).ok().filter(|_| next + len <= END) else { return Ok(None) };
    db.conn.prepare_cached("INSERT INTO id_range (name, base) VALUES (?1, ?2)")?.execute((&name, base))?;
    set_meta(&db.conn, "next_base", next + len)?;
    Ok(Some(IdRange { base }))
}
