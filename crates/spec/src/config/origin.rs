//! Where a value comes from, and what wins over what.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use toml::de::DeValue;

use super::problem::{At, is_secret};

/// Where a value comes from. A later one wins over an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// This line of the file, from 1.
    File(usize),
    /// This environment variable.
    Variable(&'static str),
    /// This option of the command line, without dashes.
    Option(&'static str),
}

impl Origin {
    /// What wins over what, strongest first, as it is printed.
    pub const PRECEDENCE: &str = "option > environment > file > default";
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(line) => write!(f, "line {line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Option(name) => write!(f, "--{name}"),
        }
    }
}

/// Every value that the file has, by the path of its key. Values of an `env` are not kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Written(BTreeMap<String, (usize, Value)>);

/// What stands in the place of a value that is not for everybody's eyes.
pub(super) const HIDDEN: &str = "...";

impl Written {
    /// Takes what was seen, with the line of each place.
    pub(super) fn new(seen: Vec<(At, Value)>, lines: &Lines) -> Self {
        let entry = |(at, value): (At, Value)| (at.key, (lines.of(at.span.start), value));
        Self(seen.into_iter().map(entry).collect())
    }

    /// Line and value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&(usize, Value)> {
        self.0.get(key)
    }

    /// All of them, sorted by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, usize, &Value)> {
        self.0.iter().map(|(key, (line, value))| (key.as_str(), *line, value))
    }
}

/// A value to keep, unless it is a table (its keys are kept) or part of an array (that is kept whole).
pub(super) fn keep(at: &At, value: &DeValue<'_>) -> Option<Value> {
    if matches!(value, DeValue::Table(_)) || at.key.contains('[') {
        return None;
    }
    Some(if is_secret(&at.key) { Value::from(HIDDEN) } else { json(value) })
}

/// A value as JSON.
fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::from(number.to_string()), Value::from),
        DeValue::Float(number) => {
            number.as_str().parse::<f64>().map_or_else(|_| Value::from(number.as_str()), Value::from)
        }
        DeValue::Datetime(date) => Value::from(date.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            table.iter().map(|(key, item)| (key.get_ref().to_string(), json(item.get_ref()))).collect()
        }
    }
}

/// Where the lines of a text begin, so that many places can be found in one pass.
#[derive(Debug)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    /// Finds every line end.
    pub(super) fn new(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    /// Line of a byte, from 1.
    pub(super) fn of(&self, byte: usize) -> usize {
        self.0.partition_point(|end| *end < byte) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::snippet::Snippet;

    #[test]
    fn lines_are_those_of_the_problems() {
        let text = "a\n\nbc\n";
        let lines = Lines::new(text);
        for at in 0..=text.len() {
            assert_eq!(lines.of(at), Snippet::new(text, &(at..at)).line, "{at}");
        }
    }

    #[test]
    fn options_win_over_variables_over_the_file() {
        assert!(Origin::Option("port") > Origin::Variable("X") && Origin::Variable("X") > Origin::File(9));
        assert!(Origin::File(1) > Origin::Default);
    }
}
