//! Values that may be written in more than one way.

use toml::de::DeValue;

use super::problem::{At, Problems};
use super::raw::{RawBind, RawCheck};
use super::read::{Given, Integer, Read, integer, mismatch};
use super::schema::Form;

/// A duration: text with a unit, or whole seconds.
#[derive(Debug)]
pub(super) enum RawDuration {
    /// `"5m"`
    Text(String),
    /// `300`
    Seconds(Integer),
}

impl Read for RawDuration {
    const FORM: Form = Form::Either(&[Form::Text, Form::Whole]);

    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        match value {
            DeValue::String(text) => Some(Self::Text(text.as_ref().to_owned())),
            DeValue::Integer(number) => integer(at, number, out).map(Self::Seconds),
            other => {
                mismatch(at, other, ("a duration", "\"5m\", or 300 for seconds"), out);
                None
            }
        }
    }
}

/// A size: text, because a bare number would leave its unit to guessing.
#[derive(Debug)]
pub(super) struct RawSize(pub(super) String);

impl Read for RawSize {
    const FORM: Form = Form::Text;

    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        match value {
            DeValue::String(text) => Some(Self(text.as_ref().to_owned())),
            other => {
                mismatch(at, other, ("a size", "\"256M\" or \"2G\""), out);
                None
            }
        }
    }
}

/// A command: one line, or its words.
#[derive(Debug)]
pub(super) enum RawCommand {
    /// `"python3 app.py"`
    Line(String),
    /// `["python3", "app.py"]`
    Words(Vec<Given<String>>),
}

impl Read for RawCommand {
    const FORM: Form = Form::Either(&[Form::Text, Form::List(&Form::Text)]);

    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        match value {
            DeValue::Array(_) => Vec::read(at, value, out).map(Self::Words),
            DeValue::String(_) => String::read(at, value, out).map(Self::Line),
            other => {
                let example = "\"python3 app.py\" or [\"python3\", \"app.py\"]";
                mismatch(at, other, ("text or an array", example), out);
                None
            }
        }
    }
}

/// An amount of CPU time: text with a percent sign, or a number of CPUs as it was written.
#[derive(Debug)]
pub(super) enum RawQuota {
    /// `"150%"`
    Text(String),
    /// `1.5`
    Cpus(String),
}

impl Read for RawQuota {
    const FORM: Form = Form::Either(&[Form::Text, Form::Number]);

    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        match value {
            DeValue::String(text) => Some(Self::Text(text.as_ref().to_owned())),
            DeValue::Integer(number) => integer(at, number, out).map(|n| Self::Cpus(n.0.to_string())),
            DeValue::Float(number) => Some(Self::Cpus(number.as_str().to_owned())),
            other => {
                mismatch(at, other, ("an amount of CPU time", "\"150%\" or 1.5"), out);
                None
            }
        }
    }
}

/// A health check: its path, or all of it.
#[derive(Debug)]
pub(super) enum RawHealth {
    /// `"/health"`
    Path(String),
    /// `{ path = "/health", interval = "10s" }`
    Table(Box<RawCheck>),
}

impl Read for RawHealth {
    const FORM: Form = Form::Either(&[Form::Text, RawCheck::FORM]);

    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        match value {
            DeValue::Table(_) => RawCheck::read(at, value, out).map(|check| Self::Table(Box::new(check))),
            DeValue::String(_) => String::read(at, value, out).map(Self::Path),
            other => {
                let example = "\"/health\" or { path = \"/health\", interval = \"10s\" }";
                mismatch(at, other, ("a path or a table", example), out);
                None
            }
        }
    }
}

/// A mount: one text, or a table.
#[derive(Debug)]
pub(super) enum RawMount {
    /// `"/srv/models:/models:ro"`
    Text(String),
    /// `{ source = "/srv/models", target = "/models" }`
    Table(Box<RawBind>),
}

impl Read for RawMount {
    const FORM: Form = Form::Either(&[Form::Text, RawBind::FORM]);

    fn read(at: &At, value: &DeValue<'_>, out: &mut Problems) -> Option<Self> {
        match value {
            DeValue::Table(_) => RawBind::read(at, value, out).map(|bind| Self::Table(Box::new(bind))),
            DeValue::String(_) => String::read(at, value, out).map(Self::Text),
            other => {
                let example = "\"/on/host:/inside\" or { source = \"/on/host\", target = \"/inside\" }";
                mismatch(at, other, ("text or a table", example), out);
                None
            }
        }
    }
}
