//! What is remembered of requests, for how long, and how it is listed.

use std::io::{BufReader, Write};

use insula_tests::{Request, Server, read_reply, wait_until};

use crate::common::{app, services};
use crate::observe::id;

/// Requests that a worker remembers at least, and those of one round.
const RING: usize = 65_536;
const AT_ONCE: usize = 256;

/// Asks for something that is not there, over one kept connection, so many times; many are under way at once.
fn flood(server: &Server, count: usize) {
    let mut stream = server.connect();
    let one = Request::get(&server.host("app:nobody"), "/").header("Connection", "keep-alive").bytes();
    let batch = one.repeat(AT_ONCE);
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..count.div_ceil(AT_ONCE) {
        stream.write_all(&batch).unwrap();
        for _ in 0..AT_ONCE {
            assert_eq!(read_reply(&mut answers, "GET").unwrap().status, 404);
        }
    }
}

#[test]
fn a_request_is_told_until_as_many_others_came_after_it_and_then_that_it_has_aged_out() {
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/").expect(200);
    let request = id(&server.get("app:a", "/about").expect(200));
    let known = |id: &str| {
        let answer = server.cli(&["why", id, "--json"]);
        (answer.code, answer.json()["known"].as_str().unwrap().to_owned())
    };
    assert_eq!(known(&request), (0, "held".to_owned()));
    // Fewer than the ring holds: nothing of them is forgotten.
    flood(&server, RING / 2);
    assert_eq!(known(&request), (0, "held".to_owned()), "it was forgotten too early");
    // A thread that is asked no more keeps what it has not handed on yet, so there may be need for more than one round.
    let aged = (0..4).any(|_| {
        flood(&server, RING);
        known(&request) == (3, "aged_out".to_owned())
    });
    assert!(aged, "it is {:?} after 4 times as many others as the ring holds", known(&request));
    let why = server.cli(&["why", &request]);
    assert_eq!(why.code, 3, "{why:?}");
    for words in [
        "has forgotten it since",
        "it holds the last",
        "the oldest from 20",
        "hint: look for the id in the access log",
    ] {
        assert!(why.stdout.contains(words), "`{words}` is not in {}", why.stdout);
    }
    // That the access log has it is true.
    let logs = std::fs::read_dir(server.place().home().join("logs")).unwrap();
    let mut logs = logs.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    assert!(logs.any(|text| text.contains(&request)), "no line of {request}");
    // Another id of the same form was never given, and a late one is still held.
    let other = if request.starts_with('0') { "1" } else { "0" }.to_owned() + &request[1..];
    assert_eq!(known(&other), (3, "never_given".to_owned()));
    let late = id(&server.get("app:a", "/about").expect(200));
    assert_eq!(known(&late), (0, "held".to_owned()));
}

#[test]
fn slow_is_what_the_configuration_says_and_remembered_requests_are_listed() {
    let keys = "[observability]\nslow_request = \"200ms\"\n";
    let both = services(&[("app", "serve", "", &["a"]), ("other", "serve", "", &["b"])]);
    let server = Server::start(&(keys.to_owned() + &both));
    server.get("app:a", "/health").expect(200);
    server.get("other:b", "/health").expect(200);
    let quick = id(&server.get("app:a", "/about").expect(200));
    let slow = id(&server.get("app:a", "/slow?ms=300").expect(200));
    let missing = id(&server.get("other:nobody", "/x").expect(404));
    let listed = |more: &[&str]| {
        let found = server.cli(&[&["requests", "--json"], more].concat()).ok().json();
        found["requests"].as_array().unwrap().clone()
    };
    let has = |list: &[serde_json::Value], id: &str| list.iter().any(|request| request["id"] == id);
    let all = wait_until("they are remembered", || {
        let all = listed(&[]);
        (has(&all, &slow) && has(&all, &missing)).then_some(all)
    });
    assert!(!has(&all, &quick), "one that was quick is remembered");
    assert_eq!(all[0]["id"], missing.as_str(), "the newest is not the first: {all:?}");
    let found = all.iter().find(|request| request["id"] == slow.as_str()).unwrap();
    assert_eq!((&found["path"], &found["status"]), (&"/slow".into(), &200.into()), "{found}");
    assert!(found["total_us"].as_u64() >= Some(300_000), "{found}");
    // Narrowed to an instance, a service, a time, a number.
    let of = |more: &[&str]| (has(&listed(more), &slow), has(&listed(more), &missing));
    assert_eq!(of(&["app"]), (true, false));
    assert_eq!(of(&["app:a"]), (true, false));
    assert_eq!(of(&["other:nobody"]), (false, true));
    assert_eq!(of(&["--since", "1h"]), (true, true));
    assert_eq!(of(&["--since", "2999-01-01T00:00:00Z"]), (false, false));
    assert_eq!(listed(&["-n", "1"]).len(), 1);
    let table = server.cli(&["requests", "app"]).ok().stdout;
    assert!(table.lines().any(|line| line.starts_with(&slow) && line.contains("GET /slow")), "{table}");
    let none = server.cli(&["requests", "app:unheard-of"]).ok();
    assert!(none.stdout.is_empty() && none.stderr.contains("there are none"), "{none:?}");
    // Why it is there; a second is what it would take without the key.
    let why = server.cli(&["why", &slow]).ok().stdout;
    assert!(why.contains("longer than `slow_request` 200 ms"), "{why}");
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/health").expect(200);
    let same = id(&server.get("app:a", "/slow?ms=300").expect(200));
    assert_eq!(server.cli(&["why", &same, "--json"]).ok().json()["code"], "answered");
}
