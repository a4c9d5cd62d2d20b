//! Why an archive cannot be read.

use std::io;

/// Why a tar archive cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// Its bytes cannot be had.
    #[error("cannot read the archive")]
    Io(#[from] io::Error),
    /// It ends within an entry.
    #[error("the archive ends too early")]
    Short,
    /// A header that is none.
    #[error("a header of the archive has a wrong checksum")]
    Checksum,
    /// A number that is none, or too big.
    #[error("a header of the archive has no valid `{0}`")]
    Number(&'static str),
    /// Records that cannot be read.
    #[error("the extended records of an entry are malformed")]
    Pax,
    /// More names and records for one entry than can be meant.
    #[error("an entry has more than 1 MiB of names and records")]
    Extra,
    /// A map of a sparse file that contradicts itself.
    #[error("the map of a sparse file contradicts itself")]
    Sparse,
    /// An entry of a kind that is not known.
    #[error("the archive has an entry of the unknown kind `{}`", char::from(*.0).escape_default())]
    Kind(u8),
}
