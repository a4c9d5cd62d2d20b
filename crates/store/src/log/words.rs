//! What somebody looks for, and never more than that.
//!
//! The text of a user is not the query language of the database. It is read here, and written anew with every
//! word in quotes, so that nothing of it can be an operator, a column or a syntax error there.
//!
//! ```text
//! panic "connection refused" -debug time* GET OR POST
//!   └────────── all of them, ──────────┘  └ either ─┘
//! ```

use std::fmt::Write as _;
use std::str::FromStr;

/// Longest text, in bytes.
const TEXT_MAX: usize = 1024;
/// Most words and phrases in one text.
const TERMS_MAX: usize = 32;
/// Fewest letters before a `*`.
const PREFIX_MIN: usize = 2;

/// What to look for in captured lines. Case and accents do not matter.
///
/// Words stand for themselves, and all of them must be there; a word with signs in it, such as `a-b`, is the
/// phrase of its parts. `"a b"` is a phrase, `ab*` any word that begins so, `-a` a word that must not be
/// there, and `a OR b` either of the two; `OR` binds closer than standing side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// All of these must match, each by one of its terms.
    wanted: Vec<Vec<Term>>,
    unwanted: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    text: String,
    prefix: bool,
}

/// Why a text is nothing that could be looked for. Positions are bytes from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// It is too long.
    #[error("the search has {len} bytes, more than {TEXT_MAX}")]
    TooLong {
        /// How long it is, in bytes.
        len: usize,
    },
    /// It has too many words.
    #[error("the search has more than {TERMS_MAX} words (at byte {at})")]
    TooMany {
        /// Where the first one too many begins.
        at: usize,
    },
    /// It names nothing that must be there.
    #[error("the search names no word that must be there")]
    Nothing,
    /// A quotation mark has no partner.
    #[error("the quotation mark at byte {at} of the search is never closed")]
    Unclosed {
        /// Where it is.
        at: usize,
    },
    /// A word has neither letters nor digits.
    #[error("`{word}` at byte {at} of the search has neither a letter nor a digit")]
    NoWord {
        /// Where it begins.
        at: usize,
        /// The word.
        word: String,
    },
    /// A prefix is too short.
    #[error("`{word}*` at byte {at} of the search is too short for a prefix")]
    ShortPrefix {
        /// Where it begins.
        at: usize,
        /// What stands before the asterisk.
        word: String,
    },
    /// An `OR` lacks what stands on one of its sides, or has an excluded word there.
    #[error("`OR` at byte {at} of the search needs a word on both sides, without `-`")]
    LoneOr {
        /// Where it is.
        at: usize,
    },
}

impl SearchError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooLong { .. } | Self::TooMany { .. } => "look for fewer words",
            Self::Nothing => "give at least one word without `-`",
            Self::Unclosed { .. } => "close it, or leave it out",
            Self::NoWord { .. } => "signs are not indexed; look for the words beside them",
            Self::ShortPrefix { .. } => "give at least two letters before `*`",
            Self::LoneOr { .. } => "write `a OR b`; to look for the word itself, write `\"or\"`",
        }
    }
}

/// One piece of the text: where it is, what it says.
enum Token {
    Or,
    Term { term: Term, excluded: bool },
}

impl FromStr for Search {
    type Err = SearchError;

    fn from_str(text: &str) -> Result<Self, SearchError> {
        if text.len() > TEXT_MAX {
            return Err(SearchError::TooLong { len: text.len() });
        }
        let mut search = Self { wanted: Vec::new(), unwanted: Vec::new() };
        let (mut at, mut terms, mut open, mut joined) = (0, 0, None, false);
        while let Some((start, token, end)) = next(text, at)? {
            at = end;
            match token {
                // `joined`: the last piece was a wanted term, so an `OR` may follow it.
                Token::Or if !joined || open.is_some() => return Err(SearchError::LoneOr { at: start }),
                Token::Or => open = Some(start),
                Token::Term { excluded: true, .. } if let Some(at) = open => {
                    return Err(SearchError::LoneOr { at });
                }
                Token::Term { term, excluded } => {
                    terms += 1;
                    if terms > TERMS_MAX {
                        return Err(SearchError::TooMany { at: start });
                    }
                    search.add(term, excluded, open.take().is_some());
                    joined = !excluded;
                }
            }
        }
        match open {
            Some(at) => Err(SearchError::LoneOr { at }),
            None if search.wanted.is_empty() => Err(SearchError::Nothing),
            None => Ok(search),
        }
    }
}

impl Search {
    fn add(&mut self, term: Term, excluded: bool, or: bool) {
        if excluded {
            self.unwanted.push(term);
        } else if or && let Some(last) = self.wanted.last_mut() {
            last.push(term);
        } else {
            self.wanted.push(vec![term]);
        }
    }

    /// The same for the database, with a condition on the column `who` before it.
    pub(super) fn query(&self, who: Option<&str>) -> String {
        let mut query = String::from("(");
        if let Some(who) = who {
            write_to(&mut query, format_args!("(who : {who}) AND "));
        }
        let groups: Vec<_> = self.wanted.iter().map(|group| any(group)).collect();
        write_to(&mut query, format_args!("(line : ({})))", groups.join(" AND ")));
        if !self.unwanted.is_empty() {
            write_to(&mut query, format_args!(" NOT (line : {})", any(&self.unwanted)));
        }
        query
    }
}

