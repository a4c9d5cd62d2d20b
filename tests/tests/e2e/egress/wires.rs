//! Pairs of interfaces that wait for an instance: they go with the shell that they were laid to, nothing is left of them,
//! and what goes over them is bounded.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use insula_tests::{Process, Server, is_root, skip, wait_until};
use serde_json::Value;

use super::routed::{end, outcomes, service, start, tool};

/// Names of the interfaces that the host of this process has for routed networks.
fn wires(of: &Process) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{}/net/dev", of.pid)).unwrap_or_default();
    let names = table.lines().filter_map(|line| line.trim_start().split_once(':'));
    names.map(|(name, _)| name.to_owned()).filter(|name| name.starts_with("insula")).collect()
}

/// Waits until there are so many.
fn wait_wires(server: &Server, count: usize) -> Vec<String> {
    let worker = server.worker();
    wait_until(&format!("{count} interfaces"), || {
        let found = wires(&worker);
        (found.len() == count).then_some(found)
    })
}

/// Agents without a workload that have a way out.
fn blank(server: &Server, instances: &[&str]) -> Vec<Process> {
    let busy: Vec<_> = instances.iter().map(|instance| server.agent(instance)).collect();
    let own = |agent: &Process| {
        let dev = fs::read_to_string(format!("/proc/{}/net/dev", agent.pid)).unwrap_or_default();
        let here = fs::read_link(format!("/proc/{}/ns/net", server.worker().pid)).ok();
        let there = fs::read_link(format!("/proc/{}/ns/net", agent.pid)).ok();
        agent.command.starts_with("insula-agent") && here != there && dev.contains("eth0:")
    };
    let mut all: Vec<_> = Process::all().into_iter().filter(own).collect();
    all.retain(|agent| !busy.iter().any(|busy| busy.command == agent.command));
    // The agent comes first, then its launchpad.
    all.sort_by_key(|agent| (agent.start, agent.pid));
    let mut seen = BTreeSet::new();
    all.retain(|agent| seen.insert(agent.command.clone()));
    all
}

#[test]
fn what_waits_goes_with_its_shell_and_nothing_is_left() {
    if !is_root() {
        skip!("routed networks need root");
    }
    let text = service("r", "namespace", "network = \"routed\"", "udp:93.184.216.34");
    let server = start(&[text], &["r"]);
    for instance in ["r:a", "r:b"] {
        outcomes(&server, instance, 1);
    }
    // Two that are used, and two that wait.
    let all = wait_wires(&server, 4);
    let waiting = blank(&server, &["r:a", "r:b"]);
    assert_eq!(waiting.len(), 2, "{waiting:?}");
    waiting[0].kill();
    let left = wait_wires(&server, 3);
    assert!(left.iter().all(|name| all.contains(name)), "{left:?} of {all:?}");
    // Whoever comes next takes the other one, and both places are filled again.
    server.cli(&["stop", "r:a"]).ok();
    server.cli(&["spawn", "r:a"]).ok();
    assert_eq!(outcomes(&server, "r:a", 2)[0]["seen"], "198.19.0.1");
    let before = wait_wires(&server, 4);
    // A killed worker takes what waits with it, and no instance.
    let waiting = blank(&server, &["r:a", "r:b"]);
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    wait_until("the shells are gone", || (!waiting.iter().any(Process::alive)).then_some(()));
    let left = wait_wires(&server, 2);
    assert!(left.iter().all(|name| before.contains(name)), "{left:?} of {before:?}");
    server.cli(&["restart", "r:a"]).ok();
    assert_eq!(outcomes(&server, "r:a", 3)[0]["seen"], "198.19.0.1");
    end(server);
}

/// The rate at which an interface of the network of this process sends, in bytes a second, as the kernel tells it.
fn rate(of: &Process, interface: &str) -> Option<u64> {
    let pid = of.pid.to_string();
    let show = ["-j", "qdisc", "show", "dev", interface];
    let inside = Command::new(tool("nsenter")).args(["-t", &pid, "-n", &tool("tc")]).args(show).output();
    let output = inside.unwrap();
    assert!(output.status.success(), "{output:?}");
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    all.as_array()?.iter().find(|one| one["kind"] == "tbf")?["options"]["rate"].as_u64()
}

#[test]
fn a_bound_holds_for_packets_and_changes_while_they_flow() {
    if !is_root() {
        skip!("routed networks need root");
    }
    let text = |keys: &str| {
        let keys = format!("network = \"routed\"\n{keys}");
        service("r", "namespace", &keys, "udp:93.184.216.34") + "[instances]\nr = [\"a\", \"b\"]\n"
    };
    let server = start(&[service("r", "namespace", "network = \"routed\"", "udp:93.184.216.34")], &["r"]);
    for instance in ["r:a", "r:b"] {
        outcomes(&server, instance, 1);
    }
    let app = server.app("r:a");
    assert_eq!(rate(&app, "eth0"), None, "without a bound there is none");
    for (keys, bound) in
        [("bandwidth_limit = \"1M\"", Some(1 << 20)), ("", None), ("bandwidth_limit = \"8M\"", Some(8 << 20))]
    {
        let _path = server.place().configure(&text(keys));
        let planned = server.cli(&["config", "apply", "--json"]).ok().json();
        assert_eq!(planned["changes"]["adjusted"], serde_json::json!(["r"]), "{planned}");
        wait_until("the bound inside", || (rate(&app, "eth0") == bound).then_some(()));
        let both = || {
            let rates: Vec<_> =
                wires(&server.worker()).iter().map(|end| rate(&server.worker(), end)).collect();
            rates.iter().filter(|rate| **rate == bound).count()
        };
        wait_until("the bound of the host's end", || (both() >= 2).then_some(()));
        assert_eq!(server.app("r:a"), app, "it was restarted");
    }
    // Whoever is started now has it from the beginning.
    server.cli(&["stop", "r:b"]).ok();
    server.cli(&["spawn", "r:b"]).ok();
    assert_eq!(rate(&server.app("r:b"), "eth0"), Some(8 << 20));
    assert_eq!(server.inspect("r:b")["limits"]["bandwidth"], 8 << 20);
    end(server);
}
