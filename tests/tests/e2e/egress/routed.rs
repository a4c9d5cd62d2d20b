//! Networks that are routed: packets out, under the host's address, and nowhere else.

use std::path::PathBuf;

use insula_tests::{
    Options, PATIENCE, Place, Process, Server, exited_within, is_root, report_skip, skip, system_program,
    wait_until,
};
use serde_json::Value;

/// A host of the test's own, with a small internet behind it.
const HOST: &str = include_str!("routed_host.py");

pub(super) fn tool(name: &str) -> String {
    system_program(name).and_then(|path: PathBuf| path.to_str().map(str::to_owned)).expect(name)
}

pub(super) fn service(name: &str, level: &str, keys: &str, tries: &str) -> String {
    format!(
        "[service.{name}]\ncommand = \"python3 $APPS/packets.py {tries}\"\nworkdir = \"$APPS\"\n\
         isolation = \"{level}\"\n{keys}\n"
    )
}

pub(super) fn start(services: &[String], names: &[&str]) -> Server {
    let place = Place::new();
    let script = place.path().join("routed_host.py");
    std::fs::write(&script, HOST).unwrap();
    let through =
        vec![tool("unshare"), "-n".to_owned(), tool("python3"), script.to_str().unwrap().to_owned()];
    let instances: String = names.iter().map(|name| format!("{name} = [\"a\", \"b\"]\n")).collect();
    let config = format!("{}[instances]\n{instances}", services.concat());
    Server::with(place, &config, &Options { through, ..Options::default() })
}

/// Ends a server, and waits for the world outside, which its host takes with it.
pub(super) fn end(mut server: Server) {
    assert_eq!(server.terminate(), 0);
    let script = server.place().path().join("routed_host.py");
    let world = || Process::all().into_iter().find(|one| one.command.contains(script.to_str().unwrap()));
    if let Some(world) = world() {
        assert!(exited_within(world.id(), PATIENCE), "the world outside outlives its host");
    }
}

/// What came of the tries of the last start.
pub(super) fn outcomes(server: &Server, instance: &str, starts: usize) -> Vec<Value> {
    wait_until(&format!("the tries of {instance}"), || {
        let lines = server.cli(&["logs", instance, "--json"]).ok().stdout;
        let parse = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            serde_json::from_str::<Value>(line["text"].as_str().unwrap()).ok()
        };
        let all: Vec<Value> = lines.lines().filter_map(parse).collect();
        let ends = all.iter().filter(|one| one["what"] == "done").count();
        (ends == starts).then(|| {
            let rounds: Vec<_> = all.split(|one| one["what"] == "done").collect();
            rounds[starts - 1].to_vec()
        })
    })
}

#[test]
fn packets_leave_under_the_hosts_address_with_an_address_of_their_own() {
    if !is_root() {
        skip!("routed networks need root");
    }
    let tries = "udp:93.184.216.34 ping:93.184.216.34 udp:10.9.9.9 udp:198.19.0.1 ping:198.19.0.1";
    let mut levels = vec!["namespace", "container"];
    match system_program("runsc") {
        Some(_) => levels.push("gvisor"),
        None => report_skip("insula::egress::routed::gvisor", "runsc is not there"),
    }
    let mut services: Vec<_> =
        levels.iter().map(|level| service(level, level, "network = \"routed\"", tries)).collect();
    services.push(service("isolated", "namespace", "", tries));
    let server = start(&services, &[&levels[..], &["isolated"]].concat());
    let mut sources = Vec::new();
    for instance in levels.iter().flat_map(|level| [format!("{level}:a"), format!("{level}:b")]) {
        let found = outcomes(&server, &instance, 1);
        assert_eq!(found[0]["seen"], "198.19.0.1", "{instance}: {found:?}");
        assert_eq!(found[1]["kind"], 0, "{instance}: no answer to its ping: {found:?}");
        for refused in &found[2..] {
            assert!(refused["error"].is_string(), "{instance}: {refused}");
        }
        sources.push(found[0]["source"].as_str().unwrap().to_owned());
    }
    sources.sort();
    sources.dedup();
    assert_eq!(sources.len(), 2 * levels.len(), "an address twice: {sources:?}");
    // The control: without it nothing but TCP leaves.
    for refused in outcomes(&server, "isolated:a", 1) {
        assert!(refused["error"].is_string(), "{refused}");
    }
    // Its rules hold at the next start, and the interface that was there is not in the way.
    server.cli(&["policy", "set", "namespace:a", "--none"]).ok();
    server.cli(&["restart", "namespace:a"]).ok();
    let found = outcomes(&server, "namespace:a", 2);
    assert!(found.iter().all(|one| one["error"].is_string()), "{found:?}");
    // What another worker adopts it still judges.
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    server.cli(&["policy", "set", "namespace:a", "public"]).ok();
    server.cli(&["restart", "namespace:a"]).ok();
    assert_eq!(outcomes(&server, "namespace:a", 3)[0]["seen"], "198.19.0.1");
    end(server);
}

