//! Tar archives: a reader that trusts nothing it reads, and a writer whose output depends on the files only.
//!
//! Understood are ustar, the extensions of GNU (long names, base-256 numbers, sparse files) and those of POSIX
//! (pax records, with the sparse files of GNU in them). Everything that is kept in memory is bounded.

mod error;
mod header;
mod pax;
mod read;
mod sparse;
#[cfg(test)]
mod tests;
mod write;

pub use error::TarError;
pub(crate) use header::{Entry, Kind};
pub(crate) use read::Reader;
pub(crate) use sparse::Chunk;
pub(crate) use write::{Item, Writer};

/// Bytes of a block.
pub(crate) const BLOCK: usize = 512;
/// Most bytes of a long name or of the pax records of one entry.
const EXTRA_MAX: u64 = 1 << 20;
