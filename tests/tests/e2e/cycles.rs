//! Many sleeps and wakes: nothing grows.
//!
//! `INSULA_TEST_CYCLES=100000 cargo test -p insula-tests --test e2e cycles` makes it as many as you like. So many would
//! fill what is bounded, which is no growth: the ring of the last requests is filled before the first look, and the
//! access log is kept small.

use std::fs;
use std::path::Path;
use std::process::Command;

use insula_tests::{Options, Place, Process, Server, skip, system_program};

/// Between two looks, when there are many.
const LOOK_EVERY: u64 = 10_000;
/// What the ring of requests holds.
const RING: u64 = 65_536;

const TENANTS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// What could grow.
#[derive(Debug)]
struct Size {
    rss_kib: u64,
    files: usize,
    disk: u64,
    walls: usize,
}

impl Size {
    fn of(server: &Server) -> Self {
        let processes: [Process; 2] = [server.parent(), server.worker()];
        let inventory = server.inventory();
        Self {
            rss_kib: processes.iter().map(Process::rss_kib).sum(),
            files: processes.iter().map(Process::open_files).sum(),
            disk: disk(&server.place().home()) + disk(&server.place().data()),
            walls: inventory.run_dirs.len().max(inventory.cgroups.len()).max(inventory.processes.len()),
        }
    }
}

/// Bytes of all files below a folder.
fn disk(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |path: &Path| if path.is_dir() { disk(path) } else { path.metadata().map_or(0, |m| m.len()) };
    entries.map(|e| size(&e.path())).sum()
}

fn wakes(server: &Server) -> u64 {
    let list = server.cli(&["ps", "--json"]).ok().json();
    list["instances"].as_array().unwrap().iter().map(|i| i["wakes"].as_u64().unwrap()).sum()
}

/// Wakes tenants in turn until so many wakes have happened.
fn cycle(server: &Server, count: u64) {
    let from = wakes(server);
    while wakes(server) - from < count {
        for _ in 0..20 {
            for tenant in TENANTS {
                server.get(&format!("hello:{tenant}"), "/").expect(200);
            }
        }
    }
}

#[test]
fn thousands_of_sleeps_and_wakes_leave_nothing_behind() {
    if system_program("cc").is_none() {
        skip!("cc is not in the system directories");
    }
    let cycles = std::env::var("INSULA_TEST_CYCLES").map_or(2_000, |n| n.parse().unwrap());
    let place = Place::new();
    fs::write(place.apps().join("hello.c"), include_str!("../../../examples/hello/hello.c")).unwrap();
    let built = Command::new("cc").args(["-O1", "-o", "hello", "hello.c"]).current_dir(place.apps()).status();
    assert!(built.unwrap().success());
    let config = format!(
        "[service.hello]\ncommand = \"./hello\"\nworkdir = \"$APPS\"\nidle_timeout = \"1ms\"\n\
         [instances]\nhello = {TENANTS:?}\n\
         [observability]\naccess_log_size = \"1M\"\naccess_log_files = 0\n"
    );
    let server = Server::with(place, &config, &Options::default());
    cycle(&server, 400);
    if cycles > LOOK_EVERY {
        (0..RING).for_each(|_| drop(server.get("hello:a", "/").expect(200)));
        cycle(&server, LOOK_EVERY);
    }
    let before = Size::of(&server);
    for done in (0..cycles).step_by(usize::try_from(LOOK_EVERY).unwrap()) {
        cycle(&server, LOOK_EVERY.min(cycles - done));
        eprintln!("after {} cycles: {:?}", (done + LOOK_EVERY).min(cycles), Size::of(&server));
    }
    let after = Size::of(&server);
    eprintln!("after {cycles} cycles: {before:?} -> {after:?}");
    assert!(after.rss_kib <= before.rss_kib + 5 * 1024, "memory grew: {before:?} -> {after:?}");
    assert!(after.files <= before.files + 2 * TENANTS.len(), "open files grew: {before:?} -> {after:?}");
    assert!(after.disk <= before.disk + (8 << 20), "the disk filled: {before:?} -> {after:?}");
    assert!(after.walls <= before.walls + 2 * TENANTS.len(), "walls were left: {before:?} -> {after:?}");
}
