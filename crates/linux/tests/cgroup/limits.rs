//! What a workload may use, and does.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;

use insula_linux::cgroup::Leaf;
use insula_spec::{CpuQuota, CpuWeight, Limits};

use crate::support::*;

#[test]
fn memory_beyond_the_limit_ends_a_process() {
    let Some(walls) = Walls::new("memory_beyond_the_limit_ends_a_process", &memory(16)) else { return };
    assert_eq!(eat(walls.app(), 64).signal(), Some(9));
    assert_eq!(walls.app().oom_kills().unwrap(), 1);

    // The same without the limit, in the same leaf.
    walls.app().apply_limits(&Limits::default()).unwrap();
    assert!(eat(walls.app(), 64).success());
    assert_eq!(walls.app().oom_kills().unwrap(), 1);
}

#[test]
fn a_flood_in_the_agent_does_not_touch_the_workload() {
    let Some(walls) = Walls::new("a_flood_in_the_agent_does_not_touch_the_workload", &memory(256)) else {
        return;
    };
    let leaves = walls.leaves.as_ref().unwrap();
    assert_eq!(eat(leaves.agent(), 64).signal(), Some(9));
    assert_eq!((leaves.agent().oom_kills().unwrap(), leaves.app().oom_kills().unwrap()), (1, 0));
    assert!(eat(leaves.app(), 64).success(), "what the agent may not use, the workload may");
}

#[test]
fn pids_beyond_the_limit_are_not_born() {
    let Some(walls) = Walls::new("pids_beyond_the_limit_are_not_born", &pids(8)) else { return };
    let twenty = "i=0; while [ $i -lt 20 ]; do sleep 600 & i=$((i+1)); done";
    assert!(!sh(walls.app(), twenty).status().unwrap().success(), "it could fork 20 times");
    assert!(walls.app().usage().unwrap().pids.unwrap() <= 8);
    kill_and_reap(walls.app());

    walls.app().apply_limits(&Limits::default()).unwrap();
    assert!(sh(walls.app(), twenty).status().unwrap().success());
    assert_eq!(walls.app().pids().unwrap().len(), 20);
    assert_eq!(kill_and_reap(walls.app()), 20);
}

#[test]
fn limits_are_what_the_kernel_reports_and_can_be_taken_back() {
    let Some(walls) =
        Walls::new("limits_are_what_the_kernel_reports_and_can_be_taken_back", &Limits::default())
    else {
        return;
    };
    let (weight, quota, pids) = match walls.app() {
        Leaf::V1(h) => {
            let (cpu, pids) = (h.cpu.clone().unwrap(), h.pids.clone().unwrap());
            (cpu.join("cpu.shares"), cpu.join("cpu.cfs_quota_us"), pids.join("pids.max"))
        }
        Leaf::V2(dir) => (dir.join("cpu.weight"), dir.join("cpu.max"), dir.join("pids.max")),
    };
    let read = |file: &PathBuf| fs::read_to_string(file).unwrap().trim().to_owned();
    let values = || [read(&weight), read(&quota), read(&pids)];
    let unlimited = values();
    let all = Limits {
        cpu_weight: Some(CpuWeight::clamped(50).0),
        cpu_quota: CpuQuota::from_millis(1500),
        pids: Some(17),
        ..memory(64)
    };
    // Twice, and between a larger and a smaller limit: the order of writes must fit any state.
    for _ in 0..2 {
        walls.app().apply_limits(&all).unwrap();
        match walls.app() {
            Leaf::V1(_) => assert_eq!(values(), ["512", "150000", "17"]),
            Leaf::V2(_) => assert_eq!(values(), ["50", "150000 100000", "17"]),
        }
        walls.app().apply_limits(&memory(128)).unwrap();
        walls.app().apply_limits(&memory(32)).unwrap();
        assert_eq!(values(), unlimited, "what was not asked for again is still there");
    }
}

#[test]
fn usage_grows_with_use() {
    let Some(walls) = Walls::new("usage_grows_with_use", &Limits::default()) else { return };
    let before = walls.app().usage().unwrap();
    assert_eq!(before.pids, Some(0));
    let mut busy = sh(walls.app(), "while :; do :; done").spawn().unwrap();
    until("CPU time is counted", || walls.app().usage().unwrap().cpu_micros > before.cpu_micros);
    let during = walls.app().usage().unwrap();
    assert_eq!(during.pids, Some(1));
    assert!(during.memory_bytes.unwrap() > 0);
    walls.app().kill_all(LONG).unwrap();
    busy.wait().unwrap();
}
