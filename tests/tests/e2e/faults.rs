//! The worker is killed at named points of spawn and adoption, and at random moments. Nothing is orphaned.

use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use insula_isolation::FAULT_POINTS;
use insula_tests::{Process, Request, Server, wait_until};

use crate::common::{app, number, services};

/// What happens at every point:
///
/// ```text
/// a runs ─ kill parent ─ start with the fault ─ wake b until the point is reached (each worker dies there)
///        ─ kill parent ─ start without it ─ a is the same process, b runs once, ─ stop ─ nothing is left
/// ```
fn shown_at(point: &str) {
    let port = insula_tests::free_port();
    let settings = format!("[settings]\nport = {port}\ndata_dir = \"$ROOT/data\"\n");
    let sleepy = ("sleepy", "serve", "idle_timeout = \"100ms\"", &["b"][..]);
    let mut server = Server::start(&(settings + &services(&[("app", "serve", "", &["a"]), sleepy])));
    let mut counter = number(&server.get("app:a", "/").expect(200), "counter");
    let process = server.app("app:a");
    server.kill_parent();
    server.start_with_fault(point);
    wait_until(&format!("`{point}` is reached"), || {
        // Wakes are what leads to most points; whether this one is answered does not matter.
        server.knock(port, "sleepy:b");
        (server.said().contains("fault point") && server.said().contains(point)).then_some(())
    });
    server.kill_parent();
    server.start_again();
    for _ in 0..2 {
        counter += 1;
        assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), counter, "at `{point}`");
        server.get("sleepy:b", "/health").expect(200);
    }
    assert_eq!(server.app("app:a"), process, "at `{point}`");
    one_of_each(&server, "app:a");
    one_of_each(&server, "sleepy:b");
}

#[test]
fn a_worker_killed_at_any_named_point_leaves_no_orphan() {
    for point in FAULT_POINTS {
        eprintln!("at `{point}`");
        shown_at(point);
    }
}

/// One process runs the app of this tenant, and nobody else does. An open stream keeps it awake meanwhile.
fn one_of_each(server: &Server, instance: &str) {
    let mut stream = BufReader::new(server.connect());
    let request = Request::get(&server.host(instance), "/stream?n=1000&ms=20");
    stream.get_mut().write_all(&request.bytes()).unwrap();
    let mut first = String::new();
    stream.read_line(&mut first).unwrap();
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    let app = server.app(instance);
    let (service, id) = instance.split_once(':').unwrap();
    let data = format!("/data/{service}/{id}");
    let same = |p: &&Process| {
        let environ = std::fs::read(format!("/proc/{}/environ", p.pid)).unwrap_or_default();
        p.command.contains("app.py") && String::from_utf8_lossy(&environ).contains(&data)
    };
    let inventory = server.inventory();
    let apps: Vec<_> = inventory.processes.iter().filter(same).collect();
    assert_eq!(apps, [&app], "{inventory:#?}");
}

#[test]
fn a_worker_killed_at_random_moments_of_adoption_loses_nothing() {
    const ROUNDS: usize = 50;
    let mut server = Server::start(&app("serve", "", &["a"]));
    let mut counter = number(&server.get("app:a", "/").expect(200), "counter");
    let process = server.app("app:a");
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    eprintln!("seed {seed}");
    let mut random = u64::from(seed);
    for round in 0..ROUNDS {
        let worker = wait_until("a worker runs", || server.newborn_worker());
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::park_timeout(Duration::from_micros((random >> 33) % 60_000));
        if worker.alive() {
            worker.kill();
        }
        // A parent lets a worker that dies again and again wait longer and longer; a new one does not.
        if round % 3 == 2 {
            server.kill_parent();
            server.start_again();
            let now = number(&server.get("app:a", "/").expect(200), "counter");
            assert_eq!(now, counter + 1, "in round {round}");
            counter = now;
        }
    }
    server.get("app:a", "/").expect(200);
    assert_eq!(server.app("app:a"), process);
    assert_eq!(server.inspect("app:a")["restarts"], 0);
    one_of_each(&server, "app:a");
}
