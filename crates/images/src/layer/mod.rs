//! Unpacking a layer, once, into a directory of its own.
//!
//! ```text
//! blob ── digest ── gzip | zstd | as it is ── bounds ── digest (diff id) ── tar ── tmp/…/fs
//!                                                                              │ all read, both digests right
//!                                                                   sync, rename ▼
//!                                                                     layers/HEX
//! ```
//!
//! Nothing of a layer can be seen under its name before all of it was read and is what it should be. A crash
//! leaves a directory in `tmp`, which goes at the next start.

mod apply;
mod bounds;
mod compress;
mod error;
mod path;
mod record;
mod remove;
mod tree;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use insula_spec::Digest;

use crate::digest::Hashing;
use crate::image::Whiteouts;
use crate::store::{Place, StoreError, sync_parent};
use crate::tar::Reader;

pub use bounds::Bounds;
pub(crate) use compress::Plain;
pub use error::UnpackError;
pub(crate) use path::EntryPath;
pub use record::Record;
pub(crate) use remove::remove_tree;

/// What is kept of what an image asks for, and how much of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether files keep set-user-id and set-group-id bits and capabilities. Without it they are cleared.
    pub keep_setuid: bool,
    /// Bounds.
    pub bounds: Bounds,
}

/// What this user may do to files here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// Whether attributes `trusted.*` can be set.
    pub(crate) trusted: bool,
    /// Whether files can be given to others.
    pub(crate) ownership: bool,
}

impl Abilities {
    fn marks(self) -> Whiteouts {
        // Overlays are made inside the walls, where `trusted.*` attributes mean nothing (overlayfs, userxattr).
        Whiteouts::User
    }
}

/// Unpacks a layer unless it is there already. `diff_id` is what its tar must hash to; whoever makes an image
/// out of plain files does not know it yet.
pub(crate) fn unpack(
    place: &Place,
    blob: impl Read,
    diff_id: Option<Digest>,
    policy: &Policy,
) -> Result<Record, UnpackError> {
    if let Some(diff_id) = diff_id
        && let Some(record) = unpacked(place, &diff_id, policy)
    {
        return Ok(record);
    }
    let scratch = place.scratch()?;
    let files = scratch.path().join("fs");
    let io = |source| UnpackError::Store(StoreError::Io { path: scratch.path().to_owned(), source });
    fs::create_dir(&files).map_err(io)?;
    let abilities = tree::try_out(scratch.path()).map_err(io)?;
    let unknown = Digest::from_bytes([0; 32]);
    let mut layer = apply::Layer {
        tree: tree::Tree::open(&files).map_err(io)?,
        record: Record::new(diff_id.unwrap_or(unknown), abilities.marks(), abilities.ownership),
        policy,
        abilities,
    };
    fs::set_permissions(&files, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(io)?;
    let plain = Plain::new(blob, policy.bounds).map_err(UnpackError::Read)?;
    let mut archive = Reader::new(Hashing::new(plain));
    layer.fill(&mut archive)?;
    let mut rest = archive.into_inner();
    // What stands behind the end of the archive belongs to the digest.
    io::copy(&mut rest, &mut io::sink()).map_err(|e| compress::bound_of(e, UnpackError::Read))?;
    let actual = rest.finish();
    if let Some(expected) = diff_id.filter(|expected| *expected != actual) {
        return Err(UnpackError::Digest { expected, actual });
    }
    layer.record.diff_id = actual;
    keep(place, scratch.path(), &layer.record, policy)?;
    Ok(layer.record)
}

/// What of an image is not as it was, over all its layers.
pub(crate) fn notes(records: &[Record]) -> Vec<String> {
    record::sum(records).map(|sum| sum.notes()).unwrap_or_default()
}

/// The record of a layer that is there already.
pub(crate) fn unpacked(place: &Place, diff_id: &Digest, policy: &Policy) -> Option<Record> {
    Record::read(&place.layer(diff_id, policy.keep_setuid)).ok().filter(|record| record.diff_id == *diff_id)
}

/// Puts a whole layer under its name. If another process was faster, its layer is as good.
fn keep(place: &Place, work: &Path, record: &Record, policy: &Policy) -> Result<(), UnpackError> {
    let target = place.layer(&record.diff_id, policy.keep_setuid);
    let done = place.scratch()?;
    let io = |source| UnpackError::Store(StoreError::Io { path: target.clone(), source });
    let text = serde_json::to_vec_pretty(record).map_err(|e| io(e.into()))?;
    let whole = done.path().join("layer");
    fs::create_dir(&whole).map_err(io)?;
    fs::rename(work.join("fs"), whole.join("fs")).map_err(io)?;
    let mut file = File::create_new(whole.join("layer.json")).map_err(io)?;
    file.write_all(&text).map_err(io)?;
    rustix::fs::syncfs(&file).map_err(|e| io(e.into()))?;
    if unpacked(place, &record.diff_id, policy).is_none() {
        // A directory without a good record is of another version; it goes with this one's work.
        match fs::rename(&target, done.path().join("old")) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io(e)),
            _ => fs::rename(&whole, &target).map_err(io)?,
        }
    }
    sync_parent(&target).map_err(io)
}
