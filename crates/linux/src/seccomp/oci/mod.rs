//! A system call filter by the operator, in a file as Docker and Podman have it.
//!
//! ```text
//! file ──parse──► entries ──► rules of each call ──assemble──► the operator's program ─┐
//! table, with what a file may open ──────────────────────────► Insula's program ───────┤ both are installed:
//!                                                                                      └ the stricter decides
//! ```
//! So a file can tighten everything, and open only what [`OPENABLE`] lists. What cannot be understood is refused:
//! no file ever leads to fewer filters than none.

mod assemble;
mod document;
mod errno;
mod file;
mod rules;
#[cfg(test)]
mod tests;

use super::profile::{self, ProfileError, Program};
use super::table::NEWEST;
pub use document::document;
use file::File;

/// Most instructions of one program (`BPF_MAXINSNS`).
const MAX_INSTRUCTIONS: usize = 4096;

/// Calls that Insula's own list refuses and a file may allow: what some programs are faster with, and what the walls
/// do not rest on.
pub const OPENABLE: &[&str] = &[
    "get_mempolicy",
    "mbind",
    "memfd_secret",
    "migrate_pages",
    "move_pages",
    "personality",
    "set_mempolicy",
    "set_mempolicy_home_node",
    "socketpair",
    "userfaultfd",
];

/// Why a file is no filter.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// It is not JSON, or not of the form that the specification describes.
    #[error("`{field}`: {why}")]
    Form {
        /// Where in the file; `.` for all of it.
        field: String,
        /// What the reader says.
        why: String,
    },
    /// A value that cannot be meant.
    #[error("`{field}`: `{value}` {why}")]
    Value {
        /// Where in the file.
        field: String,
        /// What is there.
        value: String,
        /// Why it cannot be.
        why: &'static str,
    },
    /// More instructions than the kernel takes.
    #[error("it makes {0} instructions, and the kernel takes {MAX_INSTRUCTIONS}")]
    TooLong(usize),
}

impl OciError {
    fn new(field: impl Into<String>, value: impl ToString, why: &'static str) -> Self {
        Self::Value { field: field.into(), value: value.to_string(), why }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Form { .. } => {
                "write it as `linux.seccomp` of the OCI runtime specification, as Docker and Podman have it"
                    .to_owned()
            }
            Self::Value { field, .. } => format!("correct or remove `{field}`"),
            Self::TooLong(_) => "use fewer conditions on arguments".to_owned(),
        }
    }
}

/// Insula's own filter, with what a file may open left to it. It is installed first.
///
/// # Errors
/// When there is no table for this architecture.
pub fn floor() -> Result<Program, ProfileError> {
    profile::opened(OPENABLE)
}

/// The filter of a file, to be installed after [`floor`], right before the program is executed.
///
/// # Errors
/// When the file is not understood in every part, or no program could be executed under it.
pub fn compile(text: &[u8]) -> Result<Program, OciError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let form = |field: String, why: String| OciError::Form { field, why };
    let file: File = serde_path_to_error::deserialize(&mut reader)
        .map_err(|e| form(e.path().to_string(), e.inner().to_string()))?;
    reader.end().map_err(|e| form(".".to_owned(), e.to_string()))?;
    let rules = rules::read(file)?;
    let program = assemble::assemble(&rules, NEWEST, rules.beyond());
    if program.len() > MAX_INSTRUCTIONS {
        return Err(OciError::TooLong(program.len()));
    }
    Ok(program.concat())
}
