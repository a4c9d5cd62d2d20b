//! `auto` and `min_isolation`: a level is chosen once and kept, and never goes below the floor.

use insula_tests::{Server, skip};

use crate::common::{app, lacks, number};

/// A host without runsc.
const WITHOUT: &str = "[levels.gvisor]\npath = \"/nowhere/runsc\"\n";

fn config(levels: &str, keys: &str, tenants: &[&str]) -> String {
    format!("{levels}{}", app("serve", keys, tenants))
}

fn apply(server: &Server, text: &str) {
    let _file = server.place().configure(text);
    server.cli(&["config", "apply"]).ok();
}

#[test]
fn auto_is_resolved_at_the_first_start_and_kept() {
    let server = Server::start(&config(WITHOUT, "isolation = \"auto\"", &["a"]));
    if let Some(why) = lacks(&server, "container") {
        skip!("container: {why}");
    }
    server.get("app:a", "/").expect(200);
    assert_eq!(server.inspect("app:a")["level"], "container");
    assert_eq!(server.inspect("app:a")["floor"], serde_json::Value::Null);
    let events = server.cli(&["events", "app:a", "--kind", "level"]).ok().stdout;
    assert!(events.contains("`auto` is `container` here"), "{events}");
    apply(&server, &config("", "isolation = \"auto\"", &["a", "b"]));
    if let Some(why) = lacks(&server, "gvisor") {
        skip!("gvisor: {why}");
    }
    server.cli(&["restart", "app:a"]).ok();
    assert_eq!(server.inspect("app:a")["level"], "container", "a stored level was chosen again");
    // The control: one that was never started gets what is the strongest now.
    server.get("app:b", "/").expect(200);
    assert_eq!(server.inspect("app:b")["level"], "gvisor");
    // Never something weaker by itself.
    apply(&server, &config(WITHOUT, "isolation = \"auto\"", &["a", "b"]));
    assert_eq!(server.cli(&["restart", "app:b"]).code, 1);
    server.get("app:b", "/").expect(503);
    let why = server.cli(&["why", "app:b"]).ok().stdout;
    assert!(why.contains("level `gvisor` is not available here"), "{why}");
}

#[test]
fn a_level_that_is_absent_names_the_next_best_one_that_the_floor_allows() {
    let server = Server::start(&config(WITHOUT, "isolation = \"gvisor\"", &["a"]));
    if let Some(why) = lacks(&server, "container") {
        skip!("container: {why}");
    }
    let refused = |keys: &str| {
        apply(&server, &config(WITHOUT, &format!("isolation = \"gvisor\"\n{keys}"), &["a"]));
        let refused = server.cli(&["restart", "app:a"]);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("level `gvisor` is not available here"), "{}", refused.stderr);
        refused.stderr
    };
    assert!(refused("min_isolation = \"namespace\"").contains("or use `isolation = \"container\"`"));
    assert!(refused("").contains("or use `isolation = \"container\"`"));
    // Nothing else here satisfies it: nothing is named, before the start either.
    let said = refused("min_isolation = \"gvisor\"");
    assert!(!said.contains("or use `isolation"), "{said}");
    let file = server.place().path().join("insula.toml");
    let explained =
        server.cli(&["explain", "isolation", "app", "--config", file.to_str().unwrap()]).ok().stdout;
    assert!(!explained.contains("or use `isolation = \"container"), "{explained}");
}

#[test]
fn below_the_floor_nothing_starts_and_the_hint_names_what_would_do() {
    let server = Server::start(&config(WITHOUT, "isolation = \"auto\"", &["a"]));
    if let Some(why) = lacks(&server, "container") {
        skip!("container: {why}");
    }
    assert_eq!(number(&server.get("app:a", "/write?n=7").expect(200), "size"), 7);
    let gvisor = if lacks(&server, "gvisor").is_some() { "none" } else { "gvisor" };
    for (levels, floor, would) in [(WITHOUT, "gvisor", "none"), ("", "vm", "none"), ("", "gvisor", gvisor)] {
        apply(
            &server,
            &config(levels, &format!("isolation = \"auto\"\nmin_isolation = \"{floor}\""), &["a"]),
        );
        let refused = server.cli(&["restart", "app:a"]);
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        let why = server.cli(&["why", "app:a"]).ok().stdout;
        assert!(why.contains(&format!("below the floor `min_isolation = \"{floor}\"`")), "{why}");
        let hint = format!("levels that would do and work here: {would}");
        assert!(refused.stderr.contains(&hint), "{}", refused.stderr);
        assert_eq!(server.inspect("app:a")["floor"], floor);
    }
    // The control: without the floor it starts, where it was, with what it had.
    apply(&server, &config(WITHOUT, "isolation = \"auto\"", &["a"]));
    server.cli(&["spawn", "app:a"]).ok();
    assert_eq!(server.inspect("app:a")["level"], "container");
    assert_eq!(number(&server.get("app:a", "/read").expect(200), "size"), 7);
}
