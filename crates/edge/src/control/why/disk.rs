//! A full disk behind a failure: programs end in many ways where they cannot write, and few say why.
//!
//! Two signs are taken: the newest word of the journal about the instance's disk limit, and what the kernel's own
//! words for it (`strerror(3)`) are in the last lines of standard error, which is how a full disk of the host shows.

use insula_services::{DiskEvent, Fill};
use insula_store::Event;

use super::failure::Failure;

/// What `ENOSPC` and `EDQUOT` are called.
const WORDS: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// What shows that there was no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Full {
    /// Writes beyond the limit fail, and it was reached.
    Limit {
        /// Bytes in use.
        used: u64,
        /// Bytes.
        limit: u64,
        /// What bounds it.
        mechanism: String,
    },
    /// The program said so.
    Said(String),
}

impl Full {
    /// The end of a sentence about the instance.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Limit { used, limit, mechanism } => {
                format!(
                    "its disk is full: {used} bytes of a `disk_limit` of {limit} ({mechanism}), so writes fail"
                )
            }
            Self::Said(line) => format!("it found its disk full: `{line}`"),
        }
    }
}

/// The failure, with the full disk that it comes from if there was one. Events are newest first, lines oldest first.
pub(super) fn behind<'a>(
    failure: Failure,
    mut events: impl Iterator<Item = &'a Event>,
    stderr: &[&str],
) -> Failure {
    if !failure.may_miss_room() {
        return failure;
    }
    let full = events.find_map(DiskEvent::of).and_then(limit).or_else(|| said(stderr));
    full.map_or(failure.clone(), |full| Failure::DiskFull { inner: Box::new(failure), full })
}

/// Whether the newest word about the disk is that nothing more can be written.
fn limit(told: DiskEvent) -> Option<Full> {
    let hard = told.mechanism.starts_with("hard");
    let DiskEvent { used, limit, mechanism, .. } = told;
    (hard && told.disk == Fill::Full).then_some(Full::Limit { used, limit, mechanism })
}

fn said(stderr: &[&str]) -> Option<Full> {
    let line = stderr.iter().rev().find(|line| WORDS.iter().any(|words| line.contains(words)))?;
    Some(Full::Said((*line).to_owned()))
}
