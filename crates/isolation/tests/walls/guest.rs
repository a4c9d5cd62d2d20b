//! The agent behind a kernel in user space: it asks before it kills, runs a second workload without a second kernel,
//! and waits ahead with ids that are nobody's.

use std::os::unix::fs::MetadataExt;

use insula_isolation::{Engine, Event, Exit};
use insula_spec::{IdRange, Launch, Level, Limits, Root, RootSource};

use crate::container::rootfs;
use crate::gvisor::able;
use crate::support::*;

/// The user and group of a process on this host.
fn owner_of(pid: i32) -> (u32, u32) {
    let found = std::fs::metadata(format!("/proc/{pid}")).unwrap();
    (found.uid(), found.gid())
}

async fn shells(engine: &Engine, n: usize) {
    in_time(async {
        while engine.shells() < n {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_asks_the_program_itself() {
    let home = Home::new();
    let engine = home.engine(1);
    if !able(&engine, "a_stop_asks_the_program_itself") {
        return;
    }
    let polite = "import os, signal, time\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(42))\n";
    let deaf = "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n";
    for (program, expected) in [(polite, Exit::Code(42)), (deaf, Exit::Signal(9))] {
        let program = format!("{program}{SERVER}");
        let launch = home.launch(&engine, Level::Gvisor, &["python3", "-c", &program]);
        let sandbox = listening(&engine, &launch, Level::Gvisor).await;
        let grace = if expected == Exit::Code(42) { LONG } else { LONG / 100 };
        assert_eq!(in_time(sandbox.stop(grace)).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_needs_no_second_kernel() {
    let home = Home::new();
    let engine = home.engine(1);
    if !able(&engine, "a_second_run_needs_no_second_kernel") {
        return;
    }
    let script = "test -e /tmp/x; echo $?; touch /tmp/x; echo $RUN >>$DATA/runs; cat $DATA/runs; printf unfinished; exit $RUN";
    let mut launch = home.launch(&engine, Level::Gvisor, &["sh", "-c", script]);
    launch.env.push(("DATA".into(), launch.data_dir.display().to_string().into()));
    launch.env.push(("RUN".into(), "3".into()));
    let mut sandbox = start(&engine, &launch, Level::Gvisor).await;
    assert_eq!(event(&mut *sandbox).await, Event::Exited(Exit::Code(3)));
    let wall = sandbox.record().app_pid;
    launch.env.pop();
    launch.env.push(("RUN".into(), "140".into()));
    launch.limits = Limits { open_files: Some(40), ..launch.limits };
    in_time(sandbox.relaunch(&launch)).await.unwrap();
    assert_eq!(sandbox.record().app_pid, wall, "runsc was started anew");
    let (exit, text) = finish(sandbox).await;
    assert_eq!(exit, Exit::Code(140), "{text}");
    assert_eq!(text, "1\n3\nunfinished\n1\n3\n140\nunfinished\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_made_ahead_has_ids_that_are_nobodys() {
    let home = Home::new();
    let engine = home.engine_of(1, agent(), 1);
    if !able(&engine, "a_guest_made_ahead_has_ids_that_are_nobodys") {
        return;
    }
    if !root() {
        return skipped("a_guest_made_ahead_has_ids_that_are_nobodys", "one range serves all instances");
    }
    let script =
        "id -u; echo x >$DATA/$NAME; ls -n $DATA | tail -n +2 | awk '{print $3}' | sort -u; cat $DATA/*";
    for (name, ahead) in [("first", false), ("second", true)] {
        let mut launch = home.launch(&engine, Level::Gvisor, &["sh", "-c", &format!("{script}; sleep 1000")]);
        launch.env.push(("DATA".into(), launch.data_dir.display().to_string().into()));
        launch.env.push(("NAME".into(), name.into()));
        if ahead {
            shells(&engine, 1).await;
        }
        let mut sandbox = start(&engine, &launch, Level::Gvisor).await;
        let mut lines = Lines::of(&mut *sandbox);
        for expected in ["1000", "1000", "x"] {
            assert_eq!(lines.next().await, expected, "{name}");
        }
        let own = launch.ids.unwrap();
        let (uid, gid) = owner_of(sandbox.record().app_pid);
        assert_eq!(uid, gid);
        assert_eq!(uid >= 1 << 31, ahead, "{name}: {uid}");
        assert_eq!(uid == own.base, !ahead, "{name}: {uid}");
        let kept = std::fs::metadata(launch.data_dir.join(name)).unwrap();
        assert_eq!(kept.uid(), own.base + IdRange::WORKLOAD, "{name}: what is on disk is the instance's own");
        let record = sandbox.record();
        in_time(sandbox.stop(LONG)).await;
        assert!(!lives(record.agent_pid, record.agent_start));
    }
    in_time(engine.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_of_a_guest_is_kept_under_the_instances_own_ids() {
    let home = Home::new();
    let engine = home.engine_of(1, agent(), 1);
    if !able(&engine, "the_root_of_a_guest_is_kept_under_the_instances_own_ids") {
        return;
    }
    let Some(root) = rootfs(&home) else {
        return skipped("the_root_of_a_guest_is_kept_under_the_instances_own_ids", "no /bin/busybox");
    };
    let script = "cat /opt/app/note; echo changed >/opt/app/note; ls \"$DATA/root\" 2>/dev/null; \
                  touch \"$DATA/root/x\" 2>/dev/null && echo reached; exit 0";
    let launch = |persistent| {
        let mut launch = home.launch(&engine, Level::Gvisor, &["/bin/sh", "-c", script]);
        launch.env.push(("DATA".into(), launch.data_dir.display().to_string().into()));
        let source = RootSource::Directory(root.clone());
        let user = Some("0".to_owned());
        Launch { root: Root { source, persistent, user, ..Root::default() }, ..launch }
    };
    if has_a_range() {
        return refuses_to_keep_a_root(&engine, &launch(true), Level::Gvisor).await;
    }
    // The control: without the option nothing stays, and there is no place for it.
    for _ in 0..2 {
        assert_eq!(run(&engine, &launch(false), Level::Gvisor).await, "of the layer\n");
    }
    for expected in ["of the layer\n", "changed\n", "changed\n"] {
        let launch = launch(true);
        assert_eq!(run(&engine, &launch, Level::Gvisor).await, expected);
        let changes = std::fs::read_dir(launch.data_dir.join("root")).unwrap().next().unwrap().unwrap();
        let kept = std::fs::metadata(changes.path().join("upper/opt/app/note")).unwrap();
        assert_eq!(kept.uid(), launch.ids.unwrap().base, "what is on disk is the instance's own");
        // The next one is made ahead.
        shells(&engine, 1).await;
    }
    in_time(engine.close()).await;
}

/// Not a test of speed: prints what the first output costs here, of a guest made ahead and of one that was not.
#[tokio::test(flavor = "multi_thread")]
async fn first_outputs_are_timed_for_the_reader() {
    let home = Home::new();
    for (ahead, epoch) in [(false, 1), (true, 2)] {
        let engine = home.engine_of(epoch, agent(), usize::from(ahead));
        if !able(&engine, "first_outputs_are_timed_for_the_reader") {
            return;
        }
        if ahead {
            let launch = home.launch(&engine, Level::Gvisor, &["/bin/true"]);
            run(&engine, &launch, Level::Gvisor).await;
        }
        let mut times = Vec::new();
        for _ in 0..10 {
            if ahead {
                shells(&engine, 1).await;
            }
            let launch = home.launch(&engine, Level::Gvisor, &["/bin/echo", "hello"]);
            let begin = std::time::Instant::now();
            let mut sandbox = start(&engine, &launch, Level::Gvisor).await;
            assert_eq!(Lines::of(&mut *sandbox).next().await, "hello");
            times.push(begin.elapsed());
            in_time(sandbox.stop(LONG)).await;
        }
        in_time(engine.close()).await;
        times.sort();
        println!("gvisor, asked to first output, made ahead {ahead}: p50 {:?} p90 {:?}", times[5], times[9]);
    }
}
