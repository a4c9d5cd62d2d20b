//! The sessions that were planned are there by name.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::Path;

/// The list of them.
const LIST: &str = include_str!("../README.md");

/// Words that say of a session that it has no tests so far.
const MISSING: &str = "not there yet";

/// What is wrong with a list, and how many tests it names. `read` gives the text of a file of this repository.
fn check(list: &str, read: impl Fn(&str) -> Option<String>) -> (Vec<String>, usize) {
    let (mut wrong, mut all) = (Vec::new(), 0);
    for session in list.split("\n### ").skip(1) {
        let (heading, body) = session.split_once('\n').unwrap_or((session, ""));
        let (title, rest) = heading.split_once(": ").unwrap_or((heading, ""));
        let planned = rest.split(',').next().and_then(|number| number.trim().parse::<usize>().ok());
        let Some(planned) = planned else {
            wrong.push(format!("`{heading}` has no number"));
            continue;
        };
        let found =
            body.lines().filter_map(|line| line.strip_prefix("- `")).flat_map(|line| named(line, &read));
        let (good, bad): (Vec<_>, Vec<_>) = found.partition(Result::is_ok);
        wrong.extend(bad.into_iter().filter_map(Result::err).map(|why| format!("{title}: {why}")));
        let mut good: Vec<_> = good.into_iter().filter_map(Result::ok).collect();
        good.sort_unstable();
        good.dedup();
        all += good.len();
        match rest.contains(MISSING) {
            true if good.is_empty() => {}
            true => wrong.push(format!("{title}: some are there, although it says `{MISSING}`")),
            false if good.len() >= planned => {}
            false => wrong.push(format!("{title}: {} of {planned}", good.len())),
        }
    }
    (wrong, all)
}

/// The tests of one line, `FILE`: `name`, `name`; those that are not in the file are errors.
fn named(line: &str, read: &impl Fn(&str) -> Option<String>) -> Vec<Result<String, String>> {
    let (file, names) = line.split_once('`').unwrap_or((line, ""));
    let Some(text) = read(file) else { return vec![Err(format!("there is no `{file}`"))] };
    let names = names.split('`').skip(1).step_by(2);
    names
        .map(|name| {
            is_there(&text, file, name)
                .then(|| format!("{file} {name}"))
                .ok_or(format!("no `{name}` in `{file}`"))
        })
        .collect()
}

/// Whether a file has the test; of what is measured, the function.
fn is_there(text: &str, file: &str, name: &str) -> bool {
    let Some((before, _)) = text.split_once(&format!("fn {name}(")) else { return false };
    // Its attributes are what stands between the item before it and itself.
    let attributes = before.rsplit("\n\n").next().unwrap_or_default();
    file.starts_with("benches/") || attributes.contains("test]") || attributes.contains("test(")
}

fn of_the_repository(file: &str) -> Option<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).ok()
}

#[test]
fn every_planned_session_has_as_many_tests_as_it_names() {
    if of_the_repository("tests/README.md").is_none() {
        insula_tests::skip!("the source cannot be reached by this user");
    }
    let (wrong, all) = check(LIST, of_the_repository);
    assert_eq!(wrong, Vec::<String>::new());
    assert!(all > 70, "only {all} were read");
    let titles: Vec<_> = LIST.split("\n### ").skip(1).filter_map(|s| s.split(':').next()).collect();
    assert_eq!(titles, ["auth", "hypervisor", "lifecycle", "cgroup", "stress", "bench", "slum"]);
}

#[test]
fn a_list_that_is_not_true_is_caught() {
    let file = "#[test]\nfn one() {}\n\n#[tokio::test]\nasync fn two() {}\n\nfn helper() {}\n";
    let read = |path: &str| (path == "a.rs").then(|| file.to_owned());
    let wrong = |list: &str| check(&format!("\n### {list}\n"), read).0;
    assert_eq!(wrong("x: 2\n- `a.rs`: `one`, `two`"), [""; 0]);
    for (list, why) in [
        ("x: 3\n- `a.rs`: `one`, `two`", "2 of 3"),
        ("x: 2\n- `a.rs`: `one`, `one`", "1 of 2"),
        ("x: 1\n- `a.rs`: `one`, `three`", "no `three`"),
        ("x: 1\n- `a.rs`: `one`, `helper`", "no `helper`"),
        ("x: 0\n- `b.rs`: `one`", "there is no `b.rs`"),
        ("x\n- `a.rs`: `one`", "no number"),
        ("x: 1, not there yet\n- `a.rs`: `one`", "some are there"),
    ] {
        let found = wrong(list);
        assert!(found.len() == 1 && found[0].contains(why), "{list}: {found:?}");
    }
    assert_eq!(wrong("x: 5, not there yet"), [""; 0]);
}
