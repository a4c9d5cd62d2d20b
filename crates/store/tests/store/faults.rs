//! Locked or damaged while in use.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use insula_store::{AppendError, LogQuery, Options, ReadError, Store, WriteError};

use crate::{Home, impatient, lines, read_seqs, remember};

#[tokio::test]
async fn a_lock_held_too_long_fails_the_write_and_no_read() {
    let home = Home::new();
    let store = Store::open_with(&home.path(), impatient()).await.unwrap();
    let alice = remember(&store, "notes:alice").await;
    let stranger = home.stranger();
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    let outcome = store.append_logs(&alice, "k", lines(0..1)).await;
    assert!(matches!(&outcome, Err(AppendError::Write(WriteError::Busy { .. }))), "{outcome:?}");
    assert!(outcome.unwrap_err().hint().contains("fuser"));
    assert_eq!(store.known().await.unwrap().len(), 1, "readers do not wait for writers");
    stranger.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.append_logs(&alice, "k", lines(0..1)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_lock_held_shortly_only_delays() {
    let home = Home::new();
    let options = Options { busy_timeout: Duration::from_secs(3600), queue: 2, ..Options::default() };
    let store = Store::open_with(&home.path(), options).await.unwrap();
    let alice = remember(&store, "notes:alice").await;
    let stranger = home.stranger();
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    let writes: Vec<_> = (0..20)
        .map(|n| {
            let (store, alice) = (store.clone(), alice.clone());
            tokio::spawn(async move { store.append_logs(&alice, &format!("k{n}"), lines(0..1)).await })
        })
        .collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(read_seqs(&store, &alice).await.is_empty());
    assert!(writes.iter().all(|write| !write.is_finished()), "answered before its commit");
    stranger.execute_batch("ROLLBACK").unwrap();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    assert_eq!(read_seqs(&store, &alice).await.len(), 20);
}

#[tokio::test]
async fn damage_in_the_output_is_told_and_spares_the_state() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    store.append_logs(&alice, "k", lines(0..5000)).await.unwrap();
    store.close().await.unwrap();
    let root: u64 = home
        .stranger()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'log'", [], |row| row.get(0))
        .unwrap();
    let file = fs::OpenOptions::new().write(true).open(home.path()).unwrap();
    file.write_all_at(&[0xA5; 4096], (root - 1) * 4096).unwrap();
    drop(file);
    let store = home.open().await;
    let outcome = store.logs(LogQuery::of(alice.clone())).await;
    assert!(matches!(outcome, Err(ReadError::Damaged { .. })), "{outcome:?}");
    let outcome = store.append_logs(&alice, "k", lines(5000..5001)).await;
    assert!(matches!(outcome, Err(AppendError::Write(WriteError::Damaged { .. }))), "{outcome:?}");
    assert_eq!(store.known().await.unwrap().len(), 1);
    store.next_epoch().await.unwrap();
}
