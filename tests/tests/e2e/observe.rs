//! What an operator can see: five failures by name, single requests, the access log, metrics, JSON logs.

use std::io::Write;
use std::process::{Command, Stdio};

use insula_tests::{Reply, Request, Server, cgroups_writable, skip, system_program, wait_until};

use crate::common::{app, services};

/// The id that an answer carried.
pub(crate) fn id(reply: &Reply) -> String {
    reply.header("insula-request-id").unwrap_or_else(|| panic!("no id in {:?}", reply.headers)).to_owned()
}

/// Asks for `path`, expects this status, and then that both ways to ask why name all these words.
#[track_caller]
fn named(server: &Server, instance: &str, path: &str, status: u16, words: &[&str]) {
    let request = id(&server.get(instance, path).expect(status));
    for what in [instance, &request] {
        let mut text = String::new();
        wait_until(&format!("`why {what}` names {words:?}"), || {
            text = server.cli(&["why", what]).ok().stdout;
            words.iter().all(|word| text.contains(word)).then_some(())
        });
        assert!(text.lines().last().unwrap().starts_with("hint: "), "{text}");
    }
    let json = server.cli(&["why", &request, "--json"]).ok().json();
    assert_eq!(json["request"]["status"], status, "{json}");
    assert!(!json["remediation"].as_str().unwrap().is_empty() && json["code"] != "answered", "{json}");
}

/// Makes the instance known by a start that fails.
#[track_caller]
fn fails_to_start(server: &Server, instance: &str) {
    let answer = server.cli(&["spawn", instance]);
    assert_ne!(answer.code, 0, "`{instance}` started: {answer:?}");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let server = Server::start("[service.app]\ncommand = \"no-such-program --flag\"\n");
    fails_to_start(&server, "app:a");
    named(&server, "app:a", "/", 503, &["no-such-program", "not found", "install"]);
}

#[test]
fn a_program_that_ends_at_once_is_told_with_its_status_and_last_words() {
    let server = Server::start(&app("crash-loop", "restart = \"never\"", &[]));
    fails_to_start(&server, "app:a");
    named(
        &server,
        "app:a",
        "/",
        503,
        &["exited with status 3", "cannot open the frobnicator", "insula logs app:a"],
    );
}

#[test]
fn a_program_that_never_listens_is_told_with_the_time_it_had() {
    let server = Server::start(&app("never-listen", "startup_timeout = \"300ms\"\nrestart = \"never\"", &[]));
    fails_to_start(&server, "app:a");
    let words = ["`startup_timeout` 300 ms", "warming up, forever", "`PORT`"];
    named(&server, "app:a", "/", 503, &words);
}

#[test]
fn a_request_that_is_not_answered_in_time_is_told_with_the_time_it_had() {
    let server = Server::start(&app("serve", "request_timeout = \"2s\"", &["a"]));
    server.get("app:a", "/").expect(200);
    let words = ["did not answer within `request_timeout` 2 s", "raise `request_timeout`"];
    named(&server, "app:a", "/slow?ms=60000", 504, &words);
}

#[test]
fn a_program_that_ends_with_a_request_in_hand_is_told_with_its_status() {
    let server = Server::start(&app("serve", "restart = \"never\"", &["a"]));
    server.get("app:a", "/").expect(200);
    let reply = server.post("app:a", "/", "warm").expect(200);
    let found = server.cli(&["why", &id(&reply), "--json"]).ok().json();
    assert_eq!(
        (found["known"].as_str(), found["code"].as_str()),
        (Some("held"), Some("answered")),
        "{found}"
    );
    named(&server, "app:a", "/exit?code=7", 503, &["exited with status 7", "insula restart app:a"]);
}

#[test]
fn a_program_killed_for_its_memory_is_named() {
    if !cgroups_writable() {
        skip!("no memory limit can be set without a writable control group");
    }
    let keys = "memory_limit_mb = 64\nrestart = \"never\"";
    let server = Server::start(&app("serve", keys, &["a"]));
    server.get("app:a", "/").expect(200);
    let reply = server.try_get("app:a", "/eat?mb=128").unwrap();
    let request = id(&reply);
    for what in ["app:a", &request] {
        wait_until(&format!("`why {what}` names the memory"), || {
            let text = server.cli(&["why", what]).ok().stdout;
            let words = ["passing its memory limit of 64 MiB (oom)", "raise `memory`"];
            words.iter().all(|word| text.contains(word)).then_some(())
        });
    }
}

