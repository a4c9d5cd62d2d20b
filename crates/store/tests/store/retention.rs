//! What is kept stays within its limits, and is the newest.

use std::time::{Duration, SystemTime};

use insula_store::{Event, EventKind, EventQuery, LogBatch, LogLine, LogQuery, Retention};

use crate::{Home, event, line, lines, name, read_seqs, remember};

fn small() -> Retention {
    Retention {
        events_per_instance: 20,
        events: 100,
        log_bytes_per_instance: 100_000,
        log_rows: 1_500,
        ..Retention::default()
    }
}

#[tokio::test]
async fn an_instance_keeps_its_newest_output() {
    let home = Home::new();
    let store = home.open_with(Retention { log_rows: u64::MAX, ..small() }).await;
    let (alice, bob) = (remember(&store, "notes:alice").await, remember(&store, "notes:bob").await);
    store.append_logs(&bob, "k", lines(0..10)).await.unwrap();
    for n in 0..50 {
        store.append_logs(&alice, "k", lines(n * 100..(n + 1) * 100)).await.unwrap();
    }
    // The trim of the last group is done before the next group begins.
    store.next_epoch().await.unwrap();
    let seqs = read_seqs(&store, &alice).await;
    let bytes: u64 = seqs.iter().map(|seq| format!("line {seq}").len() as u64 + Retention::LINE).sum();
    assert!((80_000..=100_000).contains(&bytes), "{bytes}");
    assert_eq!(seqs, (5000 - seqs.len() as u64..5000).collect::<Vec<_>>());
    assert_eq!(read_seqs(&store, &bob).await.len(), 10, "another one's output stays");
}

#[tokio::test]
async fn empty_lines_count_too() {
    let home = Home::new();
    let store = home.open_with(Retention { log_rows: u64::MAX, ..small() }).await;
    let alice = remember(&store, "notes:alice").await;
    let empty = LogBatch { gap: None, lines: (0..5000).map(|seq| line(seq, "")).collect() };
    store.append_logs(&alice, "k", empty).await.unwrap();
    store.next_epoch().await.unwrap();
    assert!(read_seqs(&store, &alice).await.len() as u64 <= 100_000 / Retention::LINE);
}

#[tokio::test]
async fn all_output_together_is_bounded() {
    let home = Home::new();
    let store = home.open_with(Retention { log_bytes_per_instance: u64::MAX >> 1, ..small() }).await;
    let names = [remember(&store, "notes:alice").await, remember(&store, "notes:bob").await];
    for n in 0..40 {
        let who = &names[usize::try_from(n % 2).unwrap()];
        store.append_logs(who, "k", lines(n * 100..(n + 1) * 100)).await.unwrap();
    }
    store.close().await.unwrap();
    let stranger = home.stranger();
    let one = |sql: &str| stranger.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(one("SELECT count(*) FROM log"), 1_500);
    assert_eq!(one("SELECT max(id) FROM log"), 4_000, "the newest stay");
    assert_eq!(one("SELECT sum(rows) FROM log_usage"), 1_500);
    let bytes = "SELECT sum(octet_length(line) + 64) FROM log";
    assert_eq!(one("SELECT sum(bytes) FROM log_usage"), one(bytes), "the accounts are right");
}

#[tokio::test]
async fn the_bytes_of_all_output_are_bounded_and_what_went_is_counted() {
    let home = Home::new();
    let store = home.open_with(Retention { log_bytes: 50_000, ..Retention::default() }).await;
    let names = [remember(&store, "notes:alice").await, remember(&store, "notes:bob").await];
    for n in 0..40 {
        let who = &names[usize::try_from(n % 2).unwrap()];
        store.append_logs(who, "k", lines(n * 100..(n + 1) * 100)).await.unwrap();
    }
    store.next_epoch().await.unwrap();
    let usage = store.log_usage().await.unwrap();
    assert!((49_800..=50_000).contains(&usage.bytes), "{usage:?}");
    assert_eq!(usage.rows + usage.trimmed, 4_000);
    let kept = read_seqs(&store, &names[1]).await;
    assert_eq!(kept.last(), Some(&3_999), "the newest stay");
}

