//! `isolation = "external:NAME"`: a program by the operator runs the workload, and its life is that of any instance.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use insula_tests::{Options, Place, Server, skip};

use crate::common::{app, number};

const APART: &str = include_str!("../../../examples/external/apart.sh");

/// A server whose `app` is run by this script, in these walls.
fn run_by(script: &str, walls: &str, keys: &str) -> Server {
    let place = Place::new();
    let path = place.path().join("runner.sh");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let keys = format!("isolation = \"external:mine\"\n{keys}");
    let config = format!(
        "{}\n[levels.external.mine]\nprogram = \"$ROOT/runner.sh\"\nargs = [\"hello from the runner\"]\n\
         walls = \"{walls}\"\n",
        app("serve", &keys, &["a"])
    );
    Server::with(place, &config, &Options::default())
}

/// Which namespace of this kind the app of an instance is in.
fn space(server: &Server, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{}/ns/{kind}", server.app("app:a").pid)).unwrap();
    link.to_str().unwrap().to_owned()
}

#[test]
fn an_external_runner_lives_like_any_level() {
    let able = Command::new("unshare").args(["--user", "--map-current-user", "true"]).status();
    if !able.is_ok_and(|status| status.success()) {
        skip!("`unshare --user` does not work here");
    }
    let server = run_by(APART, "process", "idle_timeout = \"500ms\"");
    // Start, request, log.
    assert_eq!(number(&server.get("app:a", "/write?n=7").expect(200), "size"), 7);
    let logs = server.cli(&["logs", "app:a"]).ok().stdout;
    assert!(logs.contains("apart: hello from the runner"), "{logs}");
    let detail = server.inspect("app:a");
    assert_eq!(detail["level"], "process");
    assert!(detail["command"][0].as_str().unwrap().ends_with("/runner.sh"), "{detail}");
    // The runner's wall is there, which the level alone does not have.
    let own =
        |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().to_str().unwrap().to_owned();
    assert_ne!(space(&server, "ipc"), own("ipc"));
    assert_ne!(space(&server, "user"), own("user"));
    // Stop and wake, with its data.
    server.wait_observed("app:a", "asleep");
    assert_eq!(number(&server.get("app:a", "/read").expect(200), "size"), 7);
    // A crash of the daemon: adopted.
    let before = server.app("app:a");
    server.worker().kill();
    server.wait_observed("app:a", "running");
    assert_eq!(server.app("app:a"), before);
    // A crash of the app is told by its status.
    drop(server.try_get("app:a", "/exit?code=5"));
    let why = server.cli(&["why", "app:a"]).ok().stdout;
    assert!(why.contains("status 5"), "{why}");
}

#[test]
fn without_the_runner_its_wall_is_not_there() {
    let server = Server::start(&app("serve", "isolation = \"process\"", &["a"]));
    server.get("app:a", "/").expect(200);
    let own = fs::read_link("/proc/self/ns/ipc").unwrap();
    assert_eq!(space(&server, "ipc"), own.to_str().unwrap());
}

#[test]
fn walls_with_a_view_show_the_runner() {
    let script =
        "#!/bin/sh\nwhile [ \"$1\" != \"--\" ]; do shift; done\nshift\nexport RUN_BY=mine\nexec \"$@\"\n";
    let server = run_by(script, "namespace", "");
    server.get("app:a", "/").expect(200);
    let environ = fs::read(format!("/proc/{}/environ", server.app("app:a").pid)).unwrap();
    assert!(String::from_utf8_lossy(&environ).split('\0').any(|pair| pair == "RUN_BY=mine"));
    assert_ne!(space(&server, "net"), fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap());
}

#[test]
fn a_runner_that_is_not_there_is_told_by_its_path() {
    let config = format!(
        "{}\n[levels.external.mine]\nprogram = \"$ROOT/nowhere\"\nwalls = \"process\"\n",
        app("serve", "isolation = \"external:mine\"", &["a"])
    );
    let server = Server::start(&config);
    server.get("app:a", "/").expect(503);
    let why = server.cli(&["why", "app:a"]).ok().stdout;
    assert!(why.contains("/nowhere"), "{why}");
}