#[test]
fn an_id_that_was_never_given_is_told_as_such() {
    let server = Server::start(&app("serve", "", &["a"]));
    let known = id(&server.get("app:a", "/health").expect(200));
    let other = if known.starts_with('0') { "1" } else { "0" }.to_owned() + &known[1..];
    let never = server.cli(&["why", &other]);
    assert_eq!(never.code, 3, "{never:?}");
    assert!(never.stdout.contains("never gave this id") && never.stdout.contains("hint:"), "{never:?}");
    assert_eq!(server.cli(&["why", "0123"]).code, 2);
    let worker = server.worker();
    let before = id(&server.get("app:a", "/health").expect(200));
    worker.kill();
    server.wait_worker_after(&worker);
    let gone = server.cli(&["why", &before]);
    assert!(gone.code == 3 && gone.stdout.contains("one of worker 1 of this home"), "{gone:?}");
}

#[test]
fn records_outlive_the_worker() {
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/health").expect(200);
    let missing = id(&server.get("app:nobody", "/x").expect(404));
    wait_until("it is recorded", || {
        let why = server.cli(&["why", &missing, "--json"]).ok().json();
        (why["known"] == "recorded").then_some(())
    });
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    let why = server.cli(&["why", &missing]).ok().stdout;
    assert!(why.contains("GET /x to app:nobody") && why.contains("unknown_instance"), "{why}");
}

