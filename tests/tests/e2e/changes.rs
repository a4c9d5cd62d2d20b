//! What runs is changed while it is asked, and nothing is lost: neither what may be asked twice nor what may not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use insula_tests::{Request, Server, wait_until};
use rustix::process::Signal;
use serde_json::Value;

use crate::common::{app, number, services};

/// One request that is over.
struct Asked {
    method: &'static str,
    begin: Instant,
    end: Instant,
    /// What was wrong with it.
    wrong: Option<String>,
}

/// Clients that ask an instance without end: some with GET, some with POST, each on connections of its own.
struct Clients {
    go: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Asked>>>,
    threads: Vec<JoinHandle<()>>,
}

const METHODS: [&str; 2] = ["GET", "POST"];

impl Clients {
    fn begin(server: &Server, instance: &str) -> Self {
        let (go, asked) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let host = server.host(instance);
        let client = |at: usize| {
            let method = METHODS[at % METHODS.len()];
            let request = match method {
                "GET" => Request::get(&host, "/about"),
                _ => Request::post(&host, "/", "once"),
            };
            let (go, asked, address) = (Arc::clone(&go), Arc::clone(&asked), server.address());
            let asked: Arc<Mutex<Vec<Asked>>> = asked;
            thread::spawn(move || {
                while go.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    let wrong = match request.send(address) {
                        Ok(reply) if reply.status == 200 => None,
                        Ok(reply) => Some(format!("{method}: {} {}", reply.status, reply.text())),
                        Err(error) => Some(format!("{method}: {error}")),
                    };
                    asked.lock().unwrap().push(Asked { method, begin, end: Instant::now(), wrong });
                }
            })
        };
        Self { threads: (0..4).map(client).collect(), go, asked }
    }

    /// Waits until so many more of each method are over that began after this call, well or not.
    fn more(&self, count: usize) {
        let from = Instant::now();
        wait_until("more requests are over", || {
            let asked = self.asked.lock().unwrap();
            let of =
                |method: &str| asked.iter().filter(|one| one.method == method && one.begin >= from).count();
            METHODS.iter().all(|method| of(method) >= count).then_some(())
        });
    }

    fn end(self) -> Vec<Asked> {
        self.go.store(false, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        Arc::into_inner(self.asked).unwrap().into_inner().unwrap()
    }
}

/// What was wrong with those that failed.
fn failed(asked: &[Asked]) -> Vec<&str> {
    asked.iter().filter_map(|one| one.wrong.as_deref()).collect()
}

/// Of each method some were over before the change, some were under way in it, and some began after it.
#[track_caller]
fn spans(asked: &[Asked], (begin, end): (Instant, Instant)) {
    for method in METHODS {
        let some = |is: &dyn Fn(&Asked) -> bool| asked.iter().any(|one| one.method == method && is(one));
        assert!(some(&|one| one.end < begin), "no {method} before");
        assert!(some(&|one| one.begin < end && one.end > begin), "no {method} during");
        assert!(some(&|one| one.begin > end), "no {method} after");
    }
}

/// Requests of this method that waited for their instance and were answered, as the server remembers them.
fn waited(server: &Server, method: &str) -> usize {
    let found = server.cli(&["requests", "app:a", "-n", "1000", "--json"]).ok().json();
    let is =
        |one: &&Value| one["method"] == method && one["status"] == 200 && one["waited_us"].as_u64() > Some(0);
    found["requests"].as_array().unwrap().iter().filter(is).count()
}

/// Waits until more of both methods waited than before.
fn more_waited(server: &Server, before: [usize; 2]) {
    wait_until("both methods had to wait", || {
        let now = METHODS.map(|method| waited(server, method));
        (now[0] > before[0] && now[1] > before[1]).then_some(())
    });
}

#[test]
fn a_tenant_is_deployed_in_place_and_loses_nothing() {
    let server = Server::start(&app("serve", "health = \"/health\"", &["a"]));
    assert_eq!(number(&server.get("app:a", "/write?n=7").expect(200), "size"), 7);
    let process = server.app("app:a");
    let clients = Clients::begin(&server, "app:a");
    clients.more(3);
    let before = METHODS.map(|method| waited(&server, method));
    let begin = Instant::now();
    let said = server.cli(&["deploy", "app:a"]).ok().stdout;
    let end = Instant::now();
    assert!(said.contains("app:a running"), "{said}");
    clients.more(3);
    let asked = clients.end();
    spans(&asked, (begin, end));
    assert_eq!(failed(&asked), [""; 0]);
    more_waited(&server, before);
    assert_ne!(server.app("app:a"), process, "it was not started anew");
    assert_eq!(number(&server.get("app:a", "/read").expect(200), "size"), 7);
    let refused = server.cli(&["deploy", "app:a", "--weight", "10"]);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(refused.stderr.contains("versions = true"), "{}", refused.stderr);
}

/// The same load does fail where there is nothing that holds requests: the operator stops what it asks.
#[test]
fn a_tenant_that_is_stopped_instead_is_missed_by_both_methods() {
    let server = Server::start(&app("serve", "health = \"/health\"", &["a"]));
    server.get("app:a", "/health").expect(200);
    let clients = Clients::begin(&server, "app:a");
    clients.more(3);
    server.cli(&["stop", "app:a"]).ok();
    clients.more(3);
    server.cli(&["spawn", "app:a"]).ok();
    clients.more(3);
    let asked = clients.end();
    let failed = failed(&asked);
    for method in METHODS {
        assert!(failed.iter().any(|why| why.starts_with(method)), "no {method} failed: {failed:?}");
    }
}

#[test]
fn a_service_that_a_new_configuration_changes_loses_nothing_while_it_is_asked() {
    let text = |colour: &str| {
        services(&[("app", "serve", "", &["a"]), ("other", "serve", "", &["a"])])
            .replace("[service.app.env]", &format!("[service.app.env]\nCOLOUR = \"{colour}\""))
    };
    let server = Server::start(&text("red"));
    let colour = || server.get("app:a", "/about").expect(200).json()["env"]["COLOUR"].clone();
    assert_eq!(colour(), "red");
    server.get("other:a", "/").expect(200);
    let other = server.app("other:a");
    let by_command = || drop(server.cli(&["config", "apply"]).ok());
    let by_signal = || server.parent().signal(Signal::HUP);
    let ways: [(&str, &dyn Fn()); 3] = [("green", &by_command), ("blue", &by_signal), ("grey", &by_command)];
    for (wanted, apply) in ways {
        let process = server.app("app:a");
        let clients = Clients::begin(&server, "app:a");
        clients.more(3);
        let before = METHODS.map(|method| waited(&server, method));
        let _path = server.place().configure(&text(wanted));
        let begin = Instant::now();
        apply();
        wait_until("the new colour is there", || (colour() == wanted).then_some(()));
        let end = Instant::now();
        clients.more(3);
        let asked = clients.end();
        spans(&asked, (begin, end));
        assert_eq!(failed(&asked), [""; 0], "on the way to {wanted}");
        assert_ne!(server.app("app:a"), process, "{wanted}: it was not started anew");
        more_waited(&server, before);
    }
    assert_eq!(server.app("other:a"), other, "what did not change was started anew");
}
