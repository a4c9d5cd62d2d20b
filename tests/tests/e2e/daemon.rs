//! Insula itself is killed, restarted, stopped. Tenants do not notice, or are gone for good when asked to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use insula_tests::{Process, Server, wait_until};

use crate::common::{app, number};

/// Requests that go on until they are told to end.
pub(crate) struct Load {
    go: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// This many clients, each with one request at a time, each on a connection of its own.
    pub(crate) fn begin(server: &Server, clients: usize, instance: &str) -> Self {
        let (go, served, failed) = (Arc::new(AtomicBool::new(true)), Arc::default(), Arc::default());
        let request = insula_tests::Request::get(&server.host(instance), "/");
        let client = |_| {
            let (go, served, failed) = (Arc::clone(&go), Arc::clone(&served), Arc::clone(&failed));
            let (request, address) = (request.clone(), server.address());
            thread::spawn(move || {
                while go.load(Ordering::Relaxed) {
                    let counter: &AtomicUsize = match request.send(address) {
                        Ok(reply) if reply.status == 200 => &served,
                        Ok(_) | Err(_) => &failed,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = (0..clients).map(client).collect();
        Self { go, served, failed, threads }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Waits until so many more were served.
    pub(crate) fn more(&self, count: usize) {
        let from = self.served();
        wait_until("more requests are served", || (self.served() >= from + count).then_some(()));
    }

    /// Ends it; how many failed.
    pub(crate) fn end(self) -> usize {
        self.go.store(false, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.failed.load(Ordering::Relaxed)
    }
}

#[test]
fn a_killed_worker_takes_no_tenant_with_it() {
    const CLIENTS: usize = 4;
    let server = Server::start(&app("serve", "", &["a"]));
    let before = server.get("app:a", "/").expect(200);
    let (process, agent) = (server.app("app:a"), server.agent("app:a"));
    let load = Load::begin(&server, CLIENTS, "app:a");
    load.more(20);
    let worker = server.worker();
    worker.kill();
    load.more(20);
    let second = server.wait_worker_after(&worker);
    load.more(20);
    let failed = load.end();
    assert!(failed <= CLIENTS, "{failed} requests failed; only those in flight may, at most {CLIENTS}");
    let after = server.get("app:a", "/").expect(200);
    for name in ["pid", "started"] {
        assert_eq!(before.json()[name], after.json()[name], "`{name}` of the app changed");
    }
    assert!(number(&after, "counter") > number(&before, "counter"));
    assert_eq!((server.app("app:a"), server.agent("app:a")), (process, agent));
    assert_ne!(second.pid, worker.pid);
    assert_eq!(server.inspect("app:a")["restarts"], 0);
}

#[test]
fn a_worker_killed_again_and_again_loses_nothing() {
    let server = Server::start(&app("serve", "", &["a"]));
    let mut counter = number(&server.get("app:a", "/").expect(200), "counter");
    let process = server.app("app:a");
    let mut worker = server.worker();
    for _ in 0..5 {
        worker.kill();
        // Connects made now wait in the parent's listener.
        let now = number(&server.get("app:a", "/").expect(200), "counter");
        assert_eq!(now, counter + 1);
        counter = now;
        worker = server.wait_worker_after(&worker);
    }
    assert!(process.alive());
}

#[test]
fn lines_printed_while_no_worker_lives_are_not_lost() {
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/log?n=100").expect(200);
    for _ in 0..3 {
        let worker = server.worker();
        worker.kill();
        server.get("app:a", "/log?n=500").expect(200);
        server.wait_worker_after(&worker);
    }
    let last = number(&server.get("app:a", "/log?n=1").expect(200), "last");
    assert_eq!(last, 1601);
    let logs = wait_until("the last line is stored", || {
        let logs = server.cli(&["logs", "app:a"]).ok().stdout;
        logs.contains("line 1601").then_some(logs)
    });
    let numbers: Vec<i64> =
        logs.lines().filter_map(|l| l.rsplit_once("line ")?.1.trim().parse().ok()).collect();
    assert_eq!(numbers, (1..=1601).collect::<Vec<_>>(), "lines are missing, doubled or out of order");
}

#[test]
fn a_sleeping_tenant_stays_asleep_over_a_restart_of_the_worker() {
    let server = Server::start(&app("serve", "idle_timeout = \"200ms\"", &["a"]));
    server.get("app:a", "/write?n=5").expect(200);
    server.wait_observed("app:a", "asleep");
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    assert_eq!(server.observed("app:a"), "asleep");
    assert_eq!(number(&server.get("app:a", "/read").expect(200), "size"), 5);
}

#[test]
fn a_frozen_tenant_is_adopted_frozen() {
    let server = Server::start(&app("serve", "idle_timeout = \"200ms\"\nsleep = \"freeze\"", &["a"]));
    server.get("app:a", "/").expect(200);
    server.wait_observed("app:a", "frozen");
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), 2);
}

#[test]
fn an_app_that_died_while_no_worker_lived_is_noticed() {
    let server = Server::start(&app("serve", "restart = \"always\"", &["a"]));
    server.get("app:a", "/").expect(200);
    let (process, worker) = (server.app("app:a"), server.worker());
    worker.kill();
    process.kill();
    server.wait_worker_after(&worker);
    assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), 1);
}

#[test]
fn instances_outlive_the_parent_and_are_found_again() {
    let mut server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/").expect(200);
    let process = server.app("app:a");
    server.kill_parent();
    assert!(process.alive(), "the instance died with the parent");
    server.start_again();
    assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), 2);
    assert_eq!(server.app("app:a"), process);
}

#[test]
fn sigterm_answers_what_is_in_flight_and_leaves_nothing() {
    let mut server = Server::start(&app("serve", "", &["a", "b"]));
    server.get("app:a", "/").expect(200);
    let request = insula_tests::Request::get(&server.host("app:a"), "/slow?ms=1500");
    let address = server.address();
    let slow = thread::spawn(move || request.send(address));
    wait_until("the slow request is in flight", || {
        let about = server.get("app:a", "/about").expect(200).json();
        let threads =
            about["status"].as_str()?.lines().find_map(|l| l.strip_prefix("Threads:"))?.trim().to_owned();
        (threads.parse::<i64>().ok()? >= 3).then_some(())
    });
    let process: Process = server.app("app:a");
    assert_eq!(server.terminate(), 0);
    assert_eq!(slow.join().unwrap().expect("the request in flight was answered").status, 200);
    assert!(!process.alive());
    assert!(server.inventory().is_empty(), "{:#?}", server.inventory());
}

#[test]
fn a_second_server_in_the_same_home_is_refused() {
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/").expect(200);
    let config = server.place().path().join("insula.toml");
    let second = server.cli(&["serve", "--config", config.to_str().unwrap()]);
    assert_ne!(second.code, 0);
    let pid = server.parent().pid.to_string();
    assert!(second.stderr.contains(&pid), "it does not name the other process: {}", second.stderr);
    server.get("app:a", "/").expect(200);
}
