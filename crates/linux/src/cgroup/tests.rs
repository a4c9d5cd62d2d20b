//! The pure part: which layout a host has, and what is written for which limits.

use std::collections::BTreeMap;
use std::path::Path;

use insta::assert_snapshot;
use insula_spec::{ByteSize, CpuQuota, CpuWeight, Limits};

use super::plan::{PlanError, host_steps};
use super::*;

/// A host made of files. Directories with a file `writable` can be written to; pid 1 is a stranger.
struct FakeHost(BTreeMap<&'static str, &'static str>);

impl Probe for FakeHost {
    fn writable(&self, dir: &Path) -> bool {
        self.0.contains_key(dir.join("writable").to_str().unwrap())
    }

    fn read(&self, file: &Path) -> Option<String> {
        self.0.get(file.to_str().unwrap()).map(|text| (*text).to_owned())
    }

    fn ours(&self, pid: i32) -> bool {
        pid != 1
    }
}

fn host<const N: usize>(files: [(&'static str, &'static str); N]) -> FakeHost {
    FakeHost(files.into())
}

const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
const UNIFIED: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

fn hybrid() -> Layout {
    let files = host([
        ("/sys/fs/cgroup/unified/writable", ""),
        ("/sys/fs/cgroup/unified/cgroup.controllers", "hugetlb\n"),
        ("/sys/fs/cgroup/cpu,cpuacct/writable", ""),
        ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
        ("/sys/fs/cgroup/memory/writable", ""),
        ("/sys/fs/cgroup/freezer/writable", ""),
        ("/sys/fs/cgroup/pids/writable", ""),
    ]);
    Layout::from_texts("4:memory:/x\n0::/\n", HYBRID, &files)
}

fn unified() -> Layout {
    let files = host([
        ("/sys/fs/cgroup/system.slice/insula.service/writable", ""),
        ("/sys/fs/cgroup/system.slice/insula.service/cgroup.type", "domain\n"),
        ("/sys/fs/cgroup/system.slice/insula.service/cgroup.controllers", "cpuset cpu io memory pids\n"),
        ("/sys/fs/cgroup/system.slice/insula.service/cgroup.procs", "40\n41\n"),
    ]);
    Layout::from_texts("0::/system.slice/insula.service\n", UNIFIED, &files)
}

fn all_limits() -> Limits {
    Limits {
        memory: Some(ByteSize::mib(256)),
        cpu_weight: Some(CpuWeight::clamped(50).0),
        cpu_quota: CpuQuota::from_millis(1500),
        pids: Some(64),
        open_files: Some(1024),
        ..Limits::default()
    }
}

fn golden(layout: &Layout, limits: &Limits) -> String {
    let plan = Plan::for_limits(layout, "h1", "k1", limits).unwrap();
    plan.steps.iter().map(|step| format!("{step}\n")).collect()
}

/// Only the writes into the leaf of the workload, without its path.
fn app_writes(layout: &Layout, limits: &Limits) -> String {
    let ours = |line: &&str| line.contains("k1.app/") || line.contains("k1/app/");
    let name = |line: &str| line.rsplit_once('/').map(|(_, rest)| format!("{rest}\n"));
    golden(layout, limits).lines().filter(ours).filter_map(name).collect()
}

