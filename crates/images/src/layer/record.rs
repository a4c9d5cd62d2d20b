//! What became of a layer when it was unpacked.

use std::fs;
use std::io;
use std::path::Path;

use insula_spec::Digest;
use serde::{Deserialize, Serialize};

use crate::image::Whiteouts;

/// Version of the record; others are not read, and the layer is unpacked again.
const VERSION: u32 = 1;

/// What became of the files of a layer. It lies beside them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of this record.
    pub version: u32,
    /// Digest of the tar, uncompressed.
    pub diff_id: Digest,
    /// How what is gone is marked.
    pub whiteouts: Whiteouts,
    /// Whether files have the owners that the image gave them.
    pub ownership: bool,
    /// Whether the root hides everything below.
    pub opaque_root: bool,
    /// Entries of the tar.
    pub entries: u64,
    /// Bytes of all files, links counted once.
    pub bytes: u64,
    /// Files whose set-user-id or set-group-id bit was cleared.
    pub setuid_cleared: u64,
    /// Files whose capabilities were not kept.
    pub capabilities_cleared: u64,
    /// Device files that were left out.
    pub devices_skipped: u64,
    /// Other extended attributes that were left out.
    pub attributes_skipped: u64,
    /// The highest user or group id of a file.
    pub highest_id: u32,
}

impl Record {
    /// Of a layer of which nothing is unpacked yet.
    pub(crate) fn new(diff_id: Digest, whiteouts: Whiteouts, ownership: bool) -> Self {
        Self {
            version: VERSION,
            diff_id,
            whiteouts,
            ownership,
            opaque_root: false,
            entries: 0,
            bytes: 0,
            setuid_cleared: 0,
            capabilities_cleared: 0,
            devices_skipped: 0,
            attributes_skipped: 0,
            highest_id: 0,
        }
    }

    /// The record of the layer in this directory.
    pub(crate) fn read(dir: &Path) -> io::Result<Self> {
        let bytes = fs::read(dir.join("layer.json"))?;
        let record: Self = serde_json::from_slice(&bytes)?;
        match record.version {
            VERSION => Ok(record),
            other => Err(io::Error::other(format!("its record has version {other}"))),
        }
    }

    /// What of the image is not as it was, in words.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let mut note = |count: u64, what: &str| {
            if count > 0 {
                notes.push(format!("{count} {what}"));
            }
        };
        note(self.setuid_cleared, "set-user-id or set-group-id bits were cleared");
        note(self.capabilities_cleared, "file capabilities were cleared");
        note(self.devices_skipped, "device files were left out");
        note(self.attributes_skipped, "extended attributes were left out");
        if !self.ownership {
            notes.push("all files belong to this user, whatever the image says".to_owned());
        }
        notes
    }
}

/// All layers as one.
pub(super) fn sum(records: &[Record]) -> Option<Record> {
    let (first, rest) = records.split_first()?;
    let mut sum = first.clone();
    for record in rest {
        sum.setuid_cleared += record.setuid_cleared;
        sum.capabilities_cleared += record.capabilities_cleared;
        sum.devices_skipped += record.devices_skipped;
        sum.attributes_skipped += record.attributes_skipped;
        sum.ownership &= record.ownership;
    }
    Some(sum)
}
