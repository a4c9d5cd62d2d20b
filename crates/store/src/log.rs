//! Captured output.
//!
//! Each set of walls (a *key*) numbers its lines from 0. A line is stored once, however often it is
//! delivered; a jump in the numbers is a gap, and is written as an event in the same transaction.
//!
//! ```text
//! agent ──lines 5..9──► append ──commit──► answer 9 ──► agent forgets what is before 9
//!            │ again, because the answer was lost
//!            └────────► append: all before 9, nothing to do ──► answer 9
//! ```

mod append;
mod find;
mod index;
mod query;
mod usage;
mod words;

use std::time::SystemTime;

pub use append::AppendError;
pub(crate) use append::{append, beyond, cost, next_seq};
pub(crate) use find::find;
pub use find::{FoundLine, FoundPage, LogFilter, LogOrder, Whose};
pub(crate) use index::{Backlog, remove_of, remove_to};
pub(crate) use query::select;
pub use query::{LogPage, LogQuery, LogRow};
pub use usage::LogUsage;
pub(crate) use usage::usage;
pub use words::{Search, SearchError};

/// Which stream of the workload a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Output {
    fn code(self) -> i64 {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
        }
    }
}

/// One captured line, without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Position among all lines of one set of walls, from 0.
    pub seq: u64,
    /// When it was read.
    pub time: SystemTime,
    /// Where it came from.
    pub output: Output,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Lines that were lost before they could be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogGap {
    /// First lost sequence number.
    pub from: u64,
    /// First sequence number after the gap.
    pub to: u64,
}

/// Some lines in order, perhaps after a gap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogBatch {
    /// What was lost just before `lines`.
    pub gap: Option<LogGap>,
    /// The lines.
    pub lines: Vec<LogLine>,
}

/// A place in the captured output of all instances. Lines after it have a greater cursor; none is reused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Cursor(pub u64);

impl Cursor {
    pub(crate) fn from_row(id: i64) -> Self {
        Self(u64::try_from(id).unwrap_or(0))
    }

    pub(crate) fn to_row(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}
