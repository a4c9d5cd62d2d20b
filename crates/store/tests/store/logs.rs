//! Captured output: once each, in order, with gaps told.

use insula_store::{
    AppendError, Cursor, EventKind, EventQuery, LogBatch, LogGap, LogQuery, LogRow, Output, Store,
};

use crate::{Home, kinds_of, line, lines, name, read, read_seqs, remember};

async fn gaps(store: &Store) -> Vec<(u64, u64, u64)> {
    let query = EventQuery { kinds: vec![EventKind::LogGap], ..EventQuery::default() };
    let rows = store.events(query).await.unwrap();
    let number = |row: &insula_store::EventRow, key: &str| row.event.detail[key].as_u64().unwrap();
    rows.iter().map(|row| (number(row, "from"), number(row, "next"), number(row, "lost"))).collect()
}

#[tokio::test]
async fn a_line_is_read_back_byte_for_byte() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    let texts: [&[u8]; 5] =
        [b"", "ünïcode \u{1F600}".as_bytes(), b"\xff\xfe not text", b"nul \0 inside", &[b'x'; 16384]];
    let mut sent: Vec<_> = (0..).zip(texts).map(|(seq, text)| line(seq, text)).collect();
    sent[2].output = Output::Stderr;
    let batch = LogBatch { gap: None, lines: sent.clone() };
    assert_eq!(store.append_logs(&alice, "k", batch).await.unwrap(), 5);
    let page = read(&store, &alice).await;
    let wanted: Vec<_> = sent
        .into_iter()
        .zip(1..)
        .map(|(l, id)| LogRow {
            cursor: Cursor(id),
            seq: l.seq,
            time: l.time,
            output: l.output,
            bytes: l.bytes,
        })
        .collect();
    assert_eq!(page.rows, wanted);
}

#[tokio::test]
async fn a_line_delivered_again_is_stored_once() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    assert_eq!(store.append_logs(&alice, "k", lines(0..5)).await.unwrap(), 5);
    assert_eq!(store.append_logs(&alice, "k", lines(0..5)).await.unwrap(), 5);
    assert_eq!(store.append_logs(&alice, "k", lines(3..8)).await.unwrap(), 8);
    assert_eq!(read_seqs(&store, &alice).await, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(
        store.append_logs(&alice, "other", lines(0..2)).await.unwrap(),
        2,
        "other walls, other numbers"
    );
    assert_eq!(read_seqs(&store, &alice).await.len(), 10);
    assert!(gaps(&store).await.is_empty());
}

#[tokio::test]
async fn a_gap_is_an_event_and_is_counted_once() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    store.append_logs(&alice, "k", lines(0..2)).await.unwrap();
    let told = LogBatch { gap: Some(LogGap { from: 2, to: 10 }), ..lines(10..12) };
    for _ in 0..2 {
        assert_eq!(store.append_logs(&alice, "k", told.clone()).await.unwrap(), 12);
    }
    assert_eq!(gaps(&store).await, [(2, 10, 8)].map(|(from, _, lost)| (from, 12, lost)));
    assert_eq!(read_seqs(&store, &alice).await, [0, 1, 10, 11]);
    let alone = LogBatch { gap: Some(LogGap { from: 12, to: 15 }), lines: Vec::new() };
    assert_eq!(store.append_logs(&alice, "k", alone).await.unwrap(), 15);
    assert_eq!(store.next_log_seq(&alice, "k").await.unwrap(), 15);
    let untold = lines([16, 18]);
    assert_eq!(store.append_logs(&alice, "k", untold).await.unwrap(), 19);
    assert_eq!(gaps(&store).await, [(2, 12, 8), (12, 15, 3), (15, 19, 2)]);
}

#[tokio::test]
async fn output_of_an_unknown_instance_and_absurd_numbers_are_refused() {
    let home = Home::new();
    let store = home.open().await;
    let bob = name("notes:bob");
    let outcome = store.append_logs(&bob, "k", lines(0..1)).await;
    assert!(matches!(outcome, Err(AppendError::Unknown(_))));
    remember(&store, "notes:bob").await;
    for seq in [u64::MAX, i64::MAX as u64] {
        let outcome = store.append_logs(&bob, "k", lines([seq])).await;
        assert!(matches!(outcome, Err(AppendError::Sequence { .. })), "{outcome:?}");
    }
    let outcome =
        store.append_logs(&bob, "k", LogBatch { gap: Some(LogGap { from: 0, to: u64::MAX }), lines: vec![] });
    assert!(matches!(outcome.await, Err(AppendError::Sequence { .. })));
    assert_eq!(store.append_logs(&bob, "k", lines([i64::MAX as u64 - 1])).await.unwrap(), i64::MAX as u64);
    assert_eq!(kinds_of(&store, &bob).await, [EventKind::Remembered, EventKind::LogGap]);
}

