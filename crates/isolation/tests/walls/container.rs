//! Level `container`: a root file system of its own. What a container is refused, the same attempt is granted
//! where that wall is not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use insula_isolation::{Event, Exit, LaunchError};
use insula_spec::{Launch, Level, Root, RootSource};

use crate::support::*;

/// A root file system of one static program.
pub(crate) fn rootfs(home: &Home) -> Option<PathBuf> {
    let busybox = Path::new("/bin/busybox");
    if !busybox.exists() {
        return None;
    }
    let root = home.path("rootfs");
    for dir in ["bin", "etc", "opt/app"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for name in ["sh", "ls", "cat", "id", "stat", "touch", "mount", "ln", "nc", "test", "wc", "rm", "kill"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nkeeper:x:70:71::/:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nkeepers:x:71:\nextra:x:72:keeper\n").unwrap();
    fs::write(root.join("opt/app/note"), "of the layer\n").unwrap();
    fs::set_permissions(root.join("opt/app"), PermissionsExt::from_mode(0o777)).unwrap();
    fs::set_permissions(root.join("opt/app/note"), PermissionsExt::from_mode(0o666)).unwrap();
    Some(root)
}

/// Runs the test unless there is no static program to put into a root file system.
macro_rules! rootfs_or_skip {
    ($home:expr, $test:literal) => {
        match rootfs(&$home) {
            Some(root) => root,
            None => return skipped($test, "no /bin/busybox (package busybox-static)"),
        }
    };
}

fn in_root(launch: Launch, root: PathBuf) -> Launch {
    Launch { root: Root { source: RootSource::Directory(root), ..Root::default() }, ..launch }
}

fn shell(home: &Home, engine: &insula_isolation::Engine, root: &Path, script: &str) -> Launch {
    in_root(home.launch(engine, Level::Container, &["/bin/sh", "-c", script]), root.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_word_changes_the_level() {
    let home = Home::new();
    let engine = home.engine(1);
    let program = "import os; print(os.getuid(), open('/proc/keys').read() == '')";
    for (level, covered) in [(Level::Namespace, "False"), (Level::Container, "True")] {
        let launch = home.launch(&engine, level, &["python3", "-c", program]);
        let uid = inner_uid(&launch, level);
        let text = run(&engine, &launch, level).await;
        // A key of its own is there in some kernels only; a covered file is always empty.
        assert!(
            text.starts_with(&uid.to_string()) && (covered == "False" || text.contains(covered)),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_the_root_and_is_never_written() {
    let home = Home::new();
    let root = rootfs_or_skip!(home, "a_directory_is_the_root_and_is_never_written");
    let engine = home.engine(1);
    let script = "cat /opt/app/note; echo changed >/opt/app/note; touch /opt/app/new; rm /opt/app/note; \
                  ls /opt/app; ls -d /usr /home 2>/dev/null; cat /proc/1/status | wc -l >/dev/null; id -u";
    let launch = shell(&home, &engine, &root, script);
    let uid = inner_uid(&launch, Level::Container);
    for _ in 0..2 {
        let text = run(&engine, &launch, Level::Container).await;
        assert_eq!(text, format!("of the layer\nnew\n{uid}\n"));
    }
    assert_eq!(fs::read_to_string(root.join("opt/app/note")).unwrap(), "of the layer\n");
    assert!(!root.join("opt/app/new").exists() && !root.join("proc").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_root_refuses_writes_outside_the_places_for_them() {
    let home = Home::new();
    let root = rootfs_or_skip!(home, "a_read_only_root_refuses_writes_outside_the_places_for_them");
    let engine = home.engine(1);
    let script =
        "for p in /opt/app/x /tmp/x /run/x /dev/shm/x \"$DATA/x\"; do touch $p 2>/dev/null && echo $p; done";
    for (read_only, first) in [(true, "/tmp/x"), (false, "/opt/app/x")] {
        let mut launch = shell(&home, &engine, &root, script);
        launch.root.read_only = read_only;
        launch.env.push(("DATA".into(), launch.data_dir.display().to_string().into()));
        let data = launch.data_dir.join("x").display().to_string();
        let text = run(&engine, &launch, Level::Container).await;
        assert_eq!(text.lines().next(), Some(first), "{text}");
        assert!(text.contains("/dev/shm/x") && text.contains(&data), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_of_a_root_file_system_lead_nowhere_else() {
    let home = Home::new();
    let root = rootfs_or_skip!(home, "links_of_a_root_file_system_lead_nowhere_else");
    let engine = home.engine(1);
    // Not below /tmp, which is another one inside.
    let elsewhere = tempfile::tempdir_in("/var/tmp").unwrap();
    let outside = elsewhere.path().to_owned();
    fs::set_permissions(&outside, PermissionsExt::from_mode(0o777)).unwrap();
    // Where the walls are about to make mount points and files.
    symlink(&outside, root.join("run")).unwrap();
    symlink(outside.join("shadow"), root.join("etc/hosts")).unwrap();
    let launch = shell(&home, &engine, &root, "cat /etc/hosts; ls -d /run/insula");
    // Inside there is nothing at the end of these links, so the walls cannot be built; outside there is.
    let refused = try_start(&engine, &launch, Level::Container).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // The same links with an end inside are followed there.
    let inside = root.join(outside.strip_prefix("/").unwrap());
    fs::create_dir_all(&inside).unwrap();
    let text = run(&engine, &launch, Level::Container).await;
    assert!(text.contains("localhost"), "{text}");
    assert_eq!(fs::read_dir(&outside).unwrap().count() + fs::read_dir(&inside).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_user_is_looked_up_inside() {
    let home = Home::new();
    let root = rootfs_or_skip!(home, "a_named_user_is_looked_up_inside");
    if !self::root_or_subordinate() {
        return skipped("a_named_user_is_looked_up_inside", "this user has one id only");
    }
    let engine = home.engine(1);
    let mut launch = shell(&home, &engine, &root, "id; touch $DATA/mine && stat -c %u:%g $DATA/mine");
    launch.env.push(("DATA".into(), launch.data_dir.display().to_string().into()));
    launch.root.user = Some("keeper".into());
    let text = run(&engine, &launch, Level::Container).await;
    assert!(
        text.starts_with("uid=70(keeper) gid=71(keepers) groups=72(extra)") || text.contains("uid=70"),
        "{text}"
    );
    assert!(text.ends_with("70:71\n"), "{text}");
    launch.root.user = Some("nobody-knows".into());
    let refused = try_start(&engine, &launch, Level::Container).await.unwrap_err();
    assert!(format!("{refused:?}").contains("nobody-knows"), "{refused:?}");
}

/// Whether instances have more than one id here.
fn root_or_subordinate() -> bool {
    root()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_holds_what_nobody_may_see_is_refused() {
    let home = Home::new();
    let engine = home.engine(1);
    for dir in [PathBuf::from("/"), home.dir().to_owned()] {
        let launch = in_root(home.launch(&engine, Level::Container, &["true"]), dir);
        match try_start(&engine, &launch, Level::Container).await {
            Err(LaunchError::Walls { source, .. }) => {
                assert!(source.to_string().contains("no workload"), "{source}")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_reached_adopted_and_gone_without_a_trace() {
    let home = Home::new();
    let root = rootfs_or_skip!(home, "a_container_is_reached_adopted_and_gone_without_a_trace");
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let engine = home.engine(1);
    let script = "while true; do echo hello | nc -l -p $PORT >/dev/null; done";
    let launch = shell(&home, &engine, &root, script);
    let mut sandbox = listening(&engine, &launch, Level::Container).await;
    sandbox.commit().await.unwrap();
    let record = sandbox.record();
    assert_eq!(record.level, Level::Container);
    sandbox.detach();
    drop(engine);
    let engine = home.engine(2);
    let adopted = adopt(&engine, &record, 0).await.unwrap();
    let exit = in_time(adopted.sandbox.stop(std::time::Duration::ZERO)).await;
    assert_eq!(exit, Exit::Signal(9));
    home.nothing_left(&record);
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_root_is_not_used_twice() {
    let home = Home::new();
    let root = rootfs_or_skip!(home, "a_fresh_root_is_not_used_twice");
    let engine = home.engine(1);
    for read_only in [false, true] {
        let mut launch = shell(&home, &engine, &root, "touch /opt/app/x; exit 0");
        launch.root.read_only = read_only;
        let mut sandbox = start(&engine, &launch, Level::Container).await;
        while !matches!(event(&mut *sandbox).await, Event::Exited(_)) {}
        let again = in_time(sandbox.relaunch(&launch)).await;
        assert_eq!(again.is_ok(), read_only, "{again:?}");
        in_time(sandbox.stop(std::time::Duration::ZERO)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persistent_root_keeps_what_was_written_for_these_layers() {
    let home = Home::new();
    let root = rootfs_or_skip!(home, "a_persistent_root_keeps_what_was_written_for_these_layers");
    let engine = home.engine(1);
    let script = "cat /opt/app/note; ls /opt/app; echo changed >/opt/app/note; rm -f /opt/app/gone; \
                  touch /opt/app/new; ls \"$DATA/root\" 2>/dev/null; \
                  touch \"$DATA/root/x\" 2>/dev/null && echo reached; exit 0";
    fs::write(root.join("opt/app/gone"), "").unwrap();
    let launch = |root: &Path, persistent| {
        let mut launch = shell(&home, &engine, root, script);
        launch.root.persistent = persistent;
        launch.env.push(("DATA".into(), launch.data_dir.display().to_string().into()));
        launch
    };
    let first = "of the layer\ngone\nnote\n";
    // The control: without the option nothing stays.
    for _ in 0..2 {
        let text = run(&engine, &launch(&root, false), Level::Container).await;
        assert!(text.starts_with(first), "{text}");
    }
    if has_a_range() {
        return refuses_to_keep_a_root(&engine, &launch(&root, true), Level::Container).await;
    }
    assert_eq!(run(&engine, &launch(&root, true), Level::Container).await, first);
    assert_eq!(run(&engine, &launch(&root, true), Level::Container).await, "changed\nnew\nnote\n");
    assert_eq!(fs::read_to_string(root.join("opt/app/note")).unwrap(), "of the layer\n");
    // Other layers begin fresh, and the former changes are found again.
    let other = home.path("another");
    fs::rename(&root, &other).unwrap();
    assert_eq!(run(&engine, &launch(&other, true), Level::Container).await, first);
    fs::rename(&other, &root).unwrap();
    assert!(run(&engine, &launch(&root, true), Level::Container).await.starts_with("changed\n"));
}
