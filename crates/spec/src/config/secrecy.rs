//! Text that is not TOML may hold secrets all the same: nobody can tell its tables apart any more.
//!
//! A line is shown only if it cannot be one of an `env`: it begins like the header of a table or with a key
//! that exists, and no `env` is mentioned before it, or only before a line that begins another table outside
//! of every text of several lines.

use std::ops::Range;

use super::raw::TABLES;

/// Whether what stands at a place may be a value of an `env`.
pub(super) fn suspect(text: &str, span: &Range<usize>) -> bool {
    let end = text.get(span.end.max(span.start)..).and_then(|rest| rest.find('\n'));
    let end = end.map_or(text.len(), |more| span.end.max(span.start) + more);
    let before = text.get(..end).unwrap_or(text);
    let mut suspect = false;
    let mut quotes = 0;
    for line in before.split('\n') {
        if mentions_env(line) {
            suspect = true;
        } else if quotes % 2 == 0 && begins_table(line) {
            suspect = false;
        }
        quotes += line.matches("\"\"\"").count() + line.matches("'''").count();
    }
    suspect || !is_familiar(before.rsplit('\n').next().unwrap_or_default())
}

/// Whether the line begins with a key that exists, or like the header of a table. A slip may have made
/// anything else of an `env`.
fn is_familiar(line: &str) -> bool {
    match line.split_once('=') {
        Some((key, _)) => TABLES.iter().any(|(_, keys)| keys.contains(&key.trim())),
        None => line.trim_start().starts_with('['),
    }
}

/// Whether `env` stands in the line, also as a part of another word: a slip may have put them together.
fn mentions_env(line: &str) -> bool {
    line.to_ascii_lowercase().contains("env")
}

/// Whether the line is a whole header of a table, and nothing else.
fn begins_table(line: &str) -> bool {
    let inside = line.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    inside.is_some_and(|name| !name.is_empty() && name.chars().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, word: &str) -> bool {
        let start = text.rfind(word).unwrap();
        suspect(text, &(start..start + word.len()))
    }

    #[test]
    fn values_behind_env_are_suspect_until_the_next_table() {
        assert!(at("[service.a.env]\nX = here", "here"));
        assert!(at("[service.a]\nenv = { X = here", "here"));
        assert!(at("[service.a]\nenv.X = here", "here"));
        assert!(at("[service.a]\n\"env\" = { X = here", "here"));
        assert!(at("[service.a.env\nX = here", "here"));
        assert!(at("[service.a]\n\"nv = { X = here", "here"));
        assert!(!at("[service.a.env]\nX = 1\n[settings]\ndomain = here", "here"));
        assert!(!at("[settings]\ndomain = here\n[service.a.env]\n", "here"));
        assert!(at("[settings]\ndomain = 1xenv = here", "here"));
    }

    #[test]
    fn a_header_inside_of_a_text_is_none() {
        assert!(at("[service.a.env]\nX = \"\"\"\n[settings]\nhere", "here"));
        assert!(at("[service.a.env]\nX = '''\n[settings]\nhere", "here"));
    }
}
