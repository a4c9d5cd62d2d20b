//! Idle tenants sleep; nothing of theirs is lost; nothing that is open lets them sleep.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use insula_tests::{Request, Server, WebSocket, free_port, skip, system_program, wait_until};

use crate::common::{app, number, services};

#[test]
fn an_idle_tenant_sleeps_and_keeps_its_data() {
    let server = Server::start(&app("serve", "idle_timeout = \"300ms\"", &["a", "b"]));
    assert_eq!(number(&server.get("app:a", "/write?n=7").expect(200), "size"), 7);
    let process = server.app("app:a");
    server.wait_observed("app:a", "asleep");
    assert!(!process.alive(), "{process:?} still runs");
    assert_eq!(number(&server.get("app:a", "/read").expect(200), "size"), 7);
    assert_eq!(
        number(&server.get("app:b", "/read").expect(200), "size"),
        0,
        "data of another tenant was seen"
    );
}

#[test]
fn without_an_idle_timeout_nothing_sleeps() {
    let sleepy = ("sleepy", "serve", "idle_timeout = \"200ms\"", &["a"][..]);
    let server = Server::start(&services(&[("app", "serve", "", &["a"]), sleepy]));
    server.get("app:a", "/").expect(200);
    server.wait_observed("sleepy:a", "asleep");
    assert_eq!(server.observed("app:a"), "running");
}

#[test]
fn requests_at_the_idle_limit_all_succeed() {
    let server = Server::start(&app("serve", "idle_timeout = \"100ms\"", &["a"]));
    server.get("app:a", "/").expect(200);
    let before = server.inspect("app:a")["wakes"].as_i64().unwrap();
    for round in 0..60u64 {
        // From a little before the limit to a little after it.
        std::thread::park_timeout(Duration::from_millis(80 + round % 40));
        server.get("app:a", "/").expect(200);
    }
    let wakes = server.inspect("app:a")["wakes"].as_i64().unwrap() - before;
    assert!(wakes > 0, "it never slept, so the limit was not met");
}

#[test]
fn an_open_websocket_keeps_it_awake() {
    if system_program("node").is_none() {
        skip!("node is not in the system directories");
    }
    let config = "[service.chat]\ncommand = \"node $APPS/chat.js\"\nidle_timeout = \"300ms\"\n\
                  [instances]\nchat = [\"open\", \"closed\"]\n";
    let server = Server::start(config);
    let mut socket = WebSocket::connect(server.address(), &server.host("chat:open"), "/").unwrap();
    let process = server.app("chat:open");
    for round in 0..3 {
        server.get("chat:closed", "/").expect(200);
        server.wait_observed("chat:closed", "asleep");
        socket.say(&format!("round {round}")).unwrap();
        assert_eq!(socket.hear().unwrap(), format!("round {round}"));
    }
    assert!(process.alive(), "it was restarted under an open connection");
    socket.close().unwrap();
    server.wait_observed("chat:open", "asleep");
}

#[test]
fn a_websocket_wakes_a_sleeping_tenant() {
    if system_program("node").is_none() {
        skip!("node is not in the system directories");
    }
    let config = "[service.chat]\ncommand = \"node $APPS/chat.js\"\nidle_timeout = \"200ms\"\n\
                  [instances]\nchat = [\"a\"]\n";
    let server = Server::start(config);
    server.wait_observed("chat:a", "asleep");
    let mut socket = WebSocket::connect(server.address(), &server.host("chat:a"), "/").unwrap();
    socket.say("awake?").unwrap();
    assert_eq!(socket.hear().unwrap(), "awake?");
    socket.close().unwrap();
}

#[test]
fn idle_begins_after_the_last_byte_of_a_stream() {
    let server = Server::start(&app("serve", "idle_timeout = \"200ms\"", &["a"]));
    server.get("app:a", "/").expect(200);
    let process = server.app("app:a");
    // Ten pauses, each longer than the idle time.
    let reply = server.get("app:a", "/stream?n=10&ms=300").expect(200);
    assert_eq!(reply.text().matches("data: ").count(), 10);
    assert!(reply.text().ends_with("data: 10\n\n"), "{}", reply.text());
    assert_eq!(server.inspect("app:a")["restarts"], 0);
    server.wait_observed("app:a", "asleep");
    assert!(!process.alive());
}