#[tokio::test]
async fn many_walls_leave_few_places() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    for n in 0..40 {
        store.append_logs(&alice, &format!("walls-{n}"), lines(0..1)).await.unwrap();
    }
    let kept: i64 = home.stranger().query_row("SELECT count(*) FROM stream", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 16);
    assert_eq!(store.next_log_seq(&alice, "walls-39").await.unwrap(), 1);
    assert_eq!(store.next_log_seq(&alice, "walls-24").await.unwrap(), 1);
    assert_eq!(store.next_log_seq(&alice, "walls-0").await.unwrap(), 0);
}

#[tokio::test]
async fn pages_join_without_gap_or_repeat() {
    let home = Home::new();
    let store = home.open().await;
    let (alice, bob) = (remember(&store, "notes:alice").await, remember(&store, "notes:bob").await);
    for n in 0..10 {
        store.append_logs(&alice, "k", lines(n * 3..n * 3 + 3)).await.unwrap();
        store.append_logs(&bob, "k", lines(n..n + 1)).await.unwrap();
    }
    let (mut seqs, mut after) = (Vec::new(), None);
    for _ in 0..6 {
        let query = LogQuery { after, limit: Some(7), ..LogQuery::of(alice.clone()) };
        let page = store.logs(query).await.unwrap();
        after = Some(page.next);
        seqs.extend(page.rows.iter().map(|row| row.seq));
    }
    assert_eq!(seqs, (0..30).collect::<Vec<_>>());
    let nothing = LogQuery { limit: Some(0), ..LogQuery::of(alice) };
    assert_eq!(store.logs(nothing).await.unwrap().next, Cursor(0), "a page of none goes nowhere");
}

#[tokio::test]
async fn a_page_is_bounded_in_bytes() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    let big = |seqs: std::ops::Range<u64>| LogBatch {
        gap: None,
        lines: seqs.map(|n| line(n, vec![b'x'; 16384])).collect(),
    };
    store.append_logs(&alice, "k", big(0..400)).await.unwrap();
    let first = read(&store, &alice).await;
    let bytes: usize = first.rows.iter().map(|row| row.bytes.len()).sum();
    assert!((3 << 20..=5 << 20).contains(&bytes), "{bytes}");
    let rest = store.logs(LogQuery { after: Some(first.next), ..LogQuery::of(alice) }).await.unwrap();
    assert_eq!(first.rows.len() + rest.rows.len(), 400);
    assert_eq!(rest.rows[0].seq, first.rows.last().unwrap().seq + 1);
}

#[tokio::test]
async fn a_tail_is_the_newest_and_following_goes_on_from_it() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    store.append_logs(&alice, "k", lines(0..10)).await.unwrap();
    let tail = |n| LogQuery { tail: Some(n), ..LogQuery::of(alice.clone()) };
    let page = store.logs(tail(3)).await.unwrap();
    assert_eq!(page.rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [7, 8, 9]);
    let none = store.logs(tail(0)).await.unwrap();
    assert!(none.rows.is_empty());
    assert_eq!(none.next, page.next);

    let mut heads = store.follow();
    heads.borrow_and_update();
    let writer = store.clone();
    let who = alice.clone();
    let task = tokio::spawn(async move { writer.append_logs(&who, "k", lines(10..12)).await });
    heads.changed().await.unwrap();
    let more = store.logs(LogQuery { after: Some(page.next), ..LogQuery::of(alice.clone()) }).await.unwrap();
    assert_eq!(more.rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [10, 11]);
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn one_stream_can_be_read_alone() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    let mut batch = lines(0..6);
    batch.lines.iter_mut().filter(|l| l.seq % 2 == 1).for_each(|l| l.output = Output::Stderr);
    store.append_logs(&alice, "k", batch).await.unwrap();
    let query = LogQuery { output: Some(Output::Stderr), tail: Some(2), ..LogQuery::of(alice) };
    let page = store.logs(query).await.unwrap();
    assert_eq!(page.rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [3, 5]);
}

#[tokio::test]
async fn cursors_are_never_reused() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    store.append_logs(&alice, "k", lines(0..5)).await.unwrap();
    let before = read(&store, &alice).await.next;
    store.forget(&alice, crate::event(EventKind::Forgotten)).await.unwrap();
    store.close().await.unwrap();
    let left: i64 = home.stranger().query_row("SELECT count(*) FROM log", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    let store = home.open().await;
    remember(&store, "notes:alice").await;
    store.append_logs(&alice, "k", lines(0..1)).await.unwrap();
    assert!(read(&store, &alice).await.rows[0].cursor > before);
}
