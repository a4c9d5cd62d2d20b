//! A file is opened alone, whole and of a known version, or refused and left as it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use insula_store::{EventKind, OpenError, Store, WriteError};

use crate::{Home, event, impatient, lines, name, remember};

async fn refused(home: &Home) -> OpenError {
    let before = fs::read(home.path()).unwrap_or_default();
    let error = Store::open_with(&home.path(), impatient()).await.unwrap_err();
    assert_eq!(fs::read(home.path()).unwrap_or_default(), before, "the file was touched");
    assert!(error.hint().contains(home.path().to_str().unwrap()), "{}", error.hint());
    error
}

#[tokio::test]
async fn a_new_file_is_readable_by_its_owner_only() {
    let home = Home::new();
    let store = home.open().await;
    remember(&store, "notes:alice").await;
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mode = fs::metadata(home.beside(suffix)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "insula.db{suffix}");
    }
    store.close().await.unwrap();
    assert!(!home.beside("-wal").exists() && !home.beside(".new").exists());
}

#[tokio::test]
async fn a_mode_that_became_too_wide_is_narrowed() {
    let home = Home::new();
    home.open().await.close().await.unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let _store = home.open().await;
    assert_eq!(fs::metadata(home.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    let range = store.id_range(&alice).await.unwrap();
    store.append_logs(&alice, "k", lines(0..3)).await.unwrap();
    store.close().await.unwrap();
    let store = home.open().await;
    assert_eq!(store.id_range(&alice).await.unwrap(), range);
    assert_eq!(store.next_log_seq(&alice, "k").await.unwrap(), 3);
    assert_eq!(store.known().await.unwrap().len(), 1);
}

#[tokio::test]
async fn epochs_grow_across_restarts() {
    let home = Home::new();
    let mut last = 0;
    for _ in 0..3 {
        let store = home.open().await;
        for _ in 0..2 {
            let epoch = store.next_epoch().await.unwrap();
            assert!(epoch > last, "{epoch} after {last}");
            last = epoch;
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_second_daemon_is_refused_until_the_first_closes() {
    let home = Home::new();
    let first = home.open().await;
    assert!(matches!(refused(&home).await, OpenError::Locked { .. }));
    first.close().await.unwrap();
    Store::open_with(&home.path(), impatient()).await.unwrap();
}

#[tokio::test]
async fn a_second_daemon_takes_over_as_soon_as_the_first_closes() {
    let home = Home::new();
    let first = home.open().await;
    let path = home.path();
    let second = tokio::spawn(async move { Store::open(&path).await });
    first.close().await.unwrap();
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_write_lock_held_by_a_stranger_is_refused_as_locked() {
    let home = Home::new();
    home.open().await.close().await.unwrap();
    let stranger = home.stranger();
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(refused(&home).await, OpenError::Locked { .. }));
    stranger.execute_batch("ROLLBACK").unwrap();
    Store::open_with(&home.path(), impatient()).await.unwrap();
}

#[tokio::test]
async fn a_truncated_file_is_refused_and_left_alone() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    store.append_logs(&alice, "k", lines(0..5000)).await.unwrap();
    store.close().await.unwrap();
    let whole = fs::read(home.path()).unwrap();
    for keep in [0, 1, 100, 4096, 3 * 4096, whole.len() / 2, whole.len() - 1] {
        fs::write(home.path(), &whole[..keep]).unwrap();
        let error = refused(&home).await;
        assert!(matches!(error, OpenError::Corrupt { .. }), "{keep} bytes: {error:?}");
        assert!(error.hint().contains("lost"), "{}", error.hint());
    }
    fs::write(home.path(), &whole).unwrap();
    assert_eq!(home.open().await.next_log_seq(&alice, "k").await.unwrap(), 5000, "whole again");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let home = Home::new();
    for garbage in [b"x".repeat(10), b"not a database".repeat(1000)] {
        fs::write(home.path(), garbage).unwrap();
        assert!(matches!(refused(&home).await, OpenError::Corrupt { .. }));
    }
}

#[tokio::test]
async fn damage_inside_the_state_is_found_at_the_start() {
    let home = Home::new();
    let store = home.open().await;
    remember(&store, "notes:alice").await;
    store.close().await.unwrap();
    let stranger = home.stranger();
    let root: u64 = stranger
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'instance'", [], |row| row.get(0))
        .unwrap();
    drop(stranger);
    let mut bytes = fs::read(home.path()).unwrap();
    let page = usize::try_from((root - 1) * 4096).unwrap();
    bytes[page..page + 4096].fill(0xA5);
    fs::write(home.path(), bytes).unwrap();
    assert!(matches!(refused(&home).await, OpenError::Corrupt { .. }));
}

#[tokio::test]
async fn the_database_of_another_program_is_refused() {
    let home = Home::new();
    home.stranger().execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").unwrap();
    assert!(matches!(refused(&home).await, OpenError::Corrupt { .. }));
}

#[tokio::test]
async fn a_lost_main_file_beside_its_log_is_not_silently_replaced() {
    let home = Home::new();
    fs::write(home.beside("-wal"), b"frames").unwrap();
    assert!(matches!(refused(&home).await, OpenError::Corrupt { .. }));
    assert!(!home.path().exists());
}

#[tokio::test]
async fn a_newer_file_is_refused() {
    let home = Home::new();
    home.open().await.close().await.unwrap();
    home.stranger().pragma_update(None, "user_version", 999).unwrap();
    let error = refused(&home).await;
    assert!(matches!(error, OpenError::TooNew { found: 999, .. }), "{error:?}");
}

#[tokio::test]
async fn a_creation_that_was_cut_short_is_begun_anew() {
    let home = Home::new();
    fs::write(home.beside(".new"), b"half").unwrap();
    fs::write(home.beside(".new-wal"), b"half").unwrap();
    remember(&home.open().await, "notes:alice").await;
    assert!(!home.beside(".new").exists() && !home.beside(".new-wal").exists());
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_an_io_error() {
    let home = Home::new();
    let path = home.dir.path().join("missing").join("insula.db");
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
}

#[tokio::test]
async fn closing_answers_what_waits_and_refuses_what_comes_later() {
    let home = Home::new();
    let store = home.open().await;
    let writes: Vec<_> = (0..50)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.next_epoch().await })
        })
        .collect();
    let mut followed = store.follow();
    let clone = store.clone();
    store.close().await.unwrap();
    for write in writes {
        let outcome = write.await.unwrap();
        assert!(matches!(outcome, Ok(_) | Err(WriteError::Closed)), "{outcome:?}");
    }
    let late = clone.remember(&name("notes:late"), event(EventKind::Remembered)).await;
    assert!(matches!(late, Err(WriteError::Closed)));
    assert!(clone.known().await.is_err());
    while followed.changed().await.is_ok() {}
    clone.close().await.unwrap();
}
