//! A bound on what a tenant stores. Needs root, loop devices and e2fsprogs, but for the last claims.

use std::fs;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use insula_isolation::{DiskPlace, DiskProbe, ImageError, LaunchError, Mechanism};
use insula_spec::{ByteSize, DiskMode, Launch, Level, Limits};

use crate::support::*;

const LIMIT: ByteSize = ByteSize::mib(16);

/// Writes until it cannot; says how many MiB were written, and why it ended.
const FILL: &str = "
import os, sys
n = 0
with open(sys.argv[1] + '/fill', 'wb', buffering=0) as out:
    try:
        while n < 40:
            out.write(bytes(1 << 20)); os.fsync(out); n += 1
    except OSError as e:
        print(n, os.strerror(e.errno))
    else:
        print(n, 'all')
";

/// What lies there, and which mounts it is on.
const LIST: &str = "
import os, sys
print(sorted(os.listdir(sys.argv[1])), os.stat(sys.argv[1]).st_uid, os.stat(sys.argv[1]).st_mode & 0o777)
";

fn limited(home: &Home, engine: &insula_isolation::Engine, tenant: &str, program: &str) -> Launch {
    let data = home.path("data/app").join(tenant).display().to_string();
    let argv = ["python3", "-c", program, &data];
    let launch = home.launch_for(engine, Level::Namespace, tenant, &argv);
    let limits = Limits { disk: Some(LIMIT), disk_mode: DiskMode::Hard, ..Limits::default() };
    Launch { limits, ..launch }
}

fn place(launch: &Launch) -> DiskPlace<'_> {
    DiskPlace { dir: &launch.data_dir, limits: launch.limits, walled: true, ids: launch.ids }
}

fn used(launch: &Launch) -> u64 {
    let used = place(launch).measure(LONG, &AtomicBool::new(false)).unwrap();
    assert!(used.complete);
    used.used
}

/// Whether this host can; if not, a line that says so.
fn images(test: &str) -> bool {
    let found = DiskProbe::of(&std::env::temp_dir()).image;
    if let Err(why) = &found {
        skipped(&format!("disk::{test}"), why);
    }
    found.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_beyond_the_limit_is_told_there_is_no_space_and_nobody_else_is() {
    if !images("who_writes_beyond_the_limit_is_told_there_is_no_space_and_nobody_else_is") {
        return;
    }
    let home = Home::new();
    let engine = home.engine(1);
    let alice = limited(&home, &engine, "alice", FILL);
    let said = run(&engine, &alice, Level::Namespace).await;
    assert!(["15 No space left", "16 No space left"].iter().any(|all| said.starts_with(all)), "{said}");
    assert_eq!(place(&alice).hold().unwrap().mechanism, Mechanism::Image);
    assert!(used(&alice) > 15 << 20, "{}", used(&alice));
    let bob = limited(&home, &engine, "bob", LIST);
    let said = run(&engine, &bob, Level::Namespace).await;
    assert_eq!(said, "[] 1000 448\n", "a neighbour has an empty directory of its own");
    let free = Launch { limits: Limits::default(), ..limited(&home, &engine, "carol", FILL) };
    assert_eq!(run(&engine, &free, Level::Namespace).await, "40 all\n", "the control was limited");
    assert!(used(&free) >= 40 << 20);
    let again = limited(&home, &engine, "alice", LIST);
    assert_eq!(run(&engine, &again, Level::Namespace).await, "['fill'] 1000 448\n");
    let unlimited = Launch { limits: Limits::default(), ..limited(&home, &engine, "alice", LIST) };
    assert_eq!(run(&engine, &unlimited, Level::Namespace).await, "['fill'] 1000 448\n", "without the key");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_had_before_is_there_and_the_host_sees_no_mount() {
    if !images("what_a_tenant_had_before_is_there_and_the_host_sees_no_mount") {
        return;
    }
    let home = Home::new();
    let engine = home.engine(1);
    let data = home.path("data/app/alice");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("before"), "kept").unwrap();
    let mut alice = limited(&home, &engine, "alice", "");
    alice.argv = ["python3", "-c", SERVER].map(str::to_owned).to_vec();
    let mut sandbox = listening(&engine, &alice, Level::Namespace).await;
    sandbox.commit().await.unwrap();
    let record = sandbox.record();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&home.dir().display().to_string()), "{mounts}");
    let inside = fs::read_to_string(format!("/proc/{}/mountinfo", record.app_pid)).unwrap();
    let mount = inside.lines().find(|line| line.contains("/data/app/alice")).unwrap();
    assert!(mount.contains("nosuid") && mount.contains("nodev") && mount.contains("/dev/loop"), "{mount}");
    let content = format!("/proc/{}/root{}/before", record.app_pid, data.display());
    assert_eq!(fs::read_to_string(content).unwrap(), "kept");
    assert!(used(&alice) > 0);
    drop((sandbox, engine));

    let engine = home.engine(2);
    let adopted = adopt(&engine, &record, 0).await.unwrap();
    assert_eq!(ask(&*adopted.sandbox, "x").await, "1 1000 x");
    in_time(adopted.sandbox.stop(Duration::ZERO)).await;
    home.nothing_left(&record);
    let image = home.path("data/app/.quota/alice.ext4");
    assert!(insula_linux::quota::loops::Device::is_gone(&image, LONG).unwrap(), "a device is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_below_what_is_there_is_refused_or_waits_as_asked() {
    if !images("a_limit_below_what_is_there_is_refused_or_waits_as_asked") {
        return;
    }
    let home = Home::new();
    let engine = home.engine(1);
    let free = Launch { limits: Limits::default(), ..limited(&home, &engine, "alice", FILL) };
    run(&engine, &free, Level::Namespace).await;
    let mut launch = limited(&home, &engine, "alice", LIST);
    let refused = try_start(&engine, &launch, Level::Namespace).await.unwrap_err();
    assert!(matches!(refused, LaunchError::Disk(ImageError::TooSmall { .. })), "{refused:?}");
    assert!(refused.hint().contains("disk_limit"), "{}", refused.hint());
    launch.limits.disk_mode = DiskMode::Auto;
    assert_eq!(run(&engine, &launch, Level::Namespace).await, "['fill'] 1000 448\n");
    assert!(launch.data_dir.join("fill").exists(), "what is too much was moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_hard_can_be_had_hard_is_refused_and_auto_is_soft() {
    let home = Home::new();
    let engine = home.engine(1);
    let level = if root() { Level::Process } else { Level::Namespace };
    let mut launch = home.launch(&engine, level, &["true"]);
    launch.limits = Limits { disk: Some(LIMIT), disk_mode: DiskMode::Hard, ..Limits::default() };
    let refused = try_start(&engine, &launch, level).await.unwrap_err();
    let unenforceable = matches!(refused, LaunchError::Unenforceable { what: "disk_limit", .. });
    assert!(unenforceable && refused.hint().contains("disk_limit_mode"), "{refused:?}");
    for mode in [DiskMode::Auto, DiskMode::Soft] {
        launch.limits.disk_mode = mode;
        run(&engine, &launch, level).await;
        let walled = level == Level::Namespace;
        let hold = DiskPlace { walled, ..place(&launch) }.hold().unwrap();
        assert_eq!(hold.mechanism, Mechanism::Soft);
        assert_eq!(hold.why.is_empty(), mode == DiskMode::Soft, "{hold:?}");
    }
}