#[test]
fn version_1_with_every_limit() {
    assert_snapshot!(golden(&hybrid(), &all_limits()), @r"
    mkdir -p /sys/fs/cgroup/cpu,cpuacct/insula
    mkdir -p /sys/fs/cgroup/cpu,cpuacct/insula/h1
    mkdir -p /sys/fs/cgroup/freezer/insula
    mkdir -p /sys/fs/cgroup/freezer/insula/h1
    mkdir -p /sys/fs/cgroup/memory/insula
    mkdir -p /sys/fs/cgroup/memory/insula/h1
    mkdir -p /sys/fs/cgroup/pids/insula
    mkdir -p /sys/fs/cgroup/pids/insula/h1
    mkdir /sys/fs/cgroup/memory/insula/h1/k1.agent
    mkdir /sys/fs/cgroup/pids/insula/h1/k1.agent
    mkdir /sys/fs/cgroup/cpu,cpuacct/insula/h1/k1.app
    mkdir /sys/fs/cgroup/freezer/insula/h1/k1.app
    mkdir /sys/fs/cgroup/memory/insula/h1/k1.app
    mkdir /sys/fs/cgroup/pids/insula/h1/k1.app
    /sys/fs/cgroup/memory/insula/h1/k1.agent/memory.memsw.limit_in_bytes = -1 (if there)
    /sys/fs/cgroup/memory/insula/h1/k1.agent/memory.limit_in_bytes = 33554432
    /sys/fs/cgroup/memory/insula/h1/k1.agent/memory.memsw.limit_in_bytes = 33554432 (if there)
    /sys/fs/cgroup/pids/insula/h1/k1.agent/pids.max = 64
    /sys/fs/cgroup/memory/insula/h1/k1.app/memory.memsw.limit_in_bytes = -1 (if there)
    /sys/fs/cgroup/memory/insula/h1/k1.app/memory.limit_in_bytes = 268435456
    /sys/fs/cgroup/memory/insula/h1/k1.app/memory.memsw.limit_in_bytes = 268435456 (if there)
    /sys/fs/cgroup/cpu,cpuacct/insula/h1/k1.app/cpu.shares = 512
    /sys/fs/cgroup/cpu,cpuacct/insula/h1/k1.app/cpu.cfs_period_us = 100000
    /sys/fs/cgroup/cpu,cpuacct/insula/h1/k1.app/cpu.cfs_quota_us = 150000
    /sys/fs/cgroup/pids/insula/h1/k1.app/pids.max = 64
    ");
}

#[test]
fn version_2_with_every_limit() {
    assert_snapshot!(golden(&unified(), &all_limits()), @r"
    /sys/fs/cgroup/system.slice/insula.service/cgroup.subtree_control = +cpu +memory +pids
    mkdir -p /sys/fs/cgroup/system.slice/insula.service/insula-h1
    /sys/fs/cgroup/system.slice/insula.service/insula-h1/cgroup.subtree_control = +cpu +memory +pids
    mkdir /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1
    /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1/cgroup.subtree_control = +cpu +memory +pids
    mkdir /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1/agent
    mkdir /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1/app
    /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1/agent/memory.max = 33554432
    /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1/agent/memory.swap.max = 0 (if there)
    /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1/agent/memory.oom.group = 1 (if there)
    /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1/agent/cpu.weight = 100 (if there)
    /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1/agent/cpu.max = max 100000 (if there)
    /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1/agent/pids.max = 64
    /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1/app/memory.max = 268435456
    /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1/app/memory.swap.max = 0 (if there)
    /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1/app/memory.oom.group = 1 (if there)
    /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1/app/cpu.weight = 50
    /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1/app/cpu.max = 150000 100000
    /sys/fs/cgroup/system.slice/insula.service/insula-h1/k1/app/pids.max = 64
    ");
}

#[test]
fn what_is_not_asked_for_is_taken_back() {
    let none = Limits::default();
    assert_snapshot!(app_writes(&hybrid(), &none), @r"
    memory.memsw.limit_in_bytes = -1 (if there)
    memory.limit_in_bytes = -1 (if there)
    cpu.shares = 1024 (if there)
    cpu.cfs_quota_us = -1 (if there)
    pids.max = max (if there)
    ");
    assert_snapshot!(app_writes(&unified(), &none), @r"
    memory.max = max (if there)
    memory.swap.max = max (if there)
    memory.oom.group = 0 (if there)
    cpu.weight = 100 (if there)
    cpu.max = max 100000 (if there)
    pids.max = max (if there)
    ");
}

#[test]
fn weights_and_quotas_at_their_ends() {
    let least = Limits {
        cpu_weight: Some(CpuWeight::clamped(1).0),
        cpu_quota: CpuQuota::from_millis(CpuQuota::MIN_MILLIS),
        ..Limits::default()
    };
    let most = Limits { cpu_weight: Some(CpuWeight::clamped(10_000).0), ..Limits::default() };
    assert_snapshot!(app_writes(&hybrid(), &least), @r"
    memory.memsw.limit_in_bytes = -1 (if there)
    memory.limit_in_bytes = -1 (if there)
    cpu.shares = 10
    cpu.cfs_period_us = 100000
    cpu.cfs_quota_us = 1000
    pids.max = max (if there)
    ");
    assert_snapshot!(app_writes(&hybrid(), &most), @r"
    memory.memsw.limit_in_bytes = -1 (if there)
    memory.limit_in_bytes = -1 (if there)
    cpu.shares = 102400
    cpu.cfs_quota_us = -1 (if there)
    pids.max = max (if there)
    ");
    assert_snapshot!(app_writes(&unified(), &least), @r"
    memory.max = max (if there)
    memory.swap.max = max (if there)
    memory.oom.group = 0 (if there)
    cpu.weight = 1
    cpu.max = 1000 100000
    pids.max = max (if there)
    ");
}

#[test]
fn version_2_moves_itself_out_of_the_way_first() {
    let steps = host_steps(&unified(), "h1", &[40, 41]).unwrap();
    assert_snapshot!(steps.iter().map(|step| format!("{step}\n")).collect::<String>(), @r"
    mkdir -p /sys/fs/cgroup/system.slice/insula.service/insula-daemon
    /sys/fs/cgroup/system.slice/insula.service/insula-daemon/cgroup.procs = 40
    /sys/fs/cgroup/system.slice/insula.service/insula-daemon/cgroup.procs = 41
    /sys/fs/cgroup/system.slice/insula.service/cgroup.subtree_control = +cpu +memory +pids
    mkdir -p /sys/fs/cgroup/system.slice/insula.service/insula-h1
    /sys/fs/cgroup/system.slice/insula.service/insula-h1/cgroup.subtree_control = +cpu +memory +pids
    ");
}

#[test]
fn a_tree_without_controllers_does_not_count() {
    let Layout::V1 { hierarchies, quota } = hybrid() else { panic!("{:?}", hybrid()) };
    assert!(quota);
    assert_eq!(hierarchies.cpu, Some("/sys/fs/cgroup/cpu,cpuacct".into()));
    assert_eq!(hierarchies.cpu, hierarchies.cpuacct, "mounted together");
    assert_eq!(hierarchies.dirs().len(), 4);
}

#[test]
fn a_group_with_other_programs_in_it_is_left_alone() {
    let shell = |procs: &'static str| {
        host([
            ("/sys/fs/cgroup/user/scope/writable", ""),
            ("/sys/fs/cgroup/user/scope/cgroup.type", "domain\n"),
            ("/sys/fs/cgroup/user/scope/cgroup.controllers", "memory pids\n"),
            ("/sys/fs/cgroup/user/scope/cgroup.procs", procs),
            ("/sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n"),
        ])
    };
    let layout = Layout::from_texts("0::/user/scope\n", UNIFIED, &shell("1\n7\n"));
    let Layout::None { why, hint } = &layout else { panic!("{layout:?}") };
    assert!(why.contains("pid 1"), "{why}");
    assert!(hint.contains("Delegate=yes"), "{hint}");

    let alone = Layout::from_texts("0::/user/scope\n", UNIFIED, &shell("7\n"));
    let expected =
        V2 { base: "/sys/fs/cgroup/user/scope".into(), root: false, cpu: false, memory: true, pids: true };
    assert_eq!(alone, Layout::V2(expected.clone()));
    // A later start, after it has moved itself, finds the same place.
    let again = Layout::from_texts("0::/user/scope/insula-daemon\n", UNIFIED, &shell("7\n"));
    assert_eq!(again, Layout::V2(expected));
}

#[test]
fn the_root_of_the_tree_needs_no_move() {
    let files = host([
        ("/sys/fs/cgroup/writable", ""),
        ("/sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n"),
        ("/sys/fs/cgroup/cgroup.procs", "1\n"),
    ]);
    let layout = Layout::from_texts("0::/\n", UNIFIED, &files);
    assert!(matches!(&layout, Layout::V2(v2) if v2.root), "{layout:?}");
    assert!(
        !host_steps(&layout, "h1", &[40]).unwrap().iter().any(|step| step.to_string().contains("daemon"))
    );
}

#[test]
fn what_cannot_be_enforced_is_named() {
    let what = |layout: &Layout, limits: &Limits| check(layout, limits).map_err(|e| e.what);
    let nothing = Layout::from_texts("", "", &host([]));
    let read_only = Layout::from_texts("", HYBRID, &host([]));
    assert_eq!(what(&hybrid(), &all_limits()), Ok(()));
    assert_eq!(what(&unified(), &all_limits()), Ok(()));
    for layout in [&nothing, &read_only] {
        assert_eq!(what(layout, &all_limits()), Err("memory_limit_mb"));
        let open_files = Limits { open_files: Some(10), ..Limits::default() };
        assert_eq!(what(layout, &open_files), Ok(()), "a limit that needs no control group");
        assert!(matches!(Plan::for_limits(layout, "h1", "k1", &open_files), Err(PlanError::NoCgroup { .. })));
    }
    let Layout::V1 { hierarchies, .. } = hybrid() else { panic!("not version 1") };
    let lacking = Hierarchies { pids: None, ..hierarchies };
    let no_quota = Layout::V1 { hierarchies: lacking, quota: false };
    assert_eq!(what(&no_quota, &all_limits()), Err("cpu_quota"));
    let pids = Limits { pids: Some(5), ..Limits::default() };
    assert_eq!(what(&no_quota, &pids), Err("pids_limit"));
    let only_memory = Limits { memory: Some(ByteSize::mib(1)), ..Limits::default() };
    assert_eq!(what(&no_quota, &only_memory), Ok(()));
}

#[test]
fn names_stay_one_component() {
    for bad in ["", "..", "a/b", "a.app", "A", "a b", &"x".repeat(65)] {
        for (home, key) in [(bad, "k1"), ("h1", bad)] {
            let plan = Plan::for_limits(&hybrid(), home, key, &Limits::default());
            assert!(matches!(plan, Err(PlanError::Name(_))), "home `{home}`, key `{key}`");
        }
    }
}

#[test]
fn paths_of_others_are_not_opened() {
    let foreign: [&[&str]; 4] = [
        &[],
        &["/sys/fs/cgroup/memory/insula/h1/k1.app"],
        &["/sys/fs/cgroup/memory/other/k1.app", "/sys/fs/cgroup/memory/other/k1.agent"],
        &["/sys/fs/cgroup/memory/insula/../x/k1.app", "/sys/fs/cgroup/memory/insula/../x/k1.agent"],
    ];
    for paths in foreign {
        let paths: Vec<_> = paths.iter().map(Into::into).collect();
        let opened = Leaves::open(&hybrid(), &paths);
        assert!(matches!(opened, Err(CgroupError::Foreign { .. })), "{paths:?}: {opened:?}");
    }
}
