//! State, events and captured logs of one home, in one SQLite file.
//!
//! A [`Store`] is a cheap handle. One thread writes; whatever waits for it is grouped into one transaction,
//! and every caller is answered only after the commit. Readers have connections of their own and never wait
//! for the writer.
//!
//! ```text
//!             bounded lanes              one transaction per group
//! caller ──► state ─┐ (first)
//!                   ├─► writer thread ──► run all ──► COMMIT ──► tell followers ──► answer all
//! caller ──► logs ──┘                        │                                └► trim a step
//!                                            └ one fails: roll back, each again alone
//! caller ──► readers (few, read-only, spawn_blocking) ──► last committed state
//! ```
//!
//! Life of the file:
//!
//! ```text
//! missing ──build `.new`, rename──► whole ──open: own lock, check, migrate──► open ──close──► checkpointed
//!                                     └── damaged, too new, locked: refused, not a byte changed
//! ```

#![forbid(unsafe_code)]

mod alert;
mod audit;
mod db;
mod error;
mod event;
mod instance;
mod log;
mod net_policy;
mod open;
mod options;
mod range;
mod readers;
mod request;
mod schema;
mod store;
mod time;
mod token;
mod trim;
mod version;
mod writer;

pub use alert::{AlertCursor, AlertStep};
pub use audit::{Actor, AuditEntry, AuditQuery, AuditRow, Ending, Outcome, Whom};
pub use error::{CloseError, ReadError, WriteError};
pub use event::{Event, EventKind, EventQuery, EventRow, UnknownKind};
pub use instance::{Change, ChangeError, InstanceRow, UnknownWanted, Wanted};
pub use log::{
    AppendError, Cursor, FoundLine, FoundPage, LogBatch, LogFilter, LogGap, LogLine, LogOrder, LogPage,
    LogQuery, LogRow, LogUsage, Output, Search, SearchError, Whose,
};
pub use open::OpenError;
pub use options::{Options, Retention};
pub use range::IdRangeError;
pub use request::{RequestQuery, RequestRecord};
pub use store::Store;
pub use token::{NewToken, TokenError, TokenRow};
pub use version::{VersionRow, Weighing};
pub use writer::Heads;
