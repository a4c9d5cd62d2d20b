//! Versions are deployed, weighed, swapped and put away, and no request notices.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use insula_tests::{Reply, Request, Server, read_reply, wait_until};

/// A program of which each version is a script of its own: `v1` and `v2` serve, `bad` and others do not.
const API: &str = "[service.api]\ncommand = \"python3 $APPS/{id}.py {id}\"\nworkdir = \"$APPS\"\n\
                   versions = true\nhealth = { path = \"/health\", interval = \"100ms\" }\n";

const SERVE: &str = r#"
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer is one write: one that has begun cannot be asked for again
    def log_message(self, *_): pass
    def do_GET(self):
        ill = self.path == "/health" and os.environ.get("ILL") or "ill" in sys.argv[1]
        body = sys.argv[1].encode()
        self.send_response(500 if ill else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
class Server(ThreadingHTTPServer):
    request_queue_size = 2048
    daemon_threads = True
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

const CRASH: &str =
    "import sys\nprint('cannot open the frobnicator', file=sys.stderr, flush=True)\nsys.exit(3)\n";

/// A server with one service of versions, and their programs.
fn start(more: &str) -> Server {
    let place = insula_tests::Place::new();
    for id in ["v1", "v2", "v3", "v4", "ill"] {
        std::fs::write(place.apps().join(format!("{id}.py")), SERVE).unwrap();
    }
    std::fs::write(place.apps().join("crash.py"), CRASH).unwrap();
    Server::with(place, &format!("{API}{more}\n"), &insula_tests::Options::default())
}

fn host(server: &Server) -> String {
    format!("api.localhost:{}", server.address().port())
}

/// Asks the service, whichever version answers.
fn ask(server: &Server) -> Reply {
    Request::get(&host(server), "/").send(server.address()).unwrap()
}

fn weights(server: &Server) -> BTreeMap<String, i64> {
    let routes = server.cli(&["route", "api", "--json"]).ok().json();
    let version =
        |v: &serde_json::Value| (v["id"].as_str().unwrap().to_owned(), v["weight"].as_i64().unwrap());
    routes["versions"].as_array().unwrap().iter().map(version).collect()
}

fn of(all: &[(&str, i64)]) -> BTreeMap<String, i64> {
    all.iter().map(|(id, weight)| ((*id).to_owned(), *weight)).collect()
}

/// Clients that ask the service without end, and see whether every answer is a good one.
struct Load {
    go: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn begin(server: &Server, clients: usize) -> Self {
        let (go, served) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let request = Request::get(&host(server), "/");
        let client = |_| {
            let (go, served, request, address) =
                (go.clone(), served.clone(), request.clone(), server.address());
            thread::spawn(move || {
                let mut failed = Vec::new();
                while go.load(Ordering::Relaxed) {
                    match request.send(address) {
                        Ok(reply) if reply.status == 200 => drop(served.fetch_add(1, Ordering::Relaxed)),
                        Ok(reply) => failed.push(format!("{} {}", reply.status, reply.text())),
                        Err(error) => failed.push(error.to_string()),
                    }
                }
                failed
            })
        };
        Self { threads: (0..clients).map(client).collect(), go, served }
    }

    /// Waits until so many more were served.
    fn more(&self, count: usize) {
        let from = self.served.load(Ordering::Relaxed);
        wait_until("more requests are served", || {
            (self.served.load(Ordering::Relaxed) >= from + count).then_some(())
        });
    }

    /// Ends it; how each request failed that did.
    fn end(self) -> Vec<String> {
        self.go.store(false, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

#[test]
fn a_first_version_answers_for_the_service() {
    let server = start("");
    let nobody = ask(&server).expect(503);
    assert_eq!(nobody.json()["code"], "no_version");
    let said = server.cli(&["deploy", "api:v1"]).ok().stdout;
    assert!(said.contains("api:v1 running") && said.contains("100.0%"), "{said}");
    assert_eq!(ask(&server).expect(200).text(), "v1");
    assert_eq!(server.get("api:v1", "/").expect(200).text(), "v1");
    server.cli(&["deploy", "api:v2"]).ok();
    assert_eq!(weights(&server), of(&[("v1", 100), ("v2", 0)]));
    assert_eq!(ask(&server).expect(200).text(), "v1");
}

#[test]
fn blue_green_under_load_loses_nothing() {
    let server = start("");
    server.cli(&["deploy", "api:v1"]).ok();
    let load = Load::begin(&server, 6);
    load.more(50);
    server.cli(&["deploy", "api:v2"]).ok();
    for (from, to) in [("v1", "v2"), ("v2", "v1"), ("v1", "v2")] {
        server.cli(&["route", "api", "--from", from, "--to", to]).ok();
        assert_eq!(ask(&server).expect(200).text(), to);
        load.more(50);
    }
    server.cli(&["deploy", "api:v3", "--strategy", "rolling", "--keep", "1", "--pause", "200ms"]).ok();
    assert_eq!(ask(&server).expect(200).text(), "v3");
    load.more(50);
    // A version that answers is deployed again, in place: its requests wait.
    server.cli(&["deploy", "api:v3"]).ok();
    load.more(50);
    assert_eq!(load.end(), [""; 0]);
}

/// The same load does fail where the old version is stopped before there is a new one.
#[test]
fn a_version_that_is_stopped_before_the_next_one_answers_is_missed() {
    let server = start("");
    server.cli(&["deploy", "api:v1"]).ok();
    let load = Load::begin(&server, 6);
    load.more(50);
    server.cli(&["stop", "api:v1"]).ok();
    server.cli(&["deploy", "api:v2", "--weight", "0"]).ok();
    server.cli(&["weight", "api", "v1=0", "v2=100"]).ok();
    load.more(50);
    let failed = load.end();
    assert!(failed.iter().any(|why| why.starts_with("503 ")), "nothing failed: {failed:?}");
}

#[test]
fn a_rolling_deploy_keeps_the_newest_asleep_and_forgets_the_rest() {
    let server = start("");
    for id in ["v1", "v2", "v3"] {
        server.cli(&["deploy", &format!("api:{id}"), "--strategy", "replace"]).ok();
    }
    let process = server.app("api:v1");
    let done =
        server.cli(&["deploy", "api:v4", "--strategy", "rolling", "--pause", "0s", "--json"]).ok().json();
    assert_eq!(done["slept"], serde_json::json!(["api:v3"]));
    assert_eq!(weights(&server), of(&[("v3", 0), ("v4", 100)]));
    assert!(!process.alive(), "a forgotten version still runs");
    server.wait_observed("api:v3", "asleep");
    assert_eq!(server.cli(&["inspect", "api:v1"]).code, 3);
    // What sleeps is woken by a rollback, and answers.
    server.cli(&["route", "api", "--from", "v4", "--to", "v3"]).ok();
    assert_eq!(ask(&server).expect(200).text(), "v3");
    assert_eq!(server.cli(&["route", "api", "--from", "v4", "--to", "v1"]).code, 3);
}

/// A version that serves so many requests and then ends.
const TIRED: &str = "import os, threading\nleft = [40]\nlock = threading.Lock()\n\
    def count():\n    with lock:\n        left[0] -= 1\n        if left[0] <= 0: os._exit(9)\n";

#[test]
fn a_rolling_deploy_moves_in_steps_and_goes_back_where_the_new_version_fails() {
    let server = start("");
    let tired = SERVE.replace("body = ", "if self.path == \"/\": count()\n        body = ");
    std::fs::write(server.place().apps().join("tired.py"), format!("{TIRED}{tired}")).unwrap();
    server.cli(&["deploy", "api:v1"]).ok();
    let load = Load::begin(&server, 2);
    let failed =
        server.cli(&["deploy", "api:tired", "--strategy", "rolling", "--steps", "20,100", "--pause", "60s"]);
    let told = &failed.stderr;
    // Whichever is seen first.
    let why = ["status 9", "health check failed"].iter().any(|why| told.contains(why));
    assert!(failed.code == 1 && told.contains("with 20 % of the requests") && why, "{told}");
    assert_eq!(weights(&server), of(&[("v1", 100)]));
    server.cli(&["deploy", "api:v2", "--strategy", "rolling", "--steps", "20,100", "--pause", "300ms"]).ok();
    load.more(20);
    // What the tired one had in its hands when it ended may be asked for again only where that is safe: it is.
    assert_eq!(load.end(), [""; 0]);
    assert_eq!(weights(&server), of(&[("v1", 0), ("v2", 100)]));
    let events = server.cli(&["events", "--json"]).ok().stdout;
    for share in ["20 %", "100 %"] {
        assert!(events.contains(&format!("a rolling deploy gives it {share}")), "{share}: {events}");
    }
}

#[test]
fn a_failing_deploy_leaves_everything_as_it_was_and_says_why() {
    let server = start("");
    server.cli(&["deploy", "api:v1"]).ok();
    let load = Load::begin(&server, 2);
    for (id, how, words) in [
        (
            "crash",
            &["--strategy", "replace"][..],
            &["exited with status 3", "cannot open the frobnicator"][..],
        ),
        ("ill", &["--weight", "50", "--timeout", "2s"], &["`GET /health` answered 500"]),
        ("nowhere", &["--strategy", "rolling"], &["nowhere.py"]),
    ] {
        let name = format!("api:{id}");
        let mut line = vec!["deploy", &name];
        line.extend(how);
        let failed = server.cli(&line);
        assert!(matches!(failed.code, 1 | 7), "{id}: {}", failed.code);
        for word in words {
            assert!(failed.stderr.contains(word), "{id}: no `{word}` in {}", failed.stderr);
        }
        assert_eq!(weights(&server), of(&[("v1", 100)]), "after `{id}`");
        assert_eq!(server.cli(&["inspect", &name]).code, 3, "`{id}` is still known");
        load.more(5);
    }
    assert_eq!(load.end(), [""; 0]);
}

#[test]
fn ten_thousand_requests_are_shared_out_as_weighed() {
    const ALL: usize = 10_000;
    const CLIENTS: usize = 4;
    let server = Arc::new(start(""));
    server.cli(&["deploy", "api:v1"]).ok();
    server.cli(&["deploy", "api:v2", "--weight", "0"]).ok();
    server.cli(&["weight", "api", "v1=90", "v2=10"]).ok();
    let client = |_| {
        let server = Arc::clone(&server);
        thread::spawn(move || {
            // One connection for all of them: the version is chosen for each request, not for each connection.
            let mut stream = BufReader::new(server.connect());
            let request = Request::get(&host(&server), "/").bytes();
            let answer = |_| {
                stream.get_mut().write_all(&request).unwrap();
                read_reply(&mut stream, "GET").unwrap().expect(200).text()
            };
            (0..ALL / CLIENTS).map(answer).filter(|version| version == "v2").count()
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    let second: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(second.abs_diff(ALL / 10) <= ALL / 50, "v2 got {second} of {ALL} requests instead of a tenth");
}

#[test]
fn a_version_that_dies_costs_no_idempotent_request() {
    let server = start("restart_backoff = \"5s\"\nmax_restarts = 1");
    for id in ["v1", "v2", "v3"] {
        server.cli(&["deploy", &format!("api:{id}"), "--weight", "100"]).ok();
    }
    let load = Load::begin(&server, 6);
    load.more(50);
    for _ in 0..3 {
        wait_until("v2 runs", || server.inspect("api:v2")["processes"].is_object().then_some(()));
        server.app("api:v2").kill();
        load.more(100);
    }
    assert_eq!(load.end(), [""; 0]);
    assert_ne!(server.inspect("api:v2")["restarts"], 0, "nothing was killed");
}

#[test]
fn weights_survive_the_death_of_everything() {
    let mut server = start("");
    server.cli(&["deploy", "api:v1"]).ok();
    server.cli(&["deploy", "api:v2", "--weight", "0"]).ok();
    server.cli(&["weight", "api", "v1=30", "v2=70"]).ok();
    let expected = of(&[("v1", 30), ("v2", 70)]);
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    assert_eq!(weights(&server), expected);
    server.kill_parent();
    server.start_again();
    assert_eq!(weights(&server), expected);
    let answered: BTreeMap<String, i64> = (0..100).fold(BTreeMap::new(), |mut all, _| {
        *all.entry(ask(&server).expect(200).text()).or_default() += 1;
        all
    });
    assert_eq!(answered, expected);
}

#[test]
fn paths_and_hosts_lead_where_the_file_says() {
    let more = "[service.app]\ncommand = \"python3 $APPS/app.py serve\"\nworkdir = \"$APPS\"\n\
                [routing]\ndefault = \"api\"\n[routing.path]\n\"/headers\" = \"app:a\"\n\
                [routing.host]\n\"shop.example.org\" = \"app:a\"\n[instances]\napp = [\"a\"]\n";
    let server = start(more);
    server.cli(&["deploy", "api:v1"]).ok();
    let get = |host: &str, path: &str| Request::get(host, path).send(server.address()).unwrap();
    assert_eq!(get("localhost", "/").expect(200).text(), "v1");
    assert_eq!(get("localhost", "/headersx").expect(200).text(), "v1");
    assert_eq!(get("localhost", "/headers").expect(200).json()["path"], "/headers");
    assert_eq!(get("shop.example.org", "/headers?x").expect(200).json()["path"], "/headers?x");
    assert_ne!(get("localhost", "/v1/health").text(), "v1", "a path of Insula itself was given away");
}

#[test]
fn no_more_instances_are_up_than_may_be() {
    let keys = "max_instances = 1\nidle_timeout = \"1h\"";
    let server = Server::start(
        &crate::common::app("serve", keys, &["a", "b"]).replace("[instances]\napp = [\"a\", \"b\"]", ""),
    );
    let counted = || {
        let page = server.cli(&["metrics"]).ok().stdout;
        let value = page.lines().find_map(|line| line.strip_prefix("insula_instances_refused_total "));
        value.unwrap_or_else(|| panic!("it is not on the page: {page}")).parse::<u64>().unwrap()
    };
    server.cli(&["spawn", "app:a"]).ok();
    assert_eq!(counted(), 0, "something was refused before the limit was reached");
    let refused = server.cli(&["spawn", "app:b"]);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert_eq!(counted(), 1);
    assert!(refused.stderr.contains("service.app.max_instances"), "{}", refused.stderr);
    let full = server.get("app:b", "/").expect(503);
    assert_eq!(full.json()["code"], "too_many_instances");
    assert!(full.header("retry-after").is_some());
    assert_eq!(counted(), 2);
    // What is up already, and what comes when there is room, is not counted.
    server.get("app:a", "/").expect(200);
    server.cli(&["stop", "app:a"]).ok();
    server.get("app:b", "/").expect(200);
    assert_eq!(counted(), 2);
}
