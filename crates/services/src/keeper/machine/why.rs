//! A reason: words for people, and the failure behind them for programs.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::failure::Failure;

/// A reason, shared by all who are told. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Why {
    text: Arc<str>,
    failure: Option<Arc<Failure>>,
}

impl Why {
    /// These words, about this failure.
    pub(crate) fn of(text: impl Into<Arc<str>>, failure: Failure) -> Self {
        Self { text: text.into(), failure: Some(Arc::new(failure)) }
    }

    /// Other words about the same failure.
    pub(crate) fn reworded(&self, text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), failure: self.failure.clone() }
    }

    /// The failure behind it, where there is one.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.as_deref()
    }

    /// What to do about it, where that is known.
    pub(crate) fn hint(&self) -> Option<String> {
        self.failure()?.hint().map(str::to_owned)
    }
}

impl Deref for Why {
    type Target = str;
    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl From<&str> for Why {
    fn from(text: &str) -> Self {
        Self { text: text.into(), failure: None }
    }
}

impl From<String> for Why {
    fn from(text: String) -> Self {
        Self { text: text.into(), failure: None }
    }
}
