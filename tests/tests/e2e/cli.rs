//! What a user types, and what comes back.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use insula_tests::{Answer, Place, Server, wait_until};

use crate::common::{app, number};

#[test]
fn ps_lists_every_instance() {
    let server = Server::start(&app("serve", "", &["a", "b"]));
    server.get("app:a", "/").expect(200);
    server.wait_observed("app:a", "running");
    let list = server.cli(&["ps", "--json"]).ok().json();
    let list = list["instances"].as_array().unwrap_or_else(|| panic!("{list}")).clone();
    let names: Vec<_> = list.iter().map(|i| i["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["app:a", "app:b"]);
    assert_eq!(list[0]["level"], "namespace");
    assert!(list[0]["url"].as_str().unwrap().contains("a.app.localhost"));
    let table = server.cli(&["ps"]).ok().stdout;
    assert!(table.lines().any(|l| l.contains("app:a") && l.contains("running")), "{table}");
}

#[test]
fn walls_that_wait_are_used_by_one_instance_and_by_none_after_it() {
    let server = Server::start(&app("serve", "", &["a"]));
    let full = || {
        wait_until("walls wait", || {
            let pools = server.cli(&["pool", "status", "--json"]).ok().json();
            let pool =
                pools.as_array().unwrap().iter().find(|pool| pool["levels"][0] == "namespace")?.clone();
            (pool["waiting"] == pool["kept"]).then_some(pool)
        })
    };
    assert!(full()["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    let first = server.agent("app:a");
    server.cli(&["stop", "app:a"]).ok();
    full();
    server.cli(&["spawn", "app:b"]).ok();
    assert_ne!(server.agent("app:b"), first);
    assert!(!first.alive(), "the walls of one tenant wait for another");
    full();
    let table = server.cli(&["pool", "status"]).ok().stdout;
    assert!(table.lines().any(|line| line.starts_with("namespace, container")), "{table}");
}

#[test]
fn logs_show_what_the_app_printed_and_follow_goes_on() {
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/log?n=3").expect(200);
    wait_until("the lines are stored", || {
        server.cli(&["logs", "app:a"]).ok().stdout.contains("line 3").then_some(())
    });
    let mut follow = Command::new(insula())
        .args(["logs", "-f", "-n", "1", "app:a"])
        .env("INSULA_HOME", server.place().home())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("line 3"));
    server.get("app:a", "/log?n=2").expect(200);
    assert!(lines.next().unwrap().unwrap().contains("line 4"));
    assert!(lines.next().unwrap().unwrap().contains("line 5"));
    follow.kill().unwrap();
    follow.wait().unwrap();
}

fn insula() -> std::path::PathBuf {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/debug/insula");
    std::env::var_os("INSULA_BIN").map_or_else(|| built.into(), Into::into)
}

#[test]
fn inspect_tells_level_limits_and_places() {
    let server = Server::start(&app("serve", "open_files = 100", &["a"]));
    server.get("app:a", "/").expect(200);
    let detail = server.inspect("app:a");
    assert_eq!(detail["level"], "namespace");
    assert_eq!(detail["limits"]["open_files"], 100);
    assert_eq!(detail["network"], "isolated");
    assert!(detail["data_dir"].as_str().unwrap().ends_with("/data/app/a"));
    for name in ["observed", "wanted", "since", "why"] {
        assert!(!detail["status"][name].is_null(), "no `{name}` in {detail}");
    }
}

#[test]
fn spawn_stop_and_restart_do_what_they_say() {
    let server = Server::start(&app("serve", "", &["a"]));
    assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), 1);
    let first = server.app("app:a");
    server.cli(&["restart", "app:a"]).ok();
    assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), 1);
    assert!(!first.alive());
    server.cli(&["stop", "app:a"]).ok();
    assert_eq!(server.observed("app:a"), "stopped");
    server.cli(&["spawn", "app:a"]).ok();
    server.get("app:a", "/").expect(200);
    server.cli(&["spawn", "app:new"]).ok();
    server.get("app:new", "/").expect(200);
}

#[test]
fn every_failure_has_its_exit_code_and_a_hint() {
    let server = Server::start(&app("serve", "", &["a"]));
    let not_found = server.cli(&["inspect", "app:nobody"]);
    assert_eq!(not_found.code, 3, "{not_found:?}");
    assert!(not_found.stderr.contains("hint:"), "{not_found:?}");
    assert!(not_found.stdout.is_empty(), "an error went to standard output: {not_found:?}");
    assert_eq!(server.cli(&["inspect"]).code, 2);
    assert_eq!(server.cli(&["inspect", "no colon"]).code, 2);
    assert_eq!(server.cli(&["spawn", "nobody:a"]).code, 3);
    let alone = Place::new();
    let not_running = Answer::of(&alone.home(), &["ps"]);
    assert_eq!(not_running.code, 5, "{not_running:?}");
    assert!(not_running.stderr.contains("insula serve"), "{not_running:?}");
}

#[test]
fn doctor_needs_no_server() {
    let place = Place::new();
    let report = Answer::of(&place.home(), &["doctor", "--json"]).ok().json();
    let text = report.to_string();
    assert!(text.contains("namespace") && text.contains("process"), "{text}");
    let table = Answer::of(&place.home(), &["doctor"]).ok().stdout;
    assert!(table.contains("namespace"), "{table}");
}

#[test]
fn health_names_the_worker_and_counts_instances() {
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/").expect(200);
    server.wait_observed("app:a", "running");
    let health = server.cli(&["health", "--json"]).ok().json();
    assert_eq!(health["instances"]["up"], 1, "{health}");
    let parents: Vec<_> = server.parent().children().iter().map(|p| i64::from(p.pid)).collect();
    assert!(parents.contains(&health["pid"].as_i64().unwrap()), "{health} {parents:?}");
}

#[test]
fn the_configurations_of_the_examples_are_valid() {
    let examples = [
        include_str!("../../../examples/notes/insula.toml"),
        include_str!("../../../examples/hello-node/insula.toml"),
        include_str!("../../../examples/chat/insula.toml"),
        include_str!("../../../examples/cache/insula.toml"),
        include_str!("../../../examples/hello/insula.toml"),
        include_str!("../../../examples/external/insula.toml"),
    ];
    let place = Place::new();
    let check = |text: &str| {
        let config = place.configure(text);
        Answer::of(&place.home(), &["config", "check", "--config", config.to_str().unwrap()])
    };
    for text in examples {
        check(text).ok();
    }
    assert_eq!(check(&examples[0].replace("idle_timeout", "idle_tiemout")).code, 6);
}
