//! Whatever the file holds: an answer, never a panic, and never a lower floor by a slip of the hand.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use insula_spec::{Config, Level, Network};
use proptest::prelude::*;

const EVERYTHING: &str = include_str!("corpus/good/everything.toml");
const STRICT: &str = "\
min_isolation = \"vm\"
[service.notes]
command = \"app\"
network = \"isolated\"
min_isolation = \"vm\"
isolation = \"vm\"
[service.other]
command = \"app\"
";

/// Parses, and shows the error if there is one, so that rendering is exercised too.
fn answer(text: &str) -> Option<Config> {
    match Config::parse(text, Path::new("/app/insula.toml")) {
        Ok(config) => Some(config),
        Err(e) => {
            assert!(!e.to_string().is_empty() && !e.hint().is_empty());
            assert!(!e.problems().is_empty(), "an error without a problem");
            None
        }
    }
}

/// Pieces of real files, in any order.
fn fragments() -> impl Strategy<Value = String> {
    let lines: Vec<&'static str> = EVERYTHING.lines().collect();
    proptest::collection::vec(proptest::sample::select(lines), 0..40).prop_map(|lines| lines.join("\n"))
}

/// A real file with one stretch replaced by anything.
fn damaged() -> impl Strategy<Value = String> {
    let chars: Vec<char> = EVERYTHING.chars().collect();
    let length = chars.len();
    (0..length, 0..40usize, "(?s).{0,10}").prop_map(move |(at, cut, put)| {
        let (before, after) = (&chars[..at], &chars[(at + cut).min(length)..]);
        before.iter().copied().chain(put.chars()).chain(after.iter().copied()).collect()
    })
}

fn floors_hold(config: &Config) -> bool {
    !config.services.is_empty()
        && config
            .services
            .values()
            .all(|service| service.floor() == Some(Level::Vm) && service.network == Network::Isolated)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_has_an_answer(text in "(?s).{0,300}") {
        answer(&text);
    }

    #[test]
    fn any_toml_like_text_has_an_answer(text in "[a-z\\[\\]{}\"'=.,#\n 0-9_~:/\\\\-]{0,200}") {
        answer(&text);
    }

    #[test]
    fn any_order_of_lines_has_an_answer(text in fragments()) {
        answer(&text);
    }

    #[test]
    fn any_damage_has_an_answer(text in damaged()) {
        answer(&text);
    }
}

#[test]
fn a_file_that_was_not_damaged_loads() {
    assert!(answer(EVERYTHING).is_some());
    assert!(answer(STRICT).is_some_and(|config| floors_hold(&config)));
}

#[test]
fn no_slip_of_one_character_lowers_a_floor() {
    let chars: Vec<char> = STRICT.chars().collect();
    let mut loaded = 0;
    for at in 0..chars.len() {
        let mut missing = chars.clone();
        missing.remove(at);
        let mut doubled = chars.clone();
        doubled.insert(at, chars[at]);
        let mut swapped = chars.clone();
        swapped.swap(at, (at + 1).min(chars.len() - 1));
        let mut shouted = chars.clone();
        shouted[at] = chars[at].to_ascii_uppercase();
        for slip in [missing, doubled, swapped, shouted] {
            let text: String = slip.into_iter().collect();
            let Some(config) = answer(&text) else { continue };
            loaded += 1;
            assert!(floors_hold(&config), "this was read as something weaker:\n{text}");
        }
    }
    assert!(loaded > 0, "every slip was refused, so that nothing was compared");
}

#[test]
fn lines_that_are_taken_out_on_purpose_do_lower_it() {
    let without = STRICT.replace("min_isolation = \"vm\"\n", "");
    assert!(answer(&without).is_some_and(|config| !floors_hold(&config)));
}

#[test]
fn deep_nesting_is_refused() {
    assert!(answer(&format!("did = {}", "[".repeat(100_000))).is_none());
    assert!(answer(&format!("{} = 1", vec!["a"; 10_000].join("."))).is_none());
}
