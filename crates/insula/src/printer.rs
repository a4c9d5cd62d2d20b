//! The only place that prints: data to stdout, talk to stderr.
//!
//! A reader that went away (`insula logs | head`) ends the program quietly.

use std::io::{self, Write};

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::exit::Exit;
use crate::failure;

/// Writes what a command has to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    /// Whether data is written as JSON.
    pub(crate) json: bool,
}

/// How one error looks to a program.
#[derive(Debug, Serialize)]
struct ErrorJson<'a> {
    code: &'a str,
    cause: &'a str,
    remediation: &'a str,
    exit: u8,
}

impl Printer {
    /// One value as JSON, on lines of its own.
    pub(crate) fn json<T: Serialize>(self, value: &T) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(value).context("cannot write the answer as JSON")?;
        self.text(&text)
    }

    /// One value as one line of JSON.
    pub(crate) fn json_line<T: Serialize>(self, value: &T) -> anyhow::Result<()> {
        let text = serde_json::to_string(value).context("cannot write the answer as JSON")?;
        self.text(&text)
    }

    /// Text as data.
    pub(crate) fn text(self, text: &str) -> anyhow::Result<()> {
        self.bytes(text.as_bytes())
    }

    /// Bytes as data, and a newline.
    pub(crate) fn bytes(self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }

    /// A value as JSON, or else as text made of it.
    pub(crate) fn either<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        if self.json { self.json(value) } else { self.text(&text(value)) }
    }

    /// A line for the person in front of the terminal.
    pub(crate) fn talk(self, text: &str) {
        // Nobody is left to be told when standard error is gone.
        drop(writeln!(io::stderr().lock(), "{text}"));
    }

    /// Says why the program ends; gives back how.
    pub(crate) fn error(self, error: &anyhow::Error) -> Exit {
        let broken = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
        if error.downcast_ref::<io::Error>().is_some_and(broken) {
            return Exit::Ok;
        }
        let exit = Exit::of(error);
        let cause = format!("{error:#}");
        let hint = failure::hint(error).unwrap_or_default();
        if self.json {
            let (code, remediation) = (&failure::code(error), &hint);
            let value = ErrorJson { code, cause: &cause, remediation, exit: exit as u8 };
            self.talk(&serde_json::to_string(&value).unwrap_or(cause));
            return exit;
        }
        self.talk(&format!("error: {cause}"));
        if !hint.is_empty() {
            self.talk(&format!("hint: {hint}"));
        }
        exit
    }
}

/// A table without lines: columns two spaces apart, headings in capitals.
pub(crate) fn table(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headings);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2)).set_cell_alignment(CellAlignment::Left);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_needs_no_colour_and_no_lines() {
        let rows = vec![vec!["notes:alice".into(), "running".into()], vec!["b:c".into(), "-".into()]];
        assert_eq!(
            table(&["NAME", "STATE"], rows),
            "NAME         STATE\nnotes:alice  running\nb:c          -"
        );
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let printer = Printer { json: false };
        assert_eq!(printer.error(&io::Error::from(io::ErrorKind::BrokenPipe).into()), Exit::Ok);
        assert_eq!(printer.error(&io::Error::from(io::ErrorKind::NotFound).into()), Exit::Failed);
    }
}