/// Writing into a text cannot fail.
fn write_to(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).unwrap_or_default();
}

fn any(terms: &[Term]) -> String {
    let quoted = |term: &Term| {
        let star = if term.prefix { " *" } else { "" };
        format!("\"{}\"{star}", term.text.replace('"', "\"\""))
    };
    format!("({})", terms.iter().map(quoted).collect::<Vec<_>>().join(" OR "))
}

/// The piece that begins at or behind `at`, with its begin and end; `None` at the end of the text.
fn next(text: &str, at: usize) -> Result<Option<(usize, Token, usize)>, SearchError> {
    let rest = text.get(at..).unwrap_or_default();
    let Some(skip) = rest.find(|c: char| !separates(c)) else { return Ok(None) };
    let start = at + skip;
    let rest = text.get(start..).unwrap_or_default();
    let excluded = rest.starts_with('-');
    let body = start + usize::from(excluded);
    let rest = text.get(body..).unwrap_or_default();
    let (raw, mut end) = if rest.starts_with('"') {
        let inner = rest.get(1..).unwrap_or_default();
        let close = inner.find('"').ok_or(SearchError::Unclosed { at: body })?;
        (inner.get(..close).unwrap_or_default(), body + close + 2)
    } else {
        let len = rest.find(|c: char| separates(c) || c == '"').unwrap_or(rest.len());
        (rest.get(..len).unwrap_or_default(), body + len)
    };
    if !excluded && raw == "OR" && !rest.starts_with('"') {
        return Ok(Some((start, Token::Or, end)));
    }
    let (word, prefix) = match raw.strip_suffix('*').filter(|_| !rest.starts_with('"')) {
        Some(word) => (word, true),
        None if text.get(end..).is_some_and(|behind| behind.starts_with('*')) => {
            end += 1;
            (raw, true)
        }
        None => (raw, false),
    };
    Ok(Some((start, Token::Term { term: term(word, prefix, start)?, excluded }, end)))
}

fn term(word: &str, prefix: bool, at: usize) -> Result<Term, SearchError> {
    let letters = word.chars().filter(|c| c.is_alphanumeric()).count();
    let short = || word.chars().take(40).collect::<String>();
    if letters == 0 {
        return Err(SearchError::NoWord { at, word: short() });
    }
    if prefix && letters < PREFIX_MIN {
        return Err(SearchError::ShortPrefix { at, word: short() });
    }
    // The database reads a query up to its first NUL.
    Ok(Term { text: word.replace('\0', " "), prefix })
}

fn separates(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> String {
        text.parse::<Search>().unwrap().query(None)
    }

    #[test]
    fn words_are_quoted_and_joined() {
        for (text, wanted) in [
            ("panic", r#"((line : (("panic"))))"#),
            ("a b", r#"((line : (("a") AND ("b"))))"#),
            ("a OR b c", r#"((line : (("a" OR "b") AND ("c"))))"#),
            ("a -b -\"c d\"", r#"((line : (("a")))) NOT (line : ("b" OR "c d"))"#),
            ("ab* \"c d\"*", r#"((line : (("ab" *) AND ("c d" *))))"#),
            ("AND NOT NEAR(x)", r#"((line : (("AND") AND ("NOT") AND ("NEAR(x)"))))"#),
            ("who:1", r#"((line : (("who:1"))))"#),
            ("or \"OR\"", r#"((line : (("or") AND ("OR"))))"#),
        ] {
            assert_eq!(query(text), wanted, "{text}");
        }
        let with = "x".parse::<Search>().unwrap().query(Some("(7)"));
        assert_eq!(with, r#"((who : (7)) AND (line : (("x"))))"#);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_place() {
        let no_word = |at, word: &str| SearchError::NoWord { at, word: word.to_owned() };
        for (text, wanted) in [
            ("", SearchError::Nothing),
            ("   ", SearchError::Nothing),
            ("-a", SearchError::Nothing),
            ("a \"b", SearchError::Unclosed { at: 2 }),
            ("a !!", no_word(2, "!!")),
            ("-", no_word(0, "")),
            ("\"\"", no_word(0, "")),
            ("*", no_word(0, "")),
            ("ab c*", SearchError::ShortPrefix { at: 3, word: "c".to_owned() }),
            ("OR a", SearchError::LoneOr { at: 0 }),
            ("a OR", SearchError::LoneOr { at: 2 }),
            ("a OR OR b", SearchError::LoneOr { at: 5 }),
            ("a OR -b", SearchError::LoneOr { at: 2 }),
            ("a -b OR c", SearchError::LoneOr { at: 5 }),
        ] {
            assert_eq!(text.parse::<Search>(), Err(wanted), "{text}");
        }
        let many = "ab ".repeat(TERMS_MAX + 1);
        assert_eq!(many.parse::<Search>(), Err(SearchError::TooMany { at: 3 * TERMS_MAX }));
        assert!(matches!("x".repeat(TEXT_MAX + 1).parse::<Search>(), Err(SearchError::TooLong { .. })));
    }
}