/// The lines of the access log once there are so many.
fn access_log(server: &Server, name: &str, count: usize) -> Vec<String> {
    let path = server.place().path().join(name);
    wait_until(&format!("{count} lines are in {}", path.display()), || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn every_request_has_its_line_without_its_secrets() {
    let server = Server::start(&app("serve", "", &["a"]));
    let ids: Vec<_> = (0..10).map(|_| id(&server.get("app:a", "/about?token=s3cret").expect(200))).collect();
    let lines = access_log(&server, "home/logs/access.log", 10);
    for id in &ids {
        let line = lines.iter().find(|line| line.contains(id.as_str()));
        let line = line.unwrap_or_else(|| panic!("no line of {id} in {lines:#?}"));
        assert!(
            line.starts_with("127.0.0.1 - - [") && line.contains("\"GET /about HTTP/1.1\" 200 "),
            "{line}"
        );
        assert!(line.contains(" app:a "), "{line}");
    }
    assert!(!lines.iter().any(|line| line.contains("s3cret")));
    // Rotation programs move the file; the next line makes a new one.
    let log = server.place().home().join("logs/access.log");
    std::fs::rename(&log, log.with_extension("moved")).unwrap();
    server.get("app:a", "/about").expect(200);
    assert_eq!(access_log(&server, "home/logs/access.log", 1).len(), 1);
}

#[test]
fn lines_and_the_daemons_own_log_can_be_json() {
    let keys = "[observability]\naccess_log = \"$ROOT/seen.log\"\naccess_log_format = \"json\"\n\
                access_log_query = true\nlog_format = \"json\"\nlog_level = \"debug\"\n";
    let server = Server::start(&(keys.to_owned() + &app("serve", "", &["a"])));
    let request = id(&server.get("app:a", "/about?a=b").expect(200));
    let line = access_log(&server, "seen.log", 1).remove(0);
    let json: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
    assert_eq!(json["request"], request.as_str());
    assert_eq!((&json["target"], &json["instance"]), (&"/about?a=b".into(), &"app:a".into()));
    let missing = id(&server.get("app:nobody", "/").expect(404));
    wait_until("the daemon tells of the request", || {
        let said = server.said();
        let told = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let told: Vec<_> = told.filter(|line| line["level"].is_string()).collect();
        told.iter()
            .any(|line| line["request"] == missing.as_str() && line["timestamp"].is_string())
            .then_some(())
    });
}

/// A server that has seen most of what is counted.
fn busy() -> Server {
    let keys = "[observability]\ninstance_metrics = true\n";
    let broken = ("broken", "exit 3", "restart = \"never\"", &[][..]);
    let sleepy = ("sleepy", "serve", "idle_timeout = \"100ms\"", &["b"][..]);
    let server =
        Server::start(&(keys.to_owned() + &services(&[("app", "serve", "", &["a"]), broken, sleepy])));
    for _ in 0..3 {
        server.get("app:a", "/log?n=2").expect(200);
    }
    fails_to_start(&server, "broken:x");
    server.get("broken:x", "/").expect(503);
    server.wait_observed("sleepy:b", "asleep");
    server.get("sleepy:b", "/health").expect(200);
    server.get("app:nobody", "/").expect(404);
    server.get("unheard:of", "/").expect(404);
    server
}

/// The value of a sample.
fn sample(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn metrics_count_what_happened() {
    let server = busy();
    wait_until("everything is counted", || {
        let page = server.cli(&["metrics"]).ok().stdout;
        let at_least = |name: &str, least: f64| sample(&page, name).is_some_and(|value| value >= least);
        let counted = at_least("insula_requests_total{service=\"app\",status=\"2xx\"}", 3.0)
            && at_least("insula_requests_total{service=\"broken\",status=\"5xx\"}", 1.0)
            && at_least("insula_request_errors_total{service=\"broken\",code=\"failed\"}", 1.0)
            && at_least("insula_request_errors_total{service=\"_other\",code=\"unknown_service\"}", 1.0)
            && at_least("insula_instance_exits_total{service=\"broken\",reason=\"error\"}", 1.0)
            && at_least("insula_instance_starts_total{service=\"sleepy\",cause=\"wake\"}", 1.0)
            && at_least("insula_request_wait_seconds_count{service=\"sleepy\"}", 1.0)
            && at_least("insula_log_lines_total{service=\"app\"}", 6.0)
            && at_least("insula_instance_up{service=\"app\",id=\"a\"}", 1.0);
        counted.then_some(())
    });
    let page = server.cli(&["metrics"]).ok().stdout;
    assert!(!page.contains("unheard"), "a made-up name became a label");
}

#[test]
fn promtool_accepts_the_page_of_metrics() {
    if system_program("promtool").is_none() {
        skip!("there is no promtool; scripts/setup installs it");
    }
    let server = busy();
    let page = server.cli(&["metrics"]).ok().stdout;
    let checked = check(&page);
    assert!(checked.0, "promtool complains:\n{}\nabout\n{page}", checked.1);
    let broken = page.replace("# TYPE insula_requests_total counter", "# TYPE insula_requests_total gauge");
    assert!(!check(&broken).0, "promtool accepts a gauge that is called a total");
}

/// Whether promtool accepts a page, and what it says.
fn check(page: &str) -> (bool, String) {
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    (output.status.success(), said)
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_that_names_it() {
    let place = insula_tests::Place::new();
    let text = format!("[observability]\naccess_log = \"$ROOT/none/access.log\"\n{}", app("serve", "", &[]));
    let config = place.configure(&text);
    let answer = insula_tests::Answer::of(&place.home(), &["serve", "--config", config.to_str().unwrap()]);
    assert_ne!(answer.code, 0);
    assert!(answer.stderr.contains("none/access.log") && answer.stderr.contains("access_log"), "{answer:?}");
}

#[test]
fn metrics_are_for_whom_the_configuration_says() {
    for (metrics, status) in [("public", 200), ("token", 401), ("off", 404)] {
        let keys = format!("[observability]\nmetrics = \"{metrics}\"\n");
        let server = Server::start(&(keys + &app("serve", "", &[])));
        let host = format!("localhost:{}", server.address().port());
        let reply = Request::get(&host, "/metrics").send(server.address()).unwrap().expect(status);
        assert_eq!(reply.text().contains("insula_build_info"), status == 200, "{}", reply.text());
        assert!(server.cli(&["metrics"]).ok().stdout.contains("insula_build_info"), "the owner is refused");
    }
}