#[test]
fn a_slow_answer_is_not_cut_off_by_sleep() {
    let server = Server::start(&app("serve", "idle_timeout = \"100ms\"", &["a"]));
    let reply = server.get("app:a", "/slow?ms=1000").expect(200);
    assert_eq!(reply.json()["slept"], true);
}

#[test]
fn a_raw_tcp_connection_wakes_a_tenant_and_keeps_it_awake() {
    let port = free_port();
    let keys = format!("idle_timeout = \"300ms\"\n[service.app.listen_tcp]\na = {port}\n");
    let server = Server::start(&app("serve", &keys, &["a", "b"]));
    server.wait_observed("app:a", "asleep");
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut stream = BufReader::new(stream);
    for round in 1..=3 {
        server.get("app:b", "/").expect(200);
        server.wait_observed("app:b", "asleep");
        stream.get_mut().write_all(&Request::get("anything", "/").bytes()).unwrap();
        let reply = insula_tests::read_reply(&mut stream, "GET").unwrap();
        assert_eq!(number(&reply, "counter"), round, "it was restarted under an open connection");
    }
    drop(stream);
    server.wait_observed("app:a", "asleep");
}

#[test]
fn redis_wakes_for_redis_cli_and_keeps_its_data() {
    let (Some(_), Some(cli)) = (system_program("redis-server"), system_program("redis-cli")) else {
        skip!("redis-server and redis-cli are not installed");
    };
    let (alice, bob) = (free_port(), free_port());
    let command = "redis-server --port {port} --dir {data_dir}/{id} --appendonly yes --save ''";
    let server = Server::start(&format!(
        "[service.cache]\ncommand = \"{command}\"\nidle_timeout = \"300ms\"\n\
         [service.cache.listen_tcp]\nalice = {alice}\nbob = {bob}\n[instances]\ncache = [\"alice\", \"bob\"]\n"
    ));
    let ask = |port: u16, words: &[&str]| {
        // Redis accepts connections while it still reads its file, and says so.
        wait_until("Redis has read its file", || {
            let output = Command::new(&cli).args(["-p", &port.to_string()]).args(words).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            (!said.starts_with("LOADING")).then_some(said)
        })
    };
    server.wait_observed("cache:alice", "asleep");
    assert_eq!(ask(alice, &["set", "colour", "blue"]), "OK");
    server.wait_observed("cache:alice", "asleep");
    assert_eq!(ask(alice, &["get", "colour"]), "blue");
    assert_eq!(ask(bob, &["get", "colour"]), "", "one tenant saw the data of another");
}

#[test]
fn a_frozen_tenant_goes_on_where_it_was() {
    let keys = "idle_timeout = \"300ms\"\nsleep = \"freeze\"";
    let server = Server::start(&app("serve", keys, &["a"]));
    assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), 1);
    let process = server.app("app:a");
    for round in 2..=4 {
        server.wait_observed("app:a", "frozen");
        assert!(process.alive());
        assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), round);
    }
    assert_eq!(server.app("app:a"), process);
}

#[test]
fn a_frozen_tenant_can_be_stopped() {
    let keys = "idle_timeout = \"200ms\"\nsleep = \"freeze\"";
    let server = Server::start(&app("serve", keys, &["a"]));
    server.get("app:a", "/").expect(200);
    let process = server.app("app:a");
    server.wait_observed("app:a", "frozen");
    server.cli(&["stop", "app:a"]).ok();
    server.wait_observed("app:a", "stopped");
    assert!(!process.alive());
}

#[test]
fn health_checks_do_not_keep_it_awake() {
    let keys = "idle_timeout = \"500ms\"\nhealth = { path = \"/health\", interval = \"100ms\" }";
    let server = Server::start(&app("serve", keys, &["a"]));
    server.get("app:a", "/").expect(200);
    wait_until("a health check was answered", || {
        let detail = server.inspect("app:a");
        let asleep = detail["status"]["observed"] == "asleep";
        (asleep || detail["status"]["health"] == "healthy").then_some(())
    });
    server.wait_observed("app:a", "asleep");
}

#[test]
fn a_line_printed_before_sleep_is_kept() {
    let server = Server::start(&app("serve", "idle_timeout = \"200ms\"", &["a"]));
    server.get("app:a", "/log?n=20").expect(200);
    server.wait_observed("app:a", "asleep");
    let logs = server.cli(&["logs", "app:a"]).ok().stdout;
    let lines = logs.lines().filter(|l| l.contains("line ")).count();
    assert_eq!(lines, 20, "{logs}");
}
