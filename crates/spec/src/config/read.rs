//! From TOML values to raw types: types are checked here, meanings later.
//!
//! The TOML library's own mapping onto structs stops at the first unknown key and tells it as text. This one
//! goes on, so that all problems of a file are found in one run, each with its place and its kind.

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::kind::ProblemKind;
use super::problem::{At, Problems};
use super::schema::Form;

/// A value, and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Given<T> {
    /// Where it was written.
    pub(super) at: At,
    /// What was written.
    pub(super) value: T,
}

/// A type that a TOML value can be read as.
pub(super) trait Read: Sized {
    /// How such a value is written.
    const FORM: Form;

    /// Reads the value; what is wrong with it goes to `out`, and then the answer may be `None`.
    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self>;
}

/// Reads a value and remembers where it was.
pub(super) fn given<T: Read>(at: At, value: &DeValue<'_>, out: &mut Problems) -> Option<Given<T>> {
    out.saw(&at, value);
    T::read(&at, value, out).map(|value| Given { at, value })
}

/// Says that a value is of another type.
pub(super) fn mismatch(at: &At, value: &DeValue<'_>, like: (&'static str, &'static str), out: &mut Problems) {
    let (expected, example) = like;
    out.push(at, ProblemKind::WrongType { expected, found: describe(value), example });
}

/// Names the type of a value, with the value where it is short.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text {text:?}"),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(flag) => format!("the word {flag}"),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The place of something below `at`.
pub(super) fn below<T>(at: &At, key: &str, spanned: &Spanned<T>) -> At {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    let key = if at.key.is_empty() { key } else { format!("{}.{key}", at.key) };
    At { key, span: spanned.span() }
}

impl Read for String {
    const FORM: Form = Form::Text;

    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        match value {
            DeValue::String(text) if text.contains('\0') => out.push(at, ProblemKind::Nul),
            DeValue::String(text) => return Some(text.as_ref().to_owned()),
            other => mismatch(at, other, ("text", "text in double quotes"), out),
        }
        None
    }
}

impl Read for bool {
    const FORM: Form = Form::Flag;

    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        if let DeValue::Boolean(flag) = value {
            return Some(*flag);
        }
        mismatch(at, value, ("true or false", "true"), out);
        None
    }
}

/// Any integer that TOML can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Integer(pub(super) i128);

/// Reads an integer; one that does not fit is as wrong as one that is too large.
pub(super) fn integer(at: &At, number: &DeInteger<'_>, out: &mut Problems) -> Option<Integer> {
    let parsed = i128::from_str_radix(number.as_str(), number.radix());
    if parsed.is_err() {
        let (min, max) = (i64::MIN.to_string(), i64::MAX.to_string());
        out.push(at, ProblemKind::OutOfRange { value: number.to_string(), min, max });
    }
    parsed.ok().map(Integer)
}

impl Read for Integer {
    const FORM: Form = Form::Whole;

    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        match value {
            DeValue::Integer(number) => integer(at, number, out),
            other => {
                mismatch(at, other, ("a whole number", "256"), out);
                None
            }
        }
    }
}

impl<T: Read> Read for Vec<Given<T>> {
    const FORM: Form = Form::List(&T::FORM);

    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        let DeValue::Array(items) = value else {
            mismatch(at, value, ("an array", "[\"...\", \"...\"]"), out);
            return None;
        };
        let read = |(index, item): (usize, &Spanned<DeValue<'_>>)| {
            let at = At { key: format!("{}[{index}]", at.key), span: item.span() };
            given(at, item.get_ref(), out)
        };
        Some(items.iter().enumerate().filter_map(read).collect())
    }
}

/// A table whose keys the user chooses.
#[derive(Debug)]
pub(super) struct Entries<T>(pub(super) Vec<Entry<T>>);

/// One entry of such a table.
#[derive(Debug)]
pub(super) struct Entry<T> {
    /// The key, and its own place.
    pub(super) key: Given<String>,
    /// The value.
    pub(super) value: Given<T>,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Read> Read for Entries<T> {
    const FORM: Form = Form::Entries(&T::FORM);

    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        let table = table(at, value, out)?;
        let mut entries = Vec::with_capacity(table.len());
        for (key, item) in table {
            let name = key.get_ref().as_ref();
            let key_at = below(at, name, key);
            if name.contains('\0') {
                out.push(&key_at, ProblemKind::Nul);
            } else if let Some(value) = given(below(at, name, item), item.get_ref(), out) {
                entries.push(Entry { key: Given { at: key_at, value: name.to_owned() }, value });
            }
        }
        Some(Self(entries))
    }
}

/// The value as a table.
pub(super) fn table<'v, 'i>(at: &At, value: &'v DeValue<'i>, out: &mut Problems) -> Option<&'v DeTable<'i>> {
    let found = value.as_table();
    if found.is_none() {
        let last = at.key.rsplit('.').next().unwrap_or_default();
        let example =
            if last == "env" { "{ NAME = \"value\" }" } else { "a table: `[name]` on its own line" };
        mismatch(at, value, ("a table", example), out);
    }
    found
}
