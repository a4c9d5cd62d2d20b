//! The worker is killed at named points of spawn and adoption, and at random moments. Nothing is orphaned.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use insula_isolation::{DiskProbe, FAULT_POINTS, GUEST_FAULT_POINTS, ROUTED_FAULT_POINTS};
use insula_tests::{OwnNetwork, Process, Request, Server, is_root, report_skip, skip, wait_until};

use crate::common::{app, lacks, number, services};

/// Behind which walls the two tenants are.
#[derive(Clone, Copy)]
struct Ground {
    level: &'static str,
    keys: &'static str,
}

const NAMESPACE: Ground = Ground { level: "namespace", keys: "" };

impl Ground {
    /// Why this host has no such walls.
    fn missing(self) -> Option<String> {
        let config = format!("[service.app]\ncommand = \"true\"\nisolation = \"{}\"\n", self.level);
        lacks(&Server::start(&config), self.level)
    }

    fn routed(self) -> bool {
        self.keys.contains("routed")
    }

    /// Shows it at each of these points.
    fn shown_at(self, points: &[&str]) {
        for point in points {
            eprintln!("at `{point}`");
            self.shown_at_one(point);
        }
    }

    /// What happens at every point:
    ///
    /// ```text
    /// a runs ─ kill parent ─ start with the fault ─ wake b until the point is reached (each worker dies there)
    ///        ─ kill parent ─ start without it ─ a is the same process, b runs once, ─ stop ─ nothing is left
    /// ```
    fn shown_at_one(self, point: &str) {
        let port = insula_tests::free_port();
        let settings = format!("[settings]\nport = {port}\ndata_dir = \"$ROOT/data\"\n");
        let keys = format!("isolation = \"{}\"\n{}", self.level, self.keys);
        let brief = format!("{keys}\nidle_timeout = \"100ms\"");
        let sleepy = ("sleepy", "serve", &*brief, &["b"][..]);
        let mut server = Server::start(&(settings + &services(&[("app", "serve", &keys, &["a"]), sleepy])));
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
        let _awake = ["app:a", "sleepy:b"].map(|instance| awake(&server, instance));
        // A guest's processes are not the host's.
        if self.level != "gvisor" {
            one_of_each(&server, "app:a");
            one_of_each(&server, "sleepy:b");
        }
        self.nothing_but(&server, 2);
    }

    /// Walls, and what comes with them, are there for so many instances and for those who wait.
    fn nothing_but(self, server: &Server, instances: usize) {
        wait_until("nothing is there without a reason", || {
            let health = server.cli(&["health", "--json"]).ok().json();
            let waiting = |which: &dyn Fn(&str) -> bool| {
                let pools = health["pools"].as_array().unwrap().iter();
                let pools = pools.filter(|pool| which(pool["network"].as_str().unwrap()));
                pools.map(|pool| usize::try_from(pool["waiting"].as_u64().unwrap()).unwrap()).sum::<usize>()
            };
            let found = server.inventory();
            let walls = found.run_dirs.len() == instances + waiting(&|_| true);
            let wires = if self.routed() { instances + waiting(&|network| network == "routed") } else { 0 };
            let disks = if self.keys.contains("hard") { instances } else { 0 };
            let right = walls && found.interfaces.len() == wires && found.loops.len() == disks;
            (right && found.mounts.is_empty()).then_some(())
        });
    }
}

#[test]
fn a_worker_killed_at_any_named_point_leaves_no_orphan() {
    NAMESPACE.shown_at(&FAULT_POINTS);
}

#[test]
fn no_orphan_is_left_at_level_container() {
    let ground = Ground { level: "container", keys: "" };
    if let Some(why) = ground.missing() {
        skip!("container: {why}");
    }
    ground.shown_at(&FAULT_POINTS);
}

#[test]
fn no_orphan_is_left_at_level_gvisor() {
    let ground = Ground { level: "gvisor", keys: "" };
    if let Some(why) = ground.missing() {
        skip!("gvisor: {why}");
    }
    ground.shown_at(&FAULT_POINTS);
    ground.shown_at(&GUEST_FAULT_POINTS);
}

#[test]
fn no_interface_and_no_rule_is_left_of_a_routed_network() {
    if !is_root() {
        skip!("routed networks need root");
    }
    for level in ["namespace", "container"] {
        let ground = Ground { level, keys: "network = \"routed\"" };
        // What is left there when a server has ended would be seen: the network lives on.
        OwnNetwork::new().within(|| {
            ground.shown_at(&FAULT_POINTS);
            ground.shown_at(&ROUTED_FAULT_POINTS);
        });
    }
    let ground = Ground { level: "gvisor", keys: "network = \"routed\"" };
    match ground.missing() {
        None => OwnNetwork::new().within(|| ground.shown_at(&ROUTED_FAULT_POINTS)),
        Some(why) => report_skip("insula::faults::routed::gvisor", &why),
    }
}

#[test]
fn no_loop_device_is_left_of_a_disk_of_its_own() {
    if let Err(why) = DiskProbe::of(&std::env::temp_dir()).image {
        skip!("{why}");
    }
    let ground = Ground { level: "container", keys: "disk_limit = \"16MiB\"\ndisk_limit_mode = \"hard\"" };
    // A shell has no disk yet; making one is shown with what lay in the directory before, in `quota`.
    let points: Vec<_> = FAULT_POINTS.into_iter().filter(|point| !point.starts_with("shell.")).collect();
    ground.shown_at(&points);
}

/// An open stream, which keeps an instance awake.
fn awake(server: &Server, instance: &str) -> BufReader<TcpStream> {
    let mut stream = BufReader::new(server.connect());
    let request = Request::get(&server.host(instance), "/stream?n=1000&ms=20");
    stream.get_mut().write_all(&request.bytes()).unwrap();
    let mut first = String::new();
    stream.read_line(&mut first).unwrap();
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    stream
}

/// One process runs the app of this tenant, and nobody else does.
fn one_of_each(server: &Server, instance: &str) {
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
    let _awake = awake(&server, "app:a");
    one_of_each(&server, "app:a");
}
