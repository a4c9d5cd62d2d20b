//! `insula inspect` tells what is in force and not what was asked for: everything is compared with what the kernel says
//! of the same process to this test.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use insula_tests::{Server, cgroups_writable, skip};
use serde_json::{Value, json};

use crate::common::{lacks, services};

/// Kinds of namespaces, as `/proc/PID/ns` has them.
const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
/// Refuses one call, and nothing else.
const NO_MKDIR: &str = r#"{ "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }] }"#;

/// What the kernel says of a process, in the words of `inspect`.
fn of_kernel(pid: i64, worker: i32) -> Value {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let status: BTreeMap<_, _> = read("status")
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(n, v)| (n.to_owned(), v.trim().to_owned()))
        .collect();
    let mask = |name: &str| u64::from_str_radix(&status[name], 16).unwrap();
    let filtered = status["Seccomp"] == "2";
    let count: u64 = status["Seccomp_filters"].parse().unwrap();
    let map: Vec<_> =
        read("uid_map").lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let mounts = read("mountinfo");
    let root = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/")).unwrap();
    let (mount, system) = root.split_once(" - ").unwrap();
    let mode = mount.split(' ').nth(5).unwrap().split(',').next().unwrap();
    let namespace = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    let own = NAMESPACES
        .iter()
        .filter(|kind| namespace(&pid.to_string(), kind) != namespace(&worker.to_string(), kind));
    json!({
        "program": status["Name"],
        "capabilities": format!("{:x}", mask("CapEff") | mask("CapPrm") | mask("CapBnd")),
        "no_new_privs": status["NoNewPrivs"] == "1",
        "filters": if filtered { count } else { 0 },
        "id_map": map.join(", "),
        "root": format!("{} {mode}", system.split(' ').next().unwrap()),
        "namespaces": own.collect::<Vec<_>>(),
    })
}

/// What `inspect` says is in force for a running instance, after it was compared with what the kernel says.
fn checked(server: &Server, instance: &str) -> Value {
    server.get(instance, "/health").expect(200);
    let detail = server.inspect(instance);
    let told = detail["in_force"].clone();
    let kernel = of_kernel(detail["processes"]["app_pid"].as_i64().unwrap(), server.worker().pid);
    for (name, value) in kernel.as_object().unwrap() {
        assert_eq!(&told[name], value, "`{name}` of {instance}: {told}, and the kernel says {kernel}");
    }
    told
}

#[test]
fn what_inspect_says_is_what_the_kernel_says() {
    let config = services(&[
        ("bare", "serve", "isolation = \"process\"\nnetwork = \"host\"", &["a"]),
        ("plain", "serve", "isolation = \"namespace\"", &["a"]),
        ("onhost", "serve", "isolation = \"namespace\"\nnetwork = \"host\"", &["a"]),
        ("own", "serve", "isolation = \"namespace\"\nseccomp = \"$ROOT/filter.json\"", &["a"]),
        ("boxed", "serve", "isolation = \"container\"", &["a"]),
    ]);
    let place = insula_tests::Place::new();
    fs::write(place.path().join("filter.json"), NO_MKDIR).unwrap();
    let server = Server::with(place, &config, &insula_tests::Options::default());
    let [bare, plain, onhost, own, boxed] =
        ["bare:a", "plain:a", "onhost:a", "own:a", "boxed:a"].map(|instance| checked(&server, instance));
    for walled in [&plain, &onhost, &own, &boxed] {
        assert_eq!(walled["capabilities"], "0", "{walled}");
        assert_eq!(walled["no_new_privs"], true, "{walled}");
        assert!(walled["filters"].as_u64().unwrap() > 0, "{walled}");
    }
    // Other walls and another filter are told as others.
    let has = |force: &Value, kind: &str| force["namespaces"].as_array().unwrap().contains(&kind.into());
    for (force, mnt, net) in
        [(&bare, false, false), (&plain, true, true), (&onhost, true, false), (&boxed, true, true)]
    {
        assert_eq!((has(force, "mnt"), has(force, "net")), (mnt, net), "{force}");
    }
    assert!(bare["filters"].as_u64() < plain["filters"].as_u64(), "{bare}, {plain}");
    assert_ne!(bare["root"], plain["root"]);
    assert!(own["profile"].as_str().unwrap().contains("filter.json") && plain["profile"].is_null(), "{own}");
}

#[test]
fn what_inspect_says_of_a_guest_is_what_the_kernel_says_of_its_program() {
    let config = services(&[
        ("guest", "serve", "isolation = \"gvisor\"", &["a"]),
        ("plain", "serve", "isolation = \"namespace\"", &["a"]),
    ]);
    let server = Server::start(&config);
    if let Some(why) = lacks(&server, "gvisor") {
        skip!("{why}");
    }
    let (guest, plain) = (checked(&server, "guest:a"), checked(&server, "plain:a"));
    assert!(guest["program"].as_str().unwrap().starts_with("runsc"), "{guest}");
    assert!(!plain["program"].as_str().unwrap().starts_with("runsc"), "{plain}");
    assert_ne!(
        guest["capabilities"], plain["capabilities"],
        "the program makes a kernel, its workload has none"
    );
}

/// What somebody changed behind the daemon's back is told, whatever the configuration says.
#[test]
fn a_limit_that_was_changed_by_hand_is_told_as_it_is() {
    if !cgroups_writable() {
        skip!("control groups cannot be written by this user here");
    }
    for level in ["namespace", "container", "gvisor"] {
        let keys =
            format!("isolation = \"{level}\"\npids_limit = 300\ncpu_weight = 200\nmemory_limit_mb = 512");
        let server = Server::start(&services(&[("app", "serve", &keys, &["a"])]));
        if let Some(why) = lacks(&server, level) {
            skip!("{level}: {why}");
        }
        let before = checked(&server, "app:a");
        assert_eq!(
            (&before["cpu_weight"], &before["memory_max"]),
            (&200.into(), &(512 << 20).into()),
            "at {level}"
        );
        let groups = server.inspect("app:a")["cgroups"].clone();
        let groups = groups.as_array().unwrap().iter().map(|group| PathBuf::from(group.as_str().unwrap()));
        let mut files = groups
            .filter(|group| group.to_string_lossy().ends_with("app"))
            .map(|group| group.join("pids.max"));
        let file = files.find(|file| file.exists()).unwrap();
        fs::write(&file, "4321").unwrap();
        let detail = server.inspect("app:a");
        assert_ne!(before["pids_max"], 4321, "at {level}");
        assert_eq!(
            (&detail["in_force"]["pids_max"], &detail["limits"]["pids"]),
            (&4321.into(), &300.into()),
            "at {level}"
        );
    }
}
