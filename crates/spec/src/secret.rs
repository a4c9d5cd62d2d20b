//! Values that are not for everybody's eyes.

use std::fmt;

/// A text that may be a password. `Debug` prints `...`, there is no `Display` and no serialisation: whoever
/// wants the text must ask for it with [`Secret::expose`], which is easy to search for.
///
/// Every value of an environment is one, since nobody can tell which of them are meant to be secret.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}
