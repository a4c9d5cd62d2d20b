//! What an operator should know about a file that is nevertheless right.

use std::fmt;

use serde::Serialize;

/// Something that was adjusted, is read as something else, or has no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Path of the key.
    pub key: String,
    /// Line of the file, from 1.
    pub line: usize,
    /// What happens, and why.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.key, self.text)
    }
}
