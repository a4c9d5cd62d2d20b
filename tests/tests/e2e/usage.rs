//! What a tenant is told to have used.

use insula_tests::{Options, Server, wait_until};
use serde_json::Value;

use crate::common::app;

/// `insula usage`, what it tells of requests.
fn requests(server: &Server, of: &str) -> u64 {
    let all = server.cli(&["usage", of, "--json"]).ok().json();
    let tenants = all["tenants"].as_array().unwrap();
    tenants.iter().find(|tenant| tenant["name"] == of).and_then(|t| t["requests"].as_u64()).unwrap()
}

fn ask(server: &Server, instance: &str, times: usize) {
    for _ in 0..times {
        server.get(instance, "/health").expect(200);
    }
}

#[test]
fn requests_are_counted_for_each_tenant_and_kept() {
    let mut server = Server::start(&app("serve", "idle_timeout = \"500ms\"", &["a", "b"]));
    ask(&server, "app:a", 5);
    ask(&server, "app:b", 2);
    assert_eq!((requests(&server, "app:a"), requests(&server, "app:b")), (5, 2));
    let text = server.cli(&["usage", "app:a"]).ok().stdout;
    assert!(text.lines().next().unwrap().ends_with("REQUESTS"), "{text}");
    // A request that wakes is one, too.
    server.wait_observed("app:a", "asleep");
    ask(&server, "app:a", 1);
    assert_eq!(requests(&server, "app:a"), 6, "after sleep and wake");
    server.wait_observed("app:a", "asleep");
    server.wait_observed("app:b", "asleep");
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    assert_eq!(
        (requests(&server, "app:a"), requests(&server, "app:b")),
        (6, 2),
        "after kill -9 of the worker"
    );
    server.terminate();
    server.start_again();
    assert_eq!(requests(&server, "app:a"), 6, "after a restart");
}

#[test]
fn requests_of_an_instance_that_never_sleeps_outlive_a_planned_restart() {
    let server = Server::start(&app("serve", "", &["a"]));
    ask(&server, "app:a", 7);
    server.take_over().ok();
    assert_eq!(requests(&server, "app:a"), 7);
    ask(&server, "app:a", 1);
    assert_eq!(requests(&server, "app:a"), 8, "the next worker goes on");
}

#[test]
fn a_full_disk_is_named_as_what_a_program_ended_for() {
    let keys = "disk_limit = \"32MiB\"\ndisk_limit_mode = \"hard\"\nrestart = \"never\"";
    if let Err(why) = insula_isolation::DiskProbe::of(&std::env::temp_dir()).image {
        insula_tests::skip!("{why}");
    }
    let place = insula_tests::Place::new();
    let server = Server::with(place, &app("serve", keys, &["a", "b"]), &Options::default());
    let filled: Value = server.get("app:a", "/fill?mb=64").expect(200).json();
    assert_eq!(filled["error"], "No space left on device", "{filled}");
    for instance in ["app:a", "app:b"] {
        server.try_get(instance, "/exit?code=5").unwrap();
    }
    let why = |instance: &str| server.cli(&["why", instance, "--json"]).ok().json();
    let found = wait_until("the full disk is named", || {
        let found = why("app:a");
        (found["code"] == "disk_full").then_some(found)
    });
    let cause = found["cause"].as_str().unwrap();
    assert!(cause.contains("exited with status 5") && cause.contains("(hard (image))"), "{found}");
    assert!(found["remediation"].as_str().unwrap().contains("`disk_limit`"), "{found}");
    assert_eq!(why("app:b")["code"], "crashed", "the control, which had room");
}
