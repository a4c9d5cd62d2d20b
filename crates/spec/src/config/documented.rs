//! `docs/reference/config.md` and the tables of this crate say the same.

use std::collections::BTreeSet;
use std::path::Path;

use super::raw::TABLES;
use super::template;
use super::{Config, Overrides};

const PAGE: &str = include_str!("../../../../docs/reference/config.md");

/// The section of the page that describes a table.
fn heading(place: &str) -> String {
    let title = if place == "the top level" { "Top level" } else { place };
    format!("## {title}\n")
}

/// The text from a heading to the next one of any depth.
fn section(page: &str, place: &str) -> String {
    let heading = heading(place);
    let (_, rest) = page.split_once(&heading).unwrap_or_else(|| panic!("no section `{}`", heading.trim()));
    rest.split("\n## ").next().unwrap().to_owned()
}

/// The keys that a section has a row for.
fn rows(section: &str) -> BTreeSet<&str> {
    section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(key, _)| key).collect()
}

/// The examples of the page, without their fences.
fn examples(page: &str) -> impl Iterator<Item = &str> {
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next())
}

#[test]
fn every_key_has_its_row_and_every_row_its_key() {
    for (place, keys) in TABLES {
        let section = section(PAGE, place);
        assert_eq!(rows(&section), keys.iter().copied().collect::<BTreeSet<_>>(), "in {place}");
    }
}

#[test]
fn a_key_that_is_not_on_the_page_would_be_seen() {
    let without = PAGE.replace("| `hold_queue`", "| hold_queue");
    assert!(!rows(&section(&without, "`[service.NAME]`")).contains("hold_queue"));
}

#[test]
fn every_row_has_type_default_and_meaning() {
    for line in PAGE.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert!(cells.iter().all(|cell| !cell.is_empty()), "an empty cell in {line}");
        assert!(cells.len() >= 2, "{line}");
    }
}

#[test]
fn every_example_of_the_page_loads() {
    assert!(examples(PAGE).count() > 3);
    // What the one example about the environment names.
    let variables = [("DATABASE_URL".into(), "set".into())].into_iter().collect();
    let overrides = Overrides { variables, ..Overrides::default() };
    for example in examples(PAGE) {
        if let Err(e) = Config::parse_with(example, Path::new("/app/insula.toml"), &overrides) {
            panic!("{example}\n{e}");
        }
    }
}

#[test]
fn placeholders_are_on_the_page() {
    for name in template::NAMES {
        assert!(PAGE.contains(&format!("| `{{{name}}}` |")), "{name}");
    }
}
