//! One life from launch to end, with an adoption and a relaunch in it.

use std::fs::File;
use std::time::Duration;

use insula_isolation::{Event, Exit, LaunchError};
use insula_linux::watched::Watched;
use insula_spec::Level;

use crate::support::*;

async fn life(level: Level) {
    let home = Home::new();
    let engine = home.engine(1);
    let launch = home.launch(&engine, level, &["python3", "-c", SERVER]);
    let mut sandbox = listening(&engine, &launch, level).await;
    let uid = inner_uid(&launch, level);
    assert_eq!(ask(&*sandbox, "hello").await, format!("1 {uid} hello"));
    sandbox.commit().await.unwrap();
    let record = sandbox.record();
    let mut logs = sandbox.logs().unwrap();
    let batch = logs.next().await.unwrap();
    assert_eq!(batch.lines[0].bytes, b"ready");
    logs.ack(1);
    // A new worker finds it, and its memory with it.
    drop((sandbox, logs, engine));
    let engine = home.engine(2);
    let mut adopted = adopt(&engine, &record, 1).await.unwrap();
    assert!(adopted.listening);
    assert_eq!(ask(&*adopted.sandbox, "again").await, format!("2 {uid} again"));
    adopted.sandbox.pause().await.unwrap();
    adopted.sandbox.resume().await.unwrap();
    assert_eq!(ask(&*adopted.sandbox, "thawed").await, format!("3 {uid} thawed"));
    ask(&*adopted.sandbox, "die").await;
    assert_eq!(event(&mut *adopted.sandbox).await, Event::Exited(Exit::Code(7)));
    adopted.sandbox.relaunch(&launch).await.unwrap();
    assert_eq!(event(&mut *adopted.sandbox).await, Event::Listening);
    assert_eq!(ask(&*adopted.sandbox, "anew").await, format!("1 {uid} anew"));
    assert_eq!(in_time(adopted.sandbox.stop(Duration::from_secs(5))).await, Exit::Signal(15));
    home.nothing_left(&record);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_sandbox_lives_through_all_of_it() {
    life(Level::Namespace).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_sandbox_lives_through_all_of_it() {
    life(Level::Process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_is_named() {
    let home = Home::new();
    let engine = home.engine(1);
    for level in BOTH {
        let launch = home.launch(&engine, level, &["no-such-program"]);
        let error = try_start(&engine, &launch, level).await.unwrap_err();
        assert!(
            matches!(&error, LaunchError::Exec { program, .. } if program == "no-such-program"),
            "{error:?}"
        );
    }
}

/// What a workload inherits beyond its standard streams would be a hole in every wall.
#[tokio::test(flavor = "multi_thread")]
async fn no_descriptor_of_the_host_reaches_a_workload() {
    let home = Home::new();
    let engine = home.engine(1);
    let leak = File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    for level in BOTH {
        // 3 is the directory that is being listed.
        let list = "import os; print(sorted(os.listdir('/proc/self/fd')))";
        assert_eq!(python(&home, &engine, level, list).await, "['0', '1', '2', '3']\n", "level {level}");
    }
}

/// A workload starts as from a shell: no signal is blocked, and a closed pipe ends it.
#[tokio::test(flavor = "multi_thread")]
async fn signals_are_as_a_program_expects_them() {
    let home = Home::new();
    let engine = home.engine(1);
    for level in BOTH {
        let launch = home.launch(&engine, level, &["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"]);
        let text = run(&engine, &launch, level).await;
        let mask = |name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        assert_eq!(mask("SigBlk:"), 0, "level {level}");
        assert_eq!(mask("SigIgn:") & (1 << (libc::SIGPIPE - 1)), 0, "level {level}");
    }
}

/// The workload is killed when nobody committed it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_committed_dies_with_its_handle() {
    let home = Home::new();
    for level in BOTH {
        let engine = home.engine(1);
        let launch = home.launch(&engine, level, &["sleep", "1000"]);
        let sandbox = start(&engine, &launch, level).await;
        let record = sandbox.record();
        assert!(lives(record.app_pid, record.app_start));
        let end = end_of(record.app_pid);
        drop(sandbox);
        in_time(end.readable()).await.unwrap();
        assert!(!lives(record.app_pid, record.app_start));

        let mut kept = start(&engine, &launch, level).await;
        kept.commit().await.unwrap();
        let record = kept.record();
        kept.detach();
        assert!(lives(record.app_pid, record.app_start), "a committed one was killed with its handle");
        in_time(adopt(&engine, &record, 0).await.unwrap().sandbox.stop(Duration::ZERO)).await;
    }
}

/// What becomes readable when this process ends; to be made while it still lives.
fn end_of(pid: i32) -> Watched {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK).unwrap();
    Watched::new(fd).unwrap()
}

/// Not a test of speed: prints what a launch costs here, from a blank shell and without one.
#[tokio::test(flavor = "multi_thread")]
async fn launches_are_timed_for_the_reader() {
    let home = Home::new();
    let engine = home.engine_of(1, agent(), 1);
    for pooled in [true, false] {
        let mut times = Vec::new();
        for _ in 0..20 {
            if !pooled {
                engine.close().await;
            }
            while pooled && engine.shells() == 0 {
                engine.warm();
                tokio::task::yield_now().await;
            }
            let launch = home.launch(&engine, Level::Namespace, &["/bin/true"]);
            let begin = std::time::Instant::now();
            let sandbox = start(&engine, &launch, Level::Namespace).await;
            times.push(begin.elapsed());
            assert_eq!(finish(sandbox).await.0, Exit::Code(0));
        }
        times.sort();
        println!("launch to executed, pooled {pooled}: p50 {:?} p90 {:?}", times[10], times[18]);
    }
}
