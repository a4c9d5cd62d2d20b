//! What apps wrote: found, followed, kept no longer than asked.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use insula_tests::{Server, wait_until};

use crate::common::{app, services};

/// `insula` with these words, whose output is read line by line.
struct Following(Child, BufReader<ChildStdout>);

impl Following {
    fn start(server: &Server, words: &[&str]) -> Self {
        let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/debug/insula");
        let program = std::env::var_os("INSULA_BIN").unwrap_or_else(|| built.into());
        let mut command = Command::new(program);
        command.args(words).env("INSULA_HOME", server.place().home()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self(child, lines)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn written(server: &Server, words: &[&str], last: &str) -> Vec<String> {
    wait_until("the lines are stored", || {
        let text = server.cli(words).ok().stdout;
        text.contains(last).then(|| text.lines().map(str::to_owned).collect())
    })
}

#[test]
fn logs_of_all_instances_are_searched_and_narrowed() {
    let server = Server::start(&services(&[
        ("app", "serve", "", &["a", "b"] as &[_]),
        ("other", "serve", "", &["a"]),
    ]));
    for name in ["app:a", "app:b", "other:a"] {
        server.get(name, "/log?n=3").expect(200);
        written(&server, &["logs", name], "line 3");
    }
    let found = |words: &[&str]| -> Vec<String> {
        let mut found: Vec<_> = server.cli(words).ok().stdout.lines().map(str::to_owned).collect();
        found.sort();
        found
    };
    let all = ["app:a | line 2", "app:b | line 2", "other:a | line 2"];
    assert_eq!(found(&["logs", "--search", "\"line 2\""]), all);
    assert_eq!(found(&["logs", "app", "--search", "\"line 2\""]), all[..2]);
    assert_eq!(found(&["logs", "app:b", "--search", "lin* -1 -3"]), ["line 2"]);
    assert_eq!(found(&["logs", "app:a", "-n", "2", "--since", "1h"]), ["line 2", "line 3"]);
    assert_eq!(found(&["logs", "--until", "1h"]), [""; 0]);
    assert_eq!(found(&["logs", "--stream", "stderr", "--search", "line"]), [""; 0]);
    let json = server.cli(&["logs", "app:a", "-n", "1", "--json"]).ok().json();
    assert_eq!((&json["instance"], &json["text"]), (&"app:a".into(), &"line 3".into()));
}

#[test]
fn a_search_that_cannot_be_meant_fails_with_a_way_out() {
    let server = Server::start(&app("serve", "", &["a"]));
    let refused = server.cli(&["logs", "--search", "a \"b"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("byte 2") && refused.stderr.contains("hint:"), "{refused:?}");
    assert_eq!(server.cli(&["logs", "app:nobody"]).code, 3);
    assert_eq!(server.cli(&["logs", "nobody"]).code, 3);
    assert_eq!(server.cli(&["logs", "--since", "yesterday"]).code, 2);
    server.cli(&["logs", "--search", "a \"b\""]).ok();
}

#[test]
fn followed_lines_are_those_that_fit_and_survive_the_worker() {
    let server = Server::start(&app("serve", "", &["a", "b"]));
    for name in ["app:a", "app:b"] {
        server.get(name, "/log?n=1").expect(200);
        written(&server, &["logs", name], "line 1");
    }
    let mut follow = Following::start(&server, &["logs", "-f", "-n", "1", "app", "--search", "2 OR 4 OR 1"]);
    assert!(follow.line().ends_with("line 1"));
    server.get("app:a", "/log?n=3").expect(200);
    let seen = [follow.line(), follow.line()];
    assert_eq!(seen, ["app:a | line 2", "app:a | line 4"]);
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    server.get("app:b", "/log?n=1").expect(200);
    assert_eq!(follow.line(), "app:b | line 2");
}

#[test]
fn events_are_shown_and_followed() {
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/").expect(200);
    server.wait_observed("app:a", "running");
    let mut follow =
        Following::start(&server, &["events", "-f", "app:a", "--kind", "ready", "--kind", "stopped"]);
    assert!(follow.line().contains(" app:a ready: "));
    server.cli(&["stop", "app:a"]).ok();
    assert!(follow.line().contains(" app:a stopped: "));
    let unknown = server.cli(&["events", "--kind", "woke"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("woken"), "{unknown:?}");
}

#[test]
fn output_beyond_its_size_goes_and_the_newest_stays() {
    let config = format!("{}\n[logs]\nmax_size_per_instance = \"1M\"\n", app("serve", "", &["a"]));
    let server = Server::start(&config);
    server.get("app:a", "/log?n=20000").expect(200);
    // 1 MiB has room for 14,169 lines of this length.
    wait_until("the newest are there and the oldest are not", || {
        let kept = written(&server, &["logs", "app:a"], "line 20000");
        eprintln!("{} lines are kept, from {:?} on", kept.len(), kept.first());
        (kept.len() <= 14_200 && kept.last().unwrap() == "line 20000").then_some(())
    });
    assert_eq!(server.cli(&["logs", "app:a", "--search", "\"line 5\""]).ok().stdout, "", "the oldest went");
}
