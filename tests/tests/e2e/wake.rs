//! A request to a sleeping tenant is held until it is awake, and then answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use insula_tests::Server;

use crate::common::{app, at_once, number};

#[test]
fn a_first_request_wakes_a_sleeping_tenant() {
    let server = Server::start(&app("serve", "idle_timeout = \"200ms\"", &["a"]));
    server.wait_observed("app:a", "asleep");
    assert!(server.inspect("app:a")["processes"].is_null(), "a sleeping tenant has no process");
    let before = server.inspect("app:a")["wakes"].as_i64().unwrap();
    let reply = server.get("app:a", "/").expect(200);
    assert_eq!(number(&reply, "counter"), 1);
    assert_eq!(server.inspect("app:a")["wakes"].as_i64().unwrap(), before + 1);
}

#[test]
fn a_tenant_that_nobody_declared_is_not_woken() {
    let server = Server::start(&app("serve", "", &["a"]));
    let reply = server.get("app:stranger", "/").expect(404);
    assert!(!reply.text().contains("home"), "the answer tells about the host: {}", reply.text());
    server.get("app:a", "/").expect(200);
    assert_eq!(server.cli(&["inspect", "app:stranger"]).code, 3);
}

#[test]
fn five_hundred_first_requests_make_one_spawn() {
    let server = Arc::new(Server::start(&app("slow 300", "idle_timeout = \"300ms\"", &["a"])));
    server.wait_observed("app:a", "asleep");
    let before = server.inspect("app:a")["wakes"].as_i64().unwrap();
    let replies = at_once(&server, 500, "app:a", "/");
    let started: BTreeSet<String> = replies.iter().map(|r| r.json()["started"].to_string()).collect();
    let counters: BTreeSet<i64> = replies.iter().map(|r| number(r, "counter")).collect();
    assert!(replies.iter().all(|r| r.status == 200));
    assert_eq!(started.len(), 1, "more than one process answered: {started:?}");
    assert_eq!(counters, (1..=500).collect(), "each request reached the app exactly once");
    assert_eq!(server.inspect("app:a")["wakes"].as_i64().unwrap(), before + 1);
}

#[test]
fn every_waiter_of_a_failed_wake_is_answered() {
    let keys = "startup_timeout = \"1s\"\nrestart = \"never\"";
    let server = Arc::new(Server::start(&app("never-listen", keys, &["a"])));
    for reply in at_once(&server, 50, "app:a", "/") {
        assert_eq!(reply.status, 503, "{}", reply.text());
        let after: u64 = reply.header("retry-after").expect("Retry-After").parse().expect("seconds");
        assert!(after >= 1);
    }
    server.wait_observed("app:a", "failed");
    let why = server.cli(&["why", "app:a"]).ok().stdout;
    assert!(why.contains("startup_timeout"), "`why` does not name the cause: {why}");
    assert!(why.contains("warming up, forever"), "`why` does not show the last lines: {why}");
}

#[test]
fn more_waiters_than_the_hold_queue_are_sent_away_and_the_rest_served() {
    let keys = "idle_timeout = \"300ms\"\nhold_queue = 10";
    let server = Arc::new(Server::start(&app("slow 1000", keys, &["a"])));
    server.wait_observed("app:a", "asleep");
    let replies = at_once(&server, 60, "app:a", "/");
    let served = replies.iter().filter(|r| r.status == 200).count();
    let refused: Vec<_> = replies.iter().filter(|r| r.status == 503).collect();
    assert!(served >= 10, "only {served} were served");
    assert_eq!(served + refused.len(), 60);
    assert!(!refused.is_empty(), "nobody was sent away, so the bound was not reached");
    assert!(refused.iter().all(|r| r.header("retry-after").is_some()));
}

#[test]
fn an_app_may_listen_on_its_unix_socket_instead() {
    let config = app("serve", "idle_timeout = \"300ms\"", &["a"]);
    let config = config.replace("[service.app.env]", "[service.app.env]\nLISTEN = \"socket\"");
    let server = Server::start(&config);
    server.wait_observed("app:a", "asleep");
    assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), 1);
    assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), 2);
}

#[test]
fn a_stopped_tenant_is_not_woken_until_it_is_spawned() {
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/").expect(200);
    server.cli(&["stop", "app:a"]).ok();
    server.wait_observed("app:a", "stopped");
    server.get("app:a", "/").expect(503);
    assert_eq!(server.observed("app:a"), "stopped");
    server.cli(&["spawn", "app:a"]).ok();
    server.get("app:a", "/").expect(200);
}
