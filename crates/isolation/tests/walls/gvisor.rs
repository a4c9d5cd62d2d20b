//! Level `gvisor`: the same claims as elsewhere, behind a kernel in user space. Each has a control at a level
//! without one.

use std::os::unix::fs::MetadataExt;

use insula_isolation::{Engine, Exit};
use insula_spec::{Launch, Level, Limits, Root, RootSource};

use crate::container::rootfs;
use crate::support::*;

/// Whether this host has the level; if not, the test is told as skipped.
pub(crate) fn able(engine: &Engine, test: &str) -> bool {
    match engine.registry().backend(Level::Gvisor) {
        Ok(_) => true,
        Err(e) => {
            skipped(test, &e.why);
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_is_another_one() {
    let home = Home::new();
    let engine = home.engine(1);
    if !able(&engine, "the_kernel_is_another_one") {
        return;
    }
    let program = "import os; print(os.uname().release, os.getuid(), os.getcwd())";
    let here = rustix::system::uname().release().to_string_lossy().into_owned();
    for (level, same) in [(Level::Namespace, true), (Level::Gvisor, false)] {
        let launch = home.launch(&engine, level, &["python3", "-c", program]);
        let text = run(&engine, &launch, level).await;
        assert_eq!(text.starts_with(&here), same, "{level}: {text}");
        assert!(text.trim().ends_with(&format!(" 1000 {}", launch.workdir.display())), "{level}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_are_told_as_they_were() {
    let home = Home::new();
    let engine = home.engine(1);
    if !able(&engine, "ends_are_told_as_they_were") {
        return;
    }
    let cases = [
        ("exit 7", Exit::Code(7)),
        ("exit 0", Exit::Code(0)),
        ("exit 137", Exit::Code(137)),
        ("exit 255", Exit::Code(255)),
        ("kill -9 $$", Exit::Signal(9)),
        ("kill -15 $$", Exit::Signal(15)),
    ];
    for (script, expected) in cases {
        let launch = home.launch(&engine, Level::Gvisor, &["sh", "-c", script]);
        let (exit, text) = finish(start(&engine, &launch, Level::Gvisor).await).await;
        assert_eq!(exit, expected, "{script}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_the_instances_own_at_every_level() {
    let home = Home::new();
    let engine = home.engine(1);
    if !able(&engine, "data_is_the_instances_own_at_every_level") {
        return;
    }
    let mut owners = Vec::new();
    for (level, name) in [(Level::Gvisor, "a"), (Level::Namespace, "b"), (Level::Gvisor, "c")] {
        let mut launch = home.launch(
            &engine,
            level,
            &["sh", "-c", "echo $NAME >>$DATA/kept; echo x >$DATA/$NAME; cat $DATA/kept"],
        );
        launch.env.push(("DATA".into(), launch.data_dir.display().to_string().into()));
        launch.env.push(("NAME".into(), name.into()));
        let text = run(&engine, &launch, level).await;
        assert!(text.ends_with(&format!("{name}\n")), "{text}");
        assert_eq!(text.lines().count(), owners.len() + 1, "{text}");
        // An ordinary user cannot look at what belongs to its subordinate ids.
        owners.push(std::fs::metadata(launch.data_dir.join(name)).map_or(0, |found| found.uid()));
    }
    assert!(owners.iter().all(|owner| *owner == owners[0]), "{owners:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_reached_paused_adopted_and_gone_without_a_trace() {
    let home = Home::new();
    let engine = home.engine(1);
    if !able(&engine, "it_is_reached_paused_adopted_and_gone_without_a_trace") {
        return;
    }
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let launch = home.launch(&engine, Level::Gvisor, &["python3", "-c", SERVER]);
    let mut sandbox = listening(&engine, &launch, Level::Gvisor).await;
    assert_eq!(ask(&*sandbox, "hello").await, "1 1000 hello");
    sandbox.commit().await.unwrap();
    sandbox.pause().await.unwrap();
    sandbox.resume().await.unwrap();
    let record = sandbox.record();
    sandbox.detach();
    drop(engine);
    let engine = home.engine(2);
    let adopted = adopt(&engine, &record, 0).await.unwrap();
    assert!(adopted.listening && !adopted.paused);
    assert_eq!(ask(&*adopted.sandbox, "again").await, "2 1000 again");
    let exit = in_time(adopted.sandbox.stop(LONG)).await;
    assert_eq!(exit, Exit::Signal(15), "the request to end reaches the workload");
    home.nothing_left(&record);
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_over_its_memory_is_ended_for_that() {
    let home = Home::new();
    let engine = home.engine(1);
    if !able(&engine, "a_workload_over_its_memory_is_ended_for_that") {
        return;
    }
    if engine.registry().backend(Level::Gvisor).unwrap().probe().unwrap().cgroups.is_none() {
        return skipped("a_workload_over_its_memory_is_ended_for_that", "no control groups");
    }
    let launch =
        home.launch(&engine, Level::Gvisor, &["python3", "-c", "b = bytearray(400 << 20); print(len(b))"]);
    for (limit, expected) in [(Some(128 << 20), Exit::Oom), (None, Exit::Code(0))] {
        let limits = Limits { memory: limit.map(insula_spec::ByteSize), ..Limits::default() };
        let fresh = home.launch(&engine, Level::Gvisor, &["true"]);
        let launch = Launch { limits, placement: fresh.placement, ..launch.clone() };
        let (exit, text) = finish(start(&engine, &launch, Level::Gvisor).await).await;
        assert_eq!(exit, expected, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_the_root_of_the_guest() {
    let home = Home::new();
    let engine = home.engine(1);
    if !able(&engine, "a_directory_is_the_root_of_the_guest") {
        return;
    }
    let Some(root) = rootfs(&home) else {
        return skipped("a_directory_is_the_root_of_the_guest", "no /bin/busybox (package busybox-static)");
    };
    let script = "cat /opt/app/note; touch /opt/app/new 2>/dev/null && echo written; cat /etc/hosts | wc -l";
    for (read_only, written) in [(false, true), (true, false)] {
        let launch = home.launch(&engine, Level::Gvisor, &["/bin/sh", "-c", script]);
        let source = RootSource::Directory(root.clone());
        let launch = Launch { root: Root { source, read_only, ..Root::default() }, ..launch };
        let text = run(&engine, &launch, Level::Gvisor).await;
        assert!(text.starts_with("of the layer\n") && text.ends_with("2\n"), "{text}");
        assert_eq!(text.contains("written"), written, "{text}");
    }
    assert!(!root.join("opt/app/new").exists());
}
