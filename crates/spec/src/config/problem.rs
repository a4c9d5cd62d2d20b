//! One thing that is wrong with a configuration, and where.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde_json::Value;
use toml::de::DeValue;

use super::kind::{KeyAdvice, ProblemKind};
use super::origin::keep;
use super::secrecy::suspect;
use super::snippet::{Snippet, printable};

/// Most problems that are kept of one file; the rest is counted.
const MOST: usize = 64;
/// Most characters of a message, which may quote what the user typed.
const LONGEST_MESSAGE: usize = 300;
/// Most characters of a hint, which may list all keys of a table.
const LONGEST_HINT: usize = 600;

/// One thing that is wrong, where it is, and what to type instead.
///
/// `Display` is one line without the place; [`ConfigError`](super::ConfigError) shows it with the line of
/// the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, such as `service.notes.memory`; empty when the file is not TOML at all.
    pub key: String,
    /// What is wrong.
    pub kind: ProblemKind,
    snippet: Snippet,
}

impl Problem {
    /// Line of the file, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.snippet.line
    }

    /// Column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.snippet.column
    }

    /// What to type instead.
    #[must_use]
    pub fn hint(&self) -> String {
        self.kind.hint()
    }

    /// Writes the message, the place, the line with a caret, and the hint.
    pub(super) fn render(&self, path: &Path, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gutter = " ".repeat(self.line().to_string().len());
        let hint = line(&self.hint(), LONGEST_HINT);
        writeln!(f, "error: {self}")?;
        writeln!(f, "{gutter}--> {}:{}:{}", path.display(), self.line(), self.column())?;
        writeln!(f, "{}", self.snippet)?;
        write!(f, "{gutter} = help: {hint}")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = if self.key.is_empty() {
            self.kind.to_string()
        } else {
            format!("`{}`: {}", self.key, self.kind)
        };
        f.write_str(&line(&message, LONGEST_MESSAGE))
    }
}

/// A text as one line that a terminal can be shown.
fn line(text: &str, longest: usize) -> String {
    let mut shown: String = text.chars().take(longest).map(printable).collect();
    if text.chars().nth(longest).is_some() {
        shown.push('…');
    }
    shown
}

/// Whether the value of this key may be a password: it is of an `env`.
pub(super) fn is_secret(key: &str) -> bool {
    let table = key.starts_with("service.") || key.starts_with("process.");
    table && (key.contains(".env.") || key.ends_with(".env"))
}

/// Whether the line may hold a password: nobody knows what an unknown key was to be, perhaps one of an `env`
/// whose header has a slip; and addresses may have a user.
fn may_be_secret(kind: &ProblemKind) -> bool {
    match kind {
        ProblemKind::UnknownKey(_) => true,
        ProblemKind::Endpoint(address) => address.contains('@'),
        _ => false,
    }
}

/// The same problem, without what was typed. A near miss of a placeholder is no secret.
fn concealed(kind: ProblemKind) -> ProblemKind {
    match kind {
        ProblemKind::WrongType { expected, example, .. } => {
            ProblemKind::WrongType { expected, found: "something else".to_owned(), example }
        }
        ProblemKind::UnknownPlaceholder { similar: None, .. } => {
            ProblemKind::UnknownPlaceholder { name: "...".to_owned(), similar: None }
        }
        ProblemKind::HomePath(_) => ProblemKind::HomePath("~/...".to_owned()),
        other => other,
    }
}

/// Where something stands in the file.
#[derive(Debug, Clone, Default)]
pub(super) struct At {
    /// Path of the key.
    pub(super) key: String,
    /// Bytes of the text.
    pub(super) span: Range<usize>,
}

/// Problems as they are found, in any order.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<(At, ProblemKind)>,
    omitted: usize,
    seen: Vec<(At, Value)>,
}

impl Problems {
    /// Takes one more problem.
    pub(super) fn push(&mut self, at: &At, kind: ProblemKind) {
        if self.found.len() < MOST {
            self.found.push((at.clone(), kind));
        } else {
            self.omitted += 1;
        }
    }

    /// Remembers what was written where.
    pub(super) fn saw(&mut self, at: &At, value: &DeValue<'_>) {
        self.seen.extend(keep(at, value).map(|value| (at.clone(), value)));
    }

    /// Everything that was written.
    pub(super) fn seen(&mut self) -> Vec<(At, Value)> {
        std::mem::take(&mut self.seen)
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether something is wrong with the value of this very key, so that its absence is no news.
    pub(super) fn about(&self, key: &str) -> bool {
        self.found.iter().any(|(at, _)| at.key == key)
    }

    /// Whether this table has a key that is probably a typing error of `key`.
    pub(super) fn misspelt(&self, table: &str, key: &str) -> bool {
        self.found.iter().any(|(at, kind)| {
            let here = at.key.rsplit_once('.').is_some_and(|(parent, _)| parent == table);
            here && matches!(kind, ProblemKind::UnknownKey(KeyAdvice::Similar(meant)) if meant == key)
        })
    }

    /// The problems in the order of the file, and how many more there were.
    pub(super) fn finish(mut self, text: &str) -> (Vec<Problem>, usize) {
        self.found.sort_by_key(|(at, _)| at.span.start);
        let located = |(at, kind): (At, ProblemKind)| {
            let snippet = Snippet::new(text, &at.span);
            if matches!(kind, ProblemKind::Syntax(_)) && suspect(text, &at.span) {
                return Problem { snippet: snippet.covered(), key: at.key, kind };
            }
            match is_secret(&at.key) || may_be_secret(&kind) {
                true => Problem { snippet: snippet.concealed(), key: at.key, kind: concealed(kind) },
                false => Problem { snippet, key: at.key, kind },
            }
        };
        (self.found.into_iter().map(located).collect(), self.omitted)
    }
}
