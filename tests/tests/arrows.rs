//! Arrows between rooms point down only.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::process::Command;

use insula_tests::arrows::{Graph, graph, wrong};

fn made_up(package: &str, import: &str) -> Graph {
    Graph::from([(package.to_owned(), vec![import.to_owned()])])
}

#[test]
fn every_import_between_rooms_points_down() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let answer = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output();
    let Some(answer) = answer.ok().filter(|a| a.status.success()) else {
        insula_tests::skip!("cargo or the source cannot be reached by this user");
    };
    let graph = graph(&serde_json::from_slice(&answer.stdout).unwrap());
    assert!(graph.len() >= 10, "the workspace was not read: {graph:?}");
    assert_eq!(wrong(&graph), Vec::<String>::new());
}

#[test]
fn a_wrong_arrow_is_caught() {
    for (package, import) in [
        ("insula-spec", "insula-linux"),       // up
        ("insula-services", "insula-edge"),    // up
        ("insula-api", "insula-store"),        // to the side
        ("insula-agent", "insula-isolation"),  // out of the wall
        ("insula-isolation", "insula-nobody"), // to nowhere
        ("insula-nobody", "insula-spec"),      // a room without a layer
    ] {
        assert_eq!(wrong(&made_up(package, import)).len(), 1, "`{package}` -> `{import}` was let through");
    }
    assert!(wrong(&made_up("insula-services", "insula-store")).is_empty());
    assert!(wrong(&made_up("insula", "insula-edge")).is_empty());
}
