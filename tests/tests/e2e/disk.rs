//! A disk that is full, and has space again.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;

use insula_tests::{Server, is_root, skip, wait_until};

use crate::common::{number, services};

/// Set in the run of a test that has a small disk for its temporary folders.
const SMALL: &str = "INSULA_E2E_SMALL_DISK";
/// Its size. The apps, the database with its `-wal` and a log segment fit in.
const SIZE: &str = "size=64m";

/// Runs this test again, alone, in a mount namespace of its own where the temporary folder is a small disk.
fn on_a_small_disk(test: &str) {
    let folder = tempfile::Builder::new().prefix("insula-disk-").tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o {SIZE},mode=1777 none \"$TMPDIR\" && exec \"$@\"");
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &mount, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("TMPDIR", folder.path())
        .env(SMALL, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // A name that fits no test would be a success of nothing.
    let passed = output.status.success() && said.contains("1 passed");
    assert!(passed, "on a small disk: {said}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Takes all that is left of the disk, to the last byte.
fn fill(path: &Path) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        let error = loop {
            if let Err(error) = file.write_all(&vec![b'x'; size]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    }
}

#[test]
fn a_full_disk_ends_nothing_and_is_got_over_without_a_restart() {
    if !is_root() {
        skip!("only root can mount a small disk");
    }
    if std::env::var_os(SMALL).is_none() {
        return on_a_small_disk("disk::a_full_disk_ends_nothing_and_is_got_over_without_a_restart");
    }
    let quick = "startup_timeout = \"3s\"";
    let server = Server::start(&services(&[("app", "serve", quick, &["a", "b"])]));
    let mut counter = number(&server.get("app:a", "/").expect(200), "counter");
    let (process, worker) = (server.app("app:a"), server.worker());
    server.cli(&["stop", "app:b"]).ok();
    server.wait_observed("app:b", "stopped");
    let ballast = server.place().path().join("ballast");
    fill(&ballast);

    for _ in 0..20 {
        counter += 1;
        assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), counter);
    }
    server.get("app:a", "/log?n=2000&pad=200").expect(200);
    let failed = server.cli(&["spawn", "app:b"]);
    assert_ne!(failed.code, 0, "a start was recorded on a full disk: {failed:?}");
    assert!(failed.stderr.contains("space") || failed.stderr.contains("full"), "{failed:?}");
    server.cli(&["ps"]).ok();

    fs::remove_file(&ballast).unwrap();
    wait_until("it starts again", || (server.cli(&["spawn", "app:b"]).code == 0).then_some(()));
    server.get("app:b", "/").expect(200);
    server.get("app:a", "/log?n=1").expect(200);
    wait_until("the newest line is stored", || {
        server.cli(&["logs", "app:a", "-n", "3"]).ok().stdout.contains("line 2001").then_some(())
    });
    counter += 1;
    assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), counter);
    assert_eq!((server.app("app:a"), server.worker()), (process, worker), "something was started again");
}
