//! `${NAME}` in a value of an `env`: the value of a variable of the daemon's own environment.
//!
//! This crate reads no environment; whoever reads a configuration hands it over in
//! [`Overrides`](super::Overrides). A text becomes another text of the same kind, in which every brace of a
//! value is doubled, so that nothing in it is taken for a placeholder.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::template::{NAMES, Piece, pieces};
use crate::Secret;

/// Values by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, Option<Secret>>);

/// Takes an environment. A value that is not UTF-8 is remembered as one that cannot be used.
impl FromIterator<(OsString, OsString)> for Variables {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(all: I) -> Self {
        let named = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok().map(Secret::from)))
        };
        Self(all.into_iter().filter_map(named).collect())
    }
}

/// Why a variable has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing<'a> {
    /// It is not set.
    Unset(&'a str),
    /// It holds something that is not UTF-8.
    NotText(&'a str),
}

impl Variables {
    /// The template with the values in place of `${NAME}`, and what is missing, which stands for nothing.
    pub(super) fn expand<'t>(&self, template: &'t str) -> (String, Vec<Missing<'t>>) {
        let (mut out, mut missing) = (String::with_capacity(template.len()), Vec::new());
        // Whether what was just taken from the template, not from a value, ends with a dollar sign.
        let mut dollar = false;
        for piece in pieces(template) {
            match piece {
                Piece::Text(text) => escape(&mut out, text),
                Piece::Stray(brace) => out.push_str(brace),
                Piece::Slot(name) if dollar && is_variable(name) => {
                    out.pop();
                    match self.0.get(name) {
                        Some(Some(value)) => escape(&mut out, value.expose()),
                        Some(None) => missing.push(Missing::NotText(name)),
                        None => missing.push(Missing::Unset(name)),
                    }
                }
                Piece::Slot(name) => out.extend(["{", name, "}"]),
            }
            dollar = matches!(piece, Piece::Text(text) if text.ends_with('$'));
        }
        (out, missing)
    }
}

/// Writes a text in the way in which a template has it.
fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        out.push(character);
        if matches!(character, '{' | '}') {
            out.push(character);
        }
    }
}

/// Whether this can be meant for a variable: in capitals, as every shell has them, so that a near miss of a
/// placeholder, or a piece of a password, is not looked for in the environment.
fn is_variable(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    !NAMES.contains(&name)
        && !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;

    use super::super::template::render;
    use super::*;

    fn of(all: &[(&str, &str)]) -> Variables {
        all.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
    }

    fn filled(variables: &Variables, template: &str) -> String {
        let (text, missing) = variables.expand(template);
        assert_eq!(missing, [], "{template}");
        render(&text, |name| (name == "id").then_some("ann"))
    }

    #[test]
    fn values_stand_where_they_are_named() {
        let variables = of(&[("KEY", "s3cret"), ("EMPTY", ""), ("ODD", "{id} $ ${KEY} }{")]);
        for (template, text) in [
            ("${KEY}", "s3cret"),
            ("a-${KEY}-{id}", "a-s3cret-ann"),
            ("${KEY}${KEY}", "s3crets3cret"),
            ("$${KEY}", "$s3cret"),
            ("[${EMPTY}]", "[]"),
            ("${ODD}{id}", "{id} $ ${KEY} }{ann"),
            ("${id}", "$ann"),
            ("${{KEY}}", "${KEY}"),
            ("$KEY", "$KEY"),
        ] {
            assert_eq!(filled(&variables, template), text, "{template}");
        }
    }

    #[test]
    fn what_is_missing_is_named_and_what_is_no_variable_is_left_alone() {
        let variables: Variables =
            [(OsString::from("RAW"), OsString::from_vec(vec![0xff]))].into_iter().collect();
        let (_, missing) = variables.expand("${ONE} ${RAW} ${TWO_2}");
        assert_eq!(missing, [Missing::Unset("ONE"), Missing::NotText("RAW"), Missing::Unset("TWO_2")]);
        for text in ["${}", "${2A}", "${one}", "${A-B}", "$ {A}", "{A}", "${A", "${ID}{{}}x}"] {
            let (same, missing) = variables.expand(text);
            let named = text == "${ID}{{}}x}";
            assert_eq!(missing.len(), usize::from(named), "{text}");
            assert!(named || same == text, "{text} became {same}");
        }
    }

    proptest! {
        #[test]
        fn a_text_without_variables_means_what_it_meant(text in "[^$]*") {
            let (same, missing) = Variables::default().expand(&text);
            prop_assert!(missing.is_empty());
            prop_assert_eq!(&same, &text);
        }

        #[test]
        fn any_value_arrives_whole(value in "[^\0]*") {
            let variables = of(&[("V", &value)]);
            prop_assert_eq!(filled(&variables, "<${V}>"), format!("<{value}>"));
        }
    }
}
