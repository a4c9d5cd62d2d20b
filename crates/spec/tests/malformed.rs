//! A file that is wrong is refused, and told why; never read as something weaker.
//!
//! `corpus/malformed/NAME.toml` is refused with the message in `NAME.expected`: place, message, and hint of
//! the first problem. `corpus/corrected/NAME.toml` is the same file with the mistake put right, and loads:
//! a loader that refuses everything fails here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use insula_spec::Config;

/// A made-up place, so that messages do not depend on where the tests run.
const PRETEND: &str = "/app/insula.toml";

fn corpus(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(kind)
}

/// The names of all files of a folder with this ending.
fn names(kind: &str, ending: &str) -> BTreeSet<String> {
    let name = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        name.strip_suffix(ending).map(str::to_owned)
    };
    fs::read_dir(corpus(kind)).unwrap().filter_map(|entry| name(entry.unwrap())).collect()
}

fn text(kind: &str, name: &str, ending: &str) -> String {
    fs::read_to_string(corpus(kind).join(format!("{name}{ending}"))).unwrap()
}

#[test]
fn every_malformed_file_has_its_message_and_its_corrected_twin() {
    let malformed = names("malformed", ".toml");
    assert!(malformed.len() >= 40, "the corpus shrank to {}", malformed.len());
    assert_eq!(malformed, names("malformed", ".expected"));
    assert_eq!(malformed, names("corrected", ".toml"));
}

#[test]
fn every_malformed_file_is_refused_with_its_message() {
    let mut wrong = Vec::new();
    for name in names("malformed", ".toml") {
        let said = match Config::parse(&text("malformed", &name, ".toml"), Path::new(PRETEND)) {
            Ok(_) => "it was let in".to_owned(),
            Err(e) => {
                let first = &e.problems()[0];
                format!("{}:{}: {first}\nhelp: {}\n", first.line(), first.column(), first.hint())
            }
        };
        let expected = text("malformed", &name, ".expected");
        if said != expected {
            wrong.push(format!("{name}:\n{said}expected:\n{expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} files differ:\n\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_corrected_twin_loads() {
    for name in names("corrected", ".toml") {
        if let Err(e) = Config::parse(&text("corrected", &name, ".toml"), Path::new(PRETEND)) {
            panic!("corrected/{name}.toml: {e}");
        }
    }
}
