//! What a workload may use, and what cannot be enforced.

use std::time::Duration;

use insula_isolation::{DiskProbe, Event, Exit, LaunchError};
use insula_spec::{ByteSize, CpuQuota, CpuWeight, DiskMode, Level, Limits};

use crate::support::*;

/// Touches 200 MiB, then says so.
const EAT: &str = "b = bytearray(200 << 20); print(len(b) >> 20, flush=True)";

#[tokio::test(flavor = "multi_thread")]
async fn who_passes_the_memory_limit_is_ended_for_it() {
    let home = Home::new();
    let engine = home.engine(1);
    if !has_groups(&engine) {
        return skipped("limits::who_passes_the_memory_limit_is_ended_for_it", "no writable control group");
    }
    for level in BOTH {
        let mut launch = home.launch(&engine, level, &["python3", "-c", EAT]);
        assert_eq!(run(&engine, &launch, level).await, "200\n", "without a limit");
        launch.limits.memory = Some(ByteSize(64 << 20));
        let launch = relaid(&home, &engine, level, launch);
        let (exit, text) = finish(start(&engine, &launch, level).await).await;
        assert_eq!((exit, text.as_str()), (Exit::Oom, ""), "level {level}");
        // A kill that the kernel did not count is not told as one for memory.
        let launch = relaid(&home, &engine, level, launch);
        let launch = insula_spec::Launch { argv: shell("kill -9 $$"), ..launch };
        assert_eq!(finish(start(&engine, &launch, level).await).await.0, Exit::Signal(9), "level {level}");
    }
}

/// The same launch with a place of its own.
fn relaid(
    home: &Home,
    engine: &insula_isolation::Engine,
    level: Level,
    old: insula_spec::Launch,
) -> insula_spec::Launch {
    let fresh = home.launch(engine, level, &[]);
    insula_spec::Launch { placement: fresh.placement, env: fresh.env, ..old }
}

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

const FORK: &str = "
import os, time
n = 0
try:
    while n < 40:
        if os.fork() == 0: time.sleep(100); os._exit(0)
        n += 1
except BlockingIOError: pass
print(n, flush=True)";

#[tokio::test(flavor = "multi_thread")]
async fn no_more_processes_than_the_limit() {
    let home = Home::new();
    let engine = home.engine(1);
    if !has_groups(&engine) {
        return skipped("limits::no_more_processes_than_the_limit", "no writable control group");
    }
    for level in BOTH {
        for (limit, born) in [(None, "40\n"), (Some(8), "7\n")] {
            let mut launch = home.launch(&engine, level, &["python3", "-c", FORK]);
            launch.limits.pids = limit;
            assert_eq!(run(&engine, &launch, level).await, born, "level {level}, limit {limit:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_open_files_than_the_limit() {
    let home = Home::new();
    let engine = home.engine(1);
    let open = "
import os, resource
print(resource.getrlimit(resource.RLIMIT_NOFILE))
try: [os.dup(0) for _ in range(64)]
except OSError as e: print(e.errno)
try: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
except (ValueError, OSError): print('refused')";
    for level in BOTH {
        let mut launch = home.launch(&engine, level, &["python3", "-c", open]);
        launch.limits.open_files = Some(32);
        assert_eq!(run(&engine, &launch, level).await, "(32, 32)\n24\nrefused\n", "level {level}");
        let mut launch = home.launch(&engine, level, &["python3", "-c", open]);
        launch.limits.open_files = Some(128);
        assert_eq!(run(&engine, &launch, level).await, "(128, 128)\n", "level {level}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_taken_back_when_the_walls_are_used_again() {
    let home = Home::new();
    let engine = home.engine(1);
    if !has_groups(&engine) {
        let name = "limits::limits_are_taken_back_when_the_walls_are_used_again";
        return skipped(name, "no writable control group");
    }
    let mut launch = home.launch(&engine, Level::Namespace, &["python3", "-c", EAT]);
    launch.limits = Limits { memory: Some(ByteSize(64 << 20)), ..Limits::default() };
    let mut sandbox = start(&engine, &launch, Level::Namespace).await;
    assert_eq!(event(&mut *sandbox).await, Event::Exited(Exit::Oom));
    in_time(sandbox.relaunch(&launch)).await.unwrap();
    assert_eq!(event(&mut *sandbox).await, Event::Exited(Exit::Oom), "the limit still holds");
    launch.limits = Limits::default();
    in_time(sandbox.relaunch(&launch)).await.unwrap();
    assert_eq!(event(&mut *sandbox).await, Event::Exited(Exit::Code(0)), "the limit was taken back");
    in_time(sandbox.stop(Duration::ZERO)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_enforced_is_refused_and_says_what_would_do() {
    let home = Home::new();
    let engine = home.engine(1);
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap();
    let files = Limits { open_files: Some(u32::try_from(hard + 1).unwrap()), ..Limits::default() };
    let disk = Limits { disk: Some(ByteSize::mib(64)), disk_mode: DiskMode::Hard, ..Limits::default() };
    let images = DiskProbe::of(&std::env::temp_dir()).image.is_ok();
    let mut asked = vec![("open_files", files), ("disk_limit", disk)];
    if !has_groups(&engine) {
        asked.extend([
            ("memory_limit_mb", Limits { memory: Some(ByteSize(1 << 30)), ..Limits::default() }),
            ("pids_limit", Limits { pids: Some(100), ..Limits::default() }),
            ("cpu_weight", Limits { cpu_weight: Some(CpuWeight::clamped(50).0), ..Limits::default() }),
            ("cpu_quota", Limits { cpu_quota: CpuQuota::from_millis(500), ..Limits::default() }),
        ]);
    }
    for level in BOTH {
        let holds = |key: &str| key == "disk_limit" && level == Level::Namespace && images;
        for (key, limits) in asked.iter().filter(|(key, _)| !holds(key)) {
            let launch = insula_spec::Launch { limits: *limits, ..home.launch(&engine, level, &["true"]) };
            let error = try_start(&engine, &launch, level).await.unwrap_err();
            assert!(matches!(error, LaunchError::Unenforceable { what, .. } if what == *key), "{error:?}");
            assert!(!error.hint().is_empty(), "`{key}` is refused without a hint");
        }
        let launch = home.launch(&engine, level, &["true"]);
        run(&engine, &launch, level).await;
    }
}
