//! An ordinary user with a subordinate id range: the workload runs under another id than the daemon.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use insula_isolation::{Event, Exit};
use insula_spec::{IdRange, Level};

use crate::support::*;

/// The user of the inner runs, and the first of its subordinate ids.
const USER: u32 = 4243;
const FIRST: u32 = 0x3000_0000;

/// Runs tests of this program again as a user with a subordinate range. The range is there only in a mount
/// namespace of its own, so that the host stays as it is. `None` when that is not possible here.
fn as_user_with_a_range(tests: &[&str]) -> Result<std::process::Output, &'static str> {
    if !root() {
        return Err("cannot become another user");
    }
    if !["/usr/bin/newuidmap", "/usr/bin/newgidmap"].iter().all(|tool| Path::new(tool).exists()) {
        return Err("newuidmap is not installed");
    }
    let dir = tempfile::Builder::new().prefix("range").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::copy(std::env::current_exe().unwrap(), at("walls")).unwrap();
    std::fs::create_dir(at("tmp")).unwrap();
    chown(at("tmp"), Some(USER), Some(USER)).unwrap();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    write(&at("passwd"), &format!("{passwd}ranged:x:{USER}:{USER}::/:/bin/sh\n"));
    write(&at("subuid"), &format!("ranged:{FIRST}:65536\n"));
    write(&at("subgid"), &format!("ranged:{FIRST}:65536\n"));
    let script = "set -e; cd $0; for f in passwd subuid subgid; do [ -e /etc/$f ] || touch /etc/$f; mount --bind $f /etc/$f; done; \
         exec setpriv --reuid=$1 --regid=$1 --clear-groups --inh-caps=-all -- ./walls --nocapture \"${@:2}\"";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", "-c", script])
        .arg(dir.path())
        .arg(USER.to_string())
        .args(tests)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("TMPDIR", at("tmp"))
        .env("INSTA_WORKSPACE_ROOT", dir.path())
        .env("WALLS_RANGED", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ok(output)
}

fn passed(test: &str, tests: &[&str]) {
    match as_user_with_a_range(tests) {
        Err(why) => skipped(test, why),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{text}{errors}");
            assert!(text.contains("test result: ok") && !text.contains(" 0 passed"), "{text}{errors}");
        }
    }
}

#[test]
fn a_subordinate_range_gives_the_workload_another_id() {
    let test = "subordinate::a_subordinate_range_gives_the_workload_another_id";
    passed(test, &["--ignored", "--exact", "subordinate::ranged"]);
}

/// What holds for the others holds for a user with a range.
#[test]
fn everything_else_holds_with_a_subordinate_range_too() {
    let test = "subordinate::everything_else_holds_with_a_subordinate_range_too";
    passed(test, &["--skip", "subordinate", "--skip", "sweep::helper"]);
}

/// The inner half of a test: run by it, as a user with a range.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of other tests"]
async fn ranged() {
    if !has_a_range() {
        return;
    }
    let home = Home::new();
    let engine = home.engine(1);
    let registry = engine.registry();
    let capabilities = registry.backend(Level::Namespace).unwrap().probe().unwrap();
    assert_eq!(capabilities.ids, "one subordinate range");
    assert!(capabilities.notes.iter().any(|note| note.contains("share one subordinate id range")));

    let program = format!(
        "import os\nopen(os.environ['DATA'] + '/kept', 'w').close()\nos.makedirs('/run/insula/junk/deep')\n{SERVER}"
    );
    let mut launch = home.launch(&engine, Level::Namespace, &["python3", "-c", &program]);
    launch.env.push(("DATA".into(), launch.data_dir.display().to_string().into()));
    let mut sandbox = listening(&engine, &launch, Level::Namespace).await;
    assert_eq!(ask(&*sandbox, "hi").await, "1 1000 hi");
    let record = sandbox.record();
    let outside = std::fs::metadata(format!("/proc/{}", record.app_pid)).unwrap().uid();
    let workload = FIRST + IdRange::WORKLOAD - 1;
    assert_eq!((outside, rustix::process::getuid().as_raw()), (workload, USER));
    assert_eq!(std::fs::metadata(&launch.data_dir).unwrap().uid(), workload, "whose data directory");
    // The daemon is another user: it cannot look into a tenant's data, nor the tenant at the daemon.
    assert!(std::fs::read_dir(&launch.data_dir).is_err(), "the daemon can read a tenant's data");

    // A second run finds the data of the first and may change it.
    ask(&*sandbox, "die").await;
    assert_eq!(event(&mut *sandbox).await, Event::Exited(Exit::Code(7)));
    in_time(sandbox.stop(Duration::ZERO)).await;
    home.nothing_left(&record);
    let sandbox = listening(&engine, &launch, Level::Namespace).await;
    let record = sandbox.record();
    assert_eq!(in_time(sandbox.stop(Duration::from_secs(5))).await, Exit::Signal(15));
    home.nothing_left(&record);

    // The control: without a wall it is the daemon's own id.
    let launch = home.launch(&engine, Level::Process, &["sleep", "1000"]);
    let sandbox = start(&engine, &launch, Level::Process).await;
    let outside = std::fs::metadata(format!("/proc/{}", sandbox.record().app_pid)).unwrap().uid();
    assert_eq!(outside, USER);
    in_time(sandbox.stop(Duration::ZERO)).await;
}