#[test]
fn a_bounded_network_carries_no_more_than_its_bound() {
    if !is_root() {
        skip!("routed networks need root");
    }
    let rate = 250_000_u32;
    let keys = format!("network = \"routed\"\nbandwidth_limit = \"{rate}\"");
    let tries = "stream:93.184.216.34";
    let services = [
        service("slow", "namespace", &keys, tries),
        service("boxed", "container", &keys, tries),
        service("free", "namespace", "network = \"routed\"", tries),
    ];
    let server = start(&services, &["slow", "boxed", "free"]);
    // Bytes a second each way, as the app saw it.
    let speeds = |instance: &str| {
        let found = outcomes(&server, instance, 1).remove(0);
        assert_eq!((&found["arrived"], &found["back"]), (&1_000_000.into(), &1_000_000.into()), "{found}");
        [0, 1].map(|way| 1_000_000.0 / found["took"][way].as_f64().unwrap())
    };
    let free = speeds("free:a");
    for instance in ["slow:a", "boxed:a"] {
        for (way, speed) in speeds(instance).into_iter().enumerate() {
            // What may be ahead counts once: half a second's worth, and a little that is on its way.
            assert!(speed < f64::from(rate) * 1.6, "{instance}: {speed} bytes a second at {rate}");
            // The control: the same bytes without a bound.
            assert!(free[way] > speed, "without a bound {free:?}, with one {speed} bytes a second");
        }
    }
    end(server);
}

#[test]
fn doctor_says_what_is_missing_and_what_mends_it() {
    let place = Place::new();
    let (insula, home) = (insula_tests::program(), place.home());
    let row = |through: &[&str]| {
        let verb = [insula.to_str().unwrap(), "--home", home.to_str().unwrap(), "doctor", "--json"];
        let all = [through, &verb].concat();
        let output = std::process::Command::new(all[0]).args(&all[1..]).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap().clone();
        checks.into_iter().find(|check| check["what"] == "routed networks").unwrap()
    };
    if !is_root() {
        let found = row(&[]);
        assert!(found["verdict"] == "poor" && found["found"].as_str().unwrap().contains("root"), "{found}");
        return;
    }
    let unshare = tool("unshare");
    // A new network does not forward.
    let found = row(&[&unshare, "-n"]);
    assert!(found["hint"].as_str().unwrap().contains("`sysctl -w net.ipv4.ip_forward=1`"), "{found}");
    let forwards = "echo 1 >/proc/sys/net/ipv4/ip_forward; exec \"$@\"";
    let found = row(&[&unshare, "-n", "sh", "-c", forwards, "sh"]);
    assert_eq!(found["verdict"], "good", "{found}");
}

#[test]
fn what_cannot_be_routed_is_refused_with_the_reason() {
    let routed = |name: &str, level: &str, keys: &str| {
        service(name, level, &format!("network = \"routed\"\n{keys}"), "udp:93.184.216.34")
    };
    let services = [
        routed("plain", "process", ""),
        routed("inner", "namespace", "net = [\"10.9.9.9\"]"),
        routed("here", "namespace", ""),
    ];
    let config =
        format!("{}[instances]\nplain = [\"a\"]\ninner = [\"a\"]\nhere = [\"a\"]\n", services.concat());
    let server = Server::start(&config);
    let why = |instance: &str| {
        assert_eq!(server.get(instance, "/").status, 503);
        server.cli(&["why", instance]).ok().stdout
    };
    assert!(why("plain:a").contains("`network` cannot be enforced at level `process`"));
    let forwards = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim() == "1";
    let reason = match (is_root(), forwards) {
        (false, _) => "need root",
        (true, false) => "net.ipv4.ip_forward",
        (true, true) => "",
    };
    if !reason.is_empty() {
        let said = why("here:a");
        assert!(said.contains("`network` cannot be enforced") && said.contains(reason), "{said}");
    }
    let said = why("inner:a");
    assert!(said.contains("cannot be enforced"), "{said}");
}
