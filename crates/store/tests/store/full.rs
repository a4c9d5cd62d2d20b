//! No space left: what cannot be written is refused, what was written stays, and writing goes on by itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use insula_spec::InstanceName;
use insula_store::{AppendError, Change, ChangeError, EventKind, Store, WriteError};

use crate::{Home, event, lines, name, read_seqs, remember};

/// Names the directory in which this test runs again, on a disk of its own.
const CHILD: &str = "INSULA_STORE_TEST_FULL_DISK";

/// Appends until the disk is full; answers how many lines were acknowledged.
async fn fill(store: &Store, who: &InstanceName) -> u64 {
    let mut next = 0;
    loop {
        match store.append_logs(who, "k", lines(next..next + 200)).await {
            Ok(acked) => next = acked,
            Err(AppendError::Write(WriteError::Full { .. })) => return next,
            Err(other) => panic!("{other:?}"),
        }
    }
}

async fn goes_on(store: &Store, who: &InstanceName, acked: u64) {
    assert_eq!(store.append_logs(who, "k", lines(acked..acked + 200)).await.unwrap(), acked + 200);
    let count = acked + 200;
    let tail = insula_store::LogQuery { tail: Some(10_000), ..insula_store::LogQuery::of(who.clone()) };
    let rows = store.logs(tail).await.unwrap().rows;
    assert_eq!(rows.last().unwrap().seq, count - 1);
    assert!(rows.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1), "a line is missing or double");
}

#[tokio::test]
async fn a_full_file_refuses_and_goes_on_once_there_is_room() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    store.limit_size(Some(400 * 1024)).await.unwrap();
    let acked = fill(&store, &alice).await;
    assert!(acked > 0, "there was room for some");
    assert_eq!(
        read_seqs(&store, &alice).await,
        (0..acked).collect::<Vec<_>>(),
        "the refused batch left nothing"
    );
    assert_eq!(store.next_log_seq(&alice, "k").await.unwrap(), acked);
    let change = Change::started("x".repeat(100_000));
    let outcome = store.transition(&alice, change, event(EventKind::Woken)).await;
    assert!(matches!(&outcome, Err(ChangeError::Write(WriteError::Full { .. }))), "{outcome:?}");
    assert!(outcome.unwrap_err().hint().contains("free space"));
    assert_eq!(store.instance(&alice).await.unwrap().unwrap().record, None);
    store.limit_size(None).await.unwrap();
    goes_on(&store, &alice, acked).await;
}

/// With a real file system without space, in a mount namespace of its own.
#[test]
fn a_full_disk_refuses_and_goes_on_once_there_is_room() {
    if let Some(dir) = std::env::var_os(CHILD) {
        tokio::runtime::Runtime::new().unwrap().block_on(on_a_small_disk(Path::new(&dir)));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    if !mounted(dir.path()).args(["true"]).status().is_ok_and(|status| status.success()) {
        println!("skipped: this host lets us mount nothing, not even in a namespace of our own");
        return;
    }
    let test = ["--exact", "full::a_full_disk_refuses_and_goes_on_once_there_is_room", "--nocapture"];
    let mut child = mounted(dir.path());
    let out = child.arg(std::env::current_exe().unwrap()).args(test).env(CHILD, dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "it was mounted for the child alone");
}

/// A command that sees 2 MiB of disk at `dir`; its program and arguments are to be added.
fn mounted(dir: &Path) -> Command {
    let script = "mount -t tmpfs -o size=2m none \"$0\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(dir);
    command
}

async fn on_a_small_disk(dir: &Path) {
    let ballast = dir.join("ballast");
    let store = Store::open(&dir.join("insula.db")).await.unwrap();
    let alice = name("notes:alice");
    store.remember(&alice, event(EventKind::Remembered)).await.unwrap();
    fs::write(&ballast, vec![0; 1024 * 1024]).unwrap();
    let acked = fill(&store, &alice).await;
    assert!(acked > 0, "there was room for some");
    assert_eq!(store.next_log_seq(&alice, "k").await.unwrap(), acked);
    fs::remove_file(&ballast).unwrap();
    goes_on(&store, &alice, acked).await;
    store.close().await.unwrap();
    let store = Store::open(&dir.join("insula.db")).await.unwrap();
    assert_eq!(store.next_log_seq(&alice, "k").await.unwrap(), acked + 200);
}
