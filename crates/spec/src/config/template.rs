//! Placeholders in commands and environments: `{name} {id} {data_dir} {port} {socket}`.
//!
//! A brace that stands for itself is written twice. Text is cut into pieces by [`pieces`]; checking and
//! rendering are two readers of the same pieces, so they cannot disagree.

/// The placeholders, in the order of the documentation.
pub(super) const NAMES: &[&str] = &["name", "id", "data_dir", "port", "socket"];

/// One piece of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text that stands for itself.
    Text(&'a str),
    /// What stands between two single braces.
    Slot(&'a str),
    /// A brace without its partner.
    Stray(&'a str),
}

/// Cuts a template into pieces, left to right.
pub(super) fn pieces(template: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = template;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, length) = first(rest);
        rest = rest.get(length..).unwrap_or("");
        Some(piece)
    })
}

/// The first piece of a text that is not empty, and how many bytes it took.
fn first(text: &str) -> (Piece<'_>, usize) {
    let head = |n: usize| text.get(..n).unwrap_or(text);
    let plain = text.find(['{', '}']).unwrap_or(text.len());
    if plain > 0 {
        return (Piece::Text(head(plain)), plain);
    }
    if text.starts_with("{{") || text.starts_with("}}") {
        return (Piece::Text(head(1)), 2);
    }
    let inside = text.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(inside, _)| inside);
    match inside {
        Some(name) if !name.contains('{') => (Piece::Slot(name), name.len() + 2),
        _ => (Piece::Stray(head(1)), 1),
    }
}

/// Fills a template in. Slots that `value` does not know and stray braces stay as they are; a validated
/// configuration has neither.
pub(super) fn render<'v>(template: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut out = String::with_capacity(template.len());
    for piece in pieces(template) {
        match piece {
            Piece::Text(text) | Piece::Stray(text) => out.push_str(text),
            Piece::Slot(name) => match value(name) {
                Some(text) => out.push_str(text),
                None => out.extend(["{", name, "}"]),
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fill(template: &str) -> String {
        render(template, |name| (name == "id").then_some("alice"))
    }

    #[test]
    fn slots_are_filled_and_doubled_braces_are_braces() {
        assert_eq!(fill("/x/{id}/y"), "/x/alice/y");
        assert_eq!(fill("{{\"a\": \"{id}\"}}"), "{\"a\": \"alice\"}");
        assert_eq!(fill("{{id}}"), "{id}");
        assert_eq!(fill("{{{id}}}"), "{alice}");
    }

    #[test]
    fn strays_and_strangers_are_told_apart() {
        let all = |t| pieces(t).collect::<Vec<_>>();
        assert_eq!(all("a{b"), [Piece::Text("a"), Piece::Stray("{"), Piece::Text("b")]);
        assert_eq!(all("}"), [Piece::Stray("}")]);
        assert_eq!(all("{x}"), [Piece::Slot("x")]);
        assert_eq!(all("{}"), [Piece::Slot("")]);
        assert_eq!(all("{a{id}"), [Piece::Stray("{"), Piece::Text("a"), Piece::Slot("id")]);
    }

    proptest! {
        #[test]
        fn any_text_survives_when_its_braces_are_doubled(text in ".*") {
            let escaped = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(render(&escaped, |_| None), text);
        }

        #[test]
        fn any_value_lands_where_its_slot_was(before in "[^{}]*", value in ".*", after in "[^{}]*") {
            let template = format!("{before}{{id}}{after}");
            let filled = render(&template, |name| (name == "id").then_some(value.as_str()));
            prop_assert_eq!(filled, format!("{before}{value}{after}"));
        }

        #[test]
        fn cutting_never_panics_and_always_ends(text in ".*") {
            prop_assert!(pieces(&text).count() <= text.len());
        }
    }
}
