//! The line of the file that a problem is about, with a caret under it.

use std::fmt;
use std::ops::Range;

/// Most characters of a line that are shown.
const WIDTH: usize = 100;
/// How many characters before the marked place stay visible in a longer line.
const LEAD: usize = 40;

/// A place in the file, and the text of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snippet {
    /// Line, from 1.
    pub(super) line: usize,
    /// Column in characters, from 1.
    pub(super) column: usize,
    shown: String,
    indent: usize,
    marks: usize,
}

impl Snippet {
    /// Finds the place of a byte range. A range outside the text means its end.
    pub(super) fn new(text: &str, span: &Range<usize>) -> Self {
        let start = floor_char(text, span.start);
        let end = floor_char(text, span.end.max(start));
        let before = text.get(..start).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = text.get(line_start..).unwrap_or("");
        let line_text = rest.split('\n').next().unwrap_or("").trim_end_matches('\r');
        let chars = |range: Range<usize>| text.get(range).unwrap_or("").chars().count();
        let offset = chars(line_start..start);
        let marked = chars(start..end.min(line_start + line_text.len()).max(start));
        let skipped = if line_text.chars().count() > WIDTH { offset.saturating_sub(LEAD) } else { 0 };
        let shown: String = line_text.chars().skip(skipped).take(WIDTH).map(printable).collect();
        let indent = offset - skipped;
        Self {
            line: before.matches('\n').count() + 1,
            column: offset + 1,
            marks: marked.clamp(1, WIDTH.saturating_sub(indent).max(1)),
            shown,
            indent,
        }
    }
}

impl Snippet {
    /// The same place, in a line without its values: everything behind the name of the key is covered.
    pub(super) fn concealed(self) -> Self {
        let keep = |at: usize| self.marks_a_name() && (self.indent..self.indent + self.marks).contains(&at);
        // Of a line that is cut at its beginning nobody knows what it begins with.
        let whole = self.indent + 1 == self.column;
        let name = self.shown.split_once('=').filter(|_| whole).map_or("", |(name, _)| name);
        let from = name.chars().count();
        let cover = |(at, c): (usize, char)| if at < from || c == ' ' || keep(at) { c } else { '*' };
        Self { shown: self.shown.chars().enumerate().map(cover).collect(), ..self }
    }

    /// The same place, in a line of which nobody can tell what in it is a value.
    pub(super) fn covered(self) -> Self {
        let cover = |c: char| if c == ' ' { c } else { '*' };
        Self { shown: self.shown.chars().map(cover).collect(), ..self }
    }

    /// Whether what is marked is the name of a key: it is followed by `=`.
    fn marks_a_name(&self) -> bool {
        let behind: String = self.shown.chars().skip(self.indent + self.marks).collect();
        behind.trim_start().starts_with('=')
    }
}

impl fmt::Display for Snippet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {}", self.shown)?;
        write!(f, "{gutter} | {}{}", " ".repeat(self.indent), "^".repeat(self.marks))
    }
}

/// The largest character boundary that is not above `at`.
fn floor_char(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// What a terminal may be shown of a character: nothing that moves the cursor or turns the text around.
pub(super) fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_caret_stands_under_the_place() {
        let text = "a = 1\n\tbéta = 22\nc = 3\n";
        let start = text.find("22").unwrap();
        let snippet = Snippet::new(text, &(start..start + 2));
        assert_eq!((snippet.line, snippet.column), (2, 9));
        assert_eq!(snippet.to_string(), "  |\n2 |  béta = 22\n  |         ^^");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let snippet = Snippet::new("a = \u{1b}[2J\u{202e}", &(0..1));
        assert!(!snippet.to_string().contains(['\u{1b}', '\u{202e}']));
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let snippet = Snippet::new(&text, &(500..501));
        let rendered = snippet.to_string();
        let lines: Vec<_> = rendered.lines().collect();
        assert_eq!(lines[1].find('X'), lines[2].find('^'));
        assert!(lines[1].len() < 110);
    }

    proptest! {
        #[test]
        fn any_range_of_any_text_has_a_snippet(text in "(?s).{0,200}", a in 0usize..900, b in 0usize..900) {
            let snippet = Snippet::new(&text, &(a..b));
            prop_assert!(snippet.line >= 1 && snippet.to_string().contains('^'));
        }
    }
}