#[tokio::test]
async fn old_lines_go_by_themselves_and_young_ones_stay() {
    let home = Home::new();
    let age = Duration::from_millis(800);
    let store = home.open_with(Retention { log_age: Some(age), ..Retention::default() }).await;
    let alice = remember(&store, "notes:alice").await;
    // From long ago: they go with the group that stores them.
    store.append_logs(&alice, "k", lines(0..100)).await.unwrap();
    store.next_epoch().await.unwrap();
    assert_eq!(store.log_usage().await.unwrap().rows, 0);
    let young = |seq| LogLine { time: SystemTime::now(), ..line(seq, "young") };
    let stored = LogBatch { gap: None, lines: vec![young(100)] };
    store.append_logs(&alice, "k", stored).await.unwrap();
    store.next_epoch().await.unwrap();
    assert_eq!(store.log_usage().await.unwrap().rows, 1, "it is not old yet");
    // Nothing is written any more: it goes when it is due. The stranger sees the commit that removes it.
    let stranger = home.stranger();
    let left = || stranger.query_row("SELECT count(*) FROM log", [], |row| row.get::<_, i64>(0)).unwrap();
    while left() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.log_usage().await.unwrap().trimmed, 101);
}

#[tokio::test]
async fn a_lowered_limit_takes_effect_at_the_next_start() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    store.append_logs(&alice, "k", lines(0..3000)).await.unwrap();
    store.close().await.unwrap();
    let store = home.open_with(small()).await;
    store.next_epoch().await.unwrap();
    store.close().await.unwrap();
    let store = home.open().await;
    let seqs = read_seqs(&store, &alice).await;
    assert!(seqs.len() <= 1_500 && seqs.last() == Some(&2999), "{}", seqs.len());
}

#[tokio::test]
async fn events_are_bounded_per_instance_and_in_all() {
    let home = Home::new();
    let store = home.open_with(small()).await;
    let alice = name("notes:alice");
    store.note(Some(&name("notes:quiet")), event(EventKind::Failed)).await.unwrap();
    for n in 0..200 {
        store.note(Some(&alice), Event::new(EventKind::Health, n.to_string())).await.unwrap();
    }
    store.next_epoch().await.unwrap();
    let causes =
        |rows: Vec<insula_store::EventRow>| rows.into_iter().map(|row| row.event.cause).collect::<Vec<_>>();
    let of = |who| EventQuery { instance: Some(who), ..EventQuery::default() };
    let kept = causes(store.events(of(alice)).await.unwrap());
    assert!((20..40).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.last().unwrap(), "199");
    assert_eq!(store.events(of(name("notes:quiet"))).await.unwrap().len(), 1, "a quiet one keeps its own");

    for n in 0..300 {
        store.note(Some(&name(&format!("notes:n{n}"))), event(EventKind::Woken)).await.unwrap();
    }
    store.next_epoch().await.unwrap();
    let all = store.events(EventQuery::default()).await.unwrap();
    assert_eq!(all.len(), 100);
    assert_eq!(all.last().unwrap().instance, Some(name("notes:n299")));
}

#[tokio::test]
async fn the_file_does_not_grow_once_its_limits_are_reached() {
    let home = Home::new();
    let store = home.open_with(small()).await;
    let alice = remember(&store, "notes:alice").await;
    let pages = || -> i64 { home.stranger().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap() };
    let mut sizes = Vec::new();
    for round in 0..12 {
        for n in 0..50 {
            let from = (round * 50 + n) * 100;
            store.append_logs(&alice, &format!("walls-{round}"), lines(from..from + 100)).await.unwrap();
            store.note(Some(&alice), event(EventKind::Health)).await.unwrap();
        }
        sizes.push(pages());
    }
    // The index of words gives pages back in merges, a few at a time.
    assert!(sizes[11] <= sizes[3] + sizes[3] / 10, "{sizes:?}");
    let newest = store.logs(LogQuery { tail: Some(1), ..LogQuery::of(alice) }).await.unwrap();
    assert_eq!(newest.rows[0].seq, 59_999);
}

#[tokio::test]
async fn wrong_accounts_do_not_keep_the_writer_busy() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    store.append_logs(&alice, "k", lines(0..10)).await.unwrap();
    store.close().await.unwrap();
    home.stranger().execute_batch("UPDATE log_usage SET rows = 1 << 40, bytes = 1 << 40").unwrap();
    let store = home.open_with(small()).await;
    store.next_epoch().await.unwrap();
    store.close().await.unwrap();
    let left: i64 = home.stranger().query_row("SELECT count(*) FROM log", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0, "what the accounts called too much was removed");
}
