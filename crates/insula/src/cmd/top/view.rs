//! What is shown of a frame: pure, so that it can be looked at without a terminal.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::frame::{Frame, Row};
use crate::cli::TopSort;
use crate::format;
use crate::printer;

const HEADINGS: [&str; 10] =
    ["NAME", "STATE", "CPU %", "MEMORY", "DISK", "PIDS", "SVC REQ/S", "SVC WAIT", "RESTARTS", "WAKES"];

/// Lines above the rows: totals, what the keys do, headings.
const ABOVE: usize = 3;

/// What the person in front of the terminal chose.
#[derive(Debug)]
pub(super) struct View {
    sort: TopSort,
    filter: String,
    typing: bool,
    top: usize,
    ill: Option<String>,
}

impl View {
    pub(super) fn new(sort: TopSort) -> Self {
        Self { sort, filter: String::new(), typing: false, top: 0, ill: None }
    }

    pub(super) fn sort(&self) -> TopSort {
        self.sort
    }

    /// The last look succeeded.
    pub(super) fn well(&mut self) {
        self.ill = None;
    }

    /// The last look failed; what is shown is older.
    pub(super) fn ill(&mut self, why: &str) {
        self.ill = Some(why.escape_debug().to_string());
    }

    /// Takes a key; `true` when it is one that ends the program.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return true,
            KeyCode::Esc if self.typing => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Enter if self.typing => self.typing = false,
            KeyCode::Backspace if self.typing => drop(self.filter.pop()),
            KeyCode::Char(c) if self.typing => self.filter.push(c),
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('j') | KeyCode::Down => self.top = self.top.saturating_add(1),
            KeyCode::Char('k') | KeyCode::Up => self.top = self.top.saturating_sub(1),
            _ => {}
        }
        false
    }

    /// The lines of a screen of this size.
    pub(super) fn lines(&self, frame: &Frame, (width, height): (usize, usize)) -> Vec<String> {
        let rows: Vec<_> = frame.instances.iter().filter(|row| row.name.contains(&self.filter)).collect();
        let seen = height.saturating_sub(ABOVE).max(1);
        let top = self.top.min(rows.len().saturating_sub(seen));
        let body = body(rows.into_iter().skip(top).take(seen));
        let mut lines = vec![totals(frame), self.keys()];
        lines.extend(body.lines().map(str::to_owned));
        lines.truncate(height);
        lines.into_iter().map(|line| line.chars().take(width).collect()).collect()
    }

    fn keys(&self) -> String {
        let (sort, filter) = (self.sort.as_str(), &self.filter);
        match (&self.ill, self.typing) {
            (_, true) => format!("filter: {filter}_"),
            (Some(why), _) => format!("old: {why}"),
            _ if filter.is_empty() => format!("q quit  s sort ({sort})  / filter  j k scroll"),
            _ => format!("q quit  s sort ({sort})  / filter ({filter})  j k scroll"),
        }
    }
}

fn totals(frame: &Frame) -> String {
    let t = &frame.totals;
    let requests = t.requests_per_second.map_or_else(String::new, |rate| format!(", {rate:.1} requests/s"));
    format!(
        "{} instances: {} running, {} asleep, {} failed; CPU {:.1} %, memory {}, {} processes{requests}",
        t.instances,
        t.running,
        t.asleep,
        t.failed,
        t.cpu_percent,
        format::bytes(t.memory_bytes),
        t.pids,
    )
}

/// Everything as text.
pub(super) fn table(frame: &Frame) -> String {
    format!("{}\n{}", totals(frame), body(frame.instances.iter()))
}

fn body<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    printer::table(&HEADINGS, rows.map(cells).collect())
}

fn cells(row: &Row) -> Vec<String> {
    let tenths = |number: Option<f64>| format::or_dash(number.map(|n| format!("{n:.1}")));
    vec![
        row.name.clone(),
        row.state.to_string(),
        tenths(row.cpu_percent),
        format::or_dash(row.memory_bytes.map(format::bytes)),
        format::or_dash(row.disk_bytes.map(format::bytes)),
        format::or_dash(row.pids),
        tenths(row.service_requests_per_second),
        format::or_dash(row.service_requests_waiting),
        row.restarts.to_string(),
        row.wakes.to_string(),
    ]
}
