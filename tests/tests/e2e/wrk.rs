//! Planned restarts as a load generator by others counts them: wrk (<https://github.com/wg/wrk>).

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use insula_tests::{Server, WebSocket, skip, system_program, wait_until};

use crate::common::services;

/// wrk at work, with connections that it keeps.
struct Wrk(Child);

impl Wrk {
    fn begin(program: &PathBuf, server: &Server, seconds: u32) -> Self {
        let mut wrk = Command::new(program);
        wrk.args(["-t1", "-c32", "--timeout", "30s", &format!("-d{seconds}s")]);
        wrk.args(["-H", &format!("Host: {}", server.host("app:a"))]);
        let wrk = wrk.arg(format!("http://{}/", server.address())).stdout(Stdio::piped());
        Self(wrk.spawn().unwrap())
    }

    /// What it says in the end: how many were answered, and the lines about failures.
    fn end(mut self) -> (u64, Vec<String>) {
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(self.0.wait().unwrap().success(), "{text}");
        let answered = text.lines().find_map(|line| line.trim().split_once(" requests in "));
        let answered = answered.unwrap_or_else(|| panic!("{text}")).0.parse().unwrap();
        let bad = |line: &&str| line.contains("Socket errors") || line.contains("Non-2xx");
        (answered, text.lines().filter(bad).map(|line| line.trim().to_owned()).collect())
    }
}

/// Requests that the app has answered so far.
fn answered(server: &Server) -> u64 {
    let text = server.cli(&["metrics"]).ok().stdout;
    let lines = BufReader::new(text.as_bytes()).lines().map(Result::unwrap);
    let of_app =
        |line: &String| line.starts_with("insula_requests_total{") && line.contains("service=\"app\"");
    lines.filter(of_app).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn server() -> Server {
    let chat = "[service.chat]\ncommand = \"node $APPS/chat.js\"\nidle_timeout = \"300ms\"\n";
    Server::start(&format!(
        "{chat}{}chat = [\"open\", \"closed\"]\n",
        services(&[("app", "serve", "", &["a"])])
    ))
}

#[test]
fn planned_restarts_fail_no_request_of_wrk_and_no_websocket() {
    let Some(wrk) = system_program("wrk") else { skip!("wrk is not installed") };
    if system_program("node").is_none() {
        skip!("node is not installed");
    }
    let server = server();
    server.get("app:a", "/").expect(200);
    let mut socket = WebSocket::connect(server.address(), &server.host("chat:open"), "/").unwrap();
    let chat = server.app("chat:open");
    let load = Wrk::begin(&wrk, &server, 8);
    for _ in 0..3 {
        let before = answered(&server);
        wait_until("wrk is answered", || (answered(&server) > before + 100).then_some(()));
        server.take_over().ok();
    }
    // The witness that the idle time has passed.
    server.get("chat:closed", "/").expect(200);
    server.wait_observed("chat:closed", "asleep");
    let (requests, failures) = load.end();
    assert!(failures.is_empty() && requests > 300, "{requests}: {failures:?}\n{}", server.said());
    socket.say("still here").unwrap();
    assert_eq!(socket.hear().unwrap(), "still here");
    assert_eq!(server.app("chat:open"), chat);
}

#[test]
fn an_unplanned_restart_does_fail_requests_of_wrk() {
    // The control of the claim above.
    let Some(wrk) = system_program("wrk") else { skip!("wrk is not installed") };
    let server = server();
    server.get("app:a", "/").expect(200);
    let load = Wrk::begin(&wrk, &server, 3);
    let before = answered(&server);
    wait_until("wrk is answered", || (answered(&server) > before + 100).then_some(()));
    server.worker().kill();
    let (_, failures) = load.end();
    assert!(failures.iter().any(|line| line.contains("Socket errors")), "{failures:?}");
}
