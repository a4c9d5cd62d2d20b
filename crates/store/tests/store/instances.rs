//! What is known of instances, and their host ids.

use std::time::Duration;

use insula_spec::{IdRange, Level};
use insula_store::{Change, ChangeError, EventKind, IdRangeError, Wanted};

use crate::{Home, event, kinds_of, lines, name, read_seqs, remember};

#[tokio::test]
async fn a_life_is_written_as_it_happens() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    let steps = [
        (Change::none().level(Level::Namespace), EventKind::Level),
        (Change::started("{\"pid\":1}").wanted(Wanted::Up).wake(), EventKind::Woken),
        (Change::started("{\"pid\":2}").restart(), EventKind::Restarted),
        (Change::none(), EventKind::Ready),
    ];
    for (change, kind) in steps {
        store.transition(&alice, change, event(kind)).await.unwrap();
    }
    let row = store.instance(&alice).await.unwrap().unwrap();
    assert_eq!((row.wanted, row.level), (Wanted::Up, Some(Level::Namespace)));
    assert_eq!(row.record.as_deref(), Some("{\"pid\":2}"));
    assert_eq!((row.wakes, row.restarts, row.failed), (1, 1, None));

    store.transition(&alice, Change::failed("too often"), event(EventKind::Failed)).await.unwrap();
    let row = store.instance(&alice).await.unwrap().unwrap();
    assert_eq!((row.record, row.failed.as_deref()), (None, Some("too often")));

    store.transition(&alice, Change::started("{}"), event(EventKind::Spawned)).await.unwrap();
    store.transition(&alice, Change::ended().wanted(Wanted::Asleep), event(EventKind::Slept)).await.unwrap();
    let row = store.instance(&alice).await.unwrap().unwrap();
    assert_eq!((row.wanted, row.record, row.failed), (Wanted::Asleep, None, None));
    assert_eq!((row.wakes, row.restarts), (1, 1));
    use EventKind::{Failed, Level as Lvl, Ready, Remembered, Restarted, Slept, Spawned, Woken};
    let all = [Remembered, Lvl, Woken, Restarted, Ready, Failed, Spawned, Slept];
    assert_eq!(kinds_of(&store, &alice).await, all);
}

#[tokio::test]
async fn an_unknown_instance_cannot_change_and_leaves_no_event() {
    let home = Home::new();
    let store = home.open().await;
    let bob = name("notes:bob");
    let outcome = store.transition(&bob, Change::ended(), event(EventKind::Exited)).await;
    assert!(matches!(outcome, Err(ChangeError::Unknown(who)) if who == bob));
    assert!(kinds_of(&store, &bob).await.is_empty());
    assert!(!store.forget(&bob, event(EventKind::Forgotten)).await.unwrap());
    assert!(kinds_of(&store, &bob).await.is_empty());
}

#[tokio::test]
async fn remembering_twice_changes_nothing() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    store
        .transition(&alice, Change::none().wanted(Wanted::Stopped), event(EventKind::Stopped))
        .await
        .unwrap();
    let row = store.remember(&alice, event(EventKind::Remembered)).await.unwrap();
    assert_eq!(row.wanted, Wanted::Stopped);
    assert_eq!(kinds_of(&store, &alice).await, [EventKind::Remembered, EventKind::Stopped]);
}

#[tokio::test]
async fn forgetting_keeps_events_and_host_ids_but_no_state_and_no_output() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    let range = store.id_range(&alice).await.unwrap();
    store.append_logs(&alice, "k", lines(0..10)).await.unwrap();
    assert!(store.forget(&alice, event(EventKind::Forgotten)).await.unwrap());
    assert!(store.known().await.unwrap().is_empty());
    assert_eq!(kinds_of(&store, &alice).await, [EventKind::Remembered, EventKind::Forgotten]);

    remember(&store, "notes:alice").await;
    assert_eq!(store.id_range(&alice).await.unwrap(), range);
    assert!(read_seqs(&store, &alice).await.is_empty(), "output of the earlier one");
    assert_eq!(store.append_logs(&alice, "k", lines(0..2)).await.unwrap(), 2, "its streams begin anew");
    store.close().await.unwrap();
    let left: i64 = home.stranger().query_row("SELECT count(*) FROM log", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 2, "the forgotten lines are gone from the file");
}

#[tokio::test]
async fn each_name_has_its_own_range_for_ever() {
    let home = Home::new();
    let store = home.open().await;
    let (alice, bob) = (name("notes:alice"), name("notes:bob"));
    let first = store.id_range(&alice).await.unwrap();
    assert_eq!(first.base, 0x1000_0000);
    assert_eq!(store.id_range(&bob).await.unwrap().base, first.base + IdRange::LEN);
    assert_eq!(store.id_range(&alice).await.unwrap(), first);
}

#[tokio::test]
async fn when_all_ranges_are_taken_it_says_so_and_old_ones_still_work() {
    let home = Home::new();
    let store = home.open().await;
    let alice = name("notes:alice");
    let first = store.id_range(&alice).await.unwrap();
    store.close().await.unwrap();
    let last = 0x7FFE_0000_u32 - IdRange::LEN;
    home.stranger().execute("UPDATE meta SET value = ?1 WHERE key = 'next_base'", [last]).unwrap();
    let store = home.open().await;
    assert_eq!(store.id_range(&name("notes:last")).await.unwrap().base, last);
    for _ in 0..2 {
        let outcome = store.id_range(&name("notes:late")).await;
        assert!(matches!(outcome, Err(IdRangeError::Exhausted(_))), "{outcome:?}");
    }
    assert_eq!(store.id_range(&alice).await.unwrap(), first);
}

#[tokio::test]
async fn updated_is_the_time_of_the_event() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    let mut ended = event(EventKind::Exited);
    ended.time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    store.transition(&alice, Change::ended(), ended.clone()).await.unwrap();
    assert_eq!(store.instance(&alice).await.unwrap().unwrap().updated, ended.time);
}
