//! Looking for lines: what is found, in which order, and that nothing a user types is an error of the database.

use std::time::{Duration, SystemTime};

use insula_spec::InstanceName;
use insula_store::{
    Cursor, EventKind, FoundPage, LogBatch, LogFilter, LogLine, LogOrder, Output, Retention, Search, Store,
    Whose,
};
use proptest::prelude::*;

use crate::{Home, event, line, lines, remember};

fn at(micros: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_000 + micros)
}

fn texts(texts: &[&str]) -> LogBatch {
    LogBatch { gap: None, lines: (0..).zip(texts).map(|(seq, text)| line(seq, *text)).collect() }
}

fn of(name: &InstanceName) -> Vec<Whose> {
    vec![Whose::Instance(name.clone())]
}

fn search(text: &str) -> LogFilter {
    LogFilter { search: Some(text.parse().unwrap()), ..LogFilter::default() }
}

fn shown(page: &FoundPage) -> Vec<String> {
    page.lines.iter().map(|l| String::from_utf8_lossy(&l.bytes).into_owned()).collect()
}

async fn found(store: &Store, filter: LogFilter) -> Vec<String> {
    shown(&store.find_logs(filter).await.unwrap())
}

/// Every line that fits, page by page.
async fn all(store: &Store, filter: LogFilter) -> Vec<u64> {
    let (mut filter, mut cursors) = (filter, Vec::new());
    loop {
        let page = store.find_logs(filter.clone()).await.unwrap();
        cursors.extend(page.lines.iter().map(|l| l.cursor.0));
        match (page.next, filter.order) {
            (None, _) => return cursors,
            (next, LogOrder::Newest) => filter.before = next,
            (next, LogOrder::Oldest) => filter.after = next,
        }
    }
}

#[tokio::test]
async fn words_phrases_prefixes_and_exclusions_find_what_they_say() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    let (panic, refused, refusing, cafe) =
        ("Panic at line 3", "connection refused by peer", "refused a connection", "CAFÉ user_id=7");
    store.append_logs(&alice, "k", texts(&[panic, refused, refusing, cafe])).await.unwrap();
    for (text, wanted) in [
        ("panic", vec![panic]),
        ("refused", vec![refusing, refused]),
        ("connection refused", vec![refusing, refused]),
        ("\"connection refused\"", vec![refused]),
        ("refused -peer", vec![refusing]),
        ("conn*", vec![refusing, refused]),
        ("\"refused by\" OR panic", vec![refused, panic]),
        ("cafe", vec![cafe]),
        ("user_id=7", vec![cafe]),
        ("user_id=8", vec![]),
        ("conn", vec![]),
    ] {
        assert_eq!(found(&store, search(text)).await, wanted, "{text}");
    }
}

#[tokio::test]
async fn a_line_that_is_no_text_is_found_by_what_is() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    let batch = LogBatch { gap: None, lines: vec![line(0, b"\xff\xfe needle \0 hay".to_vec())] };
    store.append_logs(&alice, "k", batch).await.unwrap();
    for text in ["needle", "hay"] {
        let page = store.find_logs(search(text)).await.unwrap();
        assert_eq!(page.lines[0].bytes, b"\xff\xfe needle \0 hay", "{text}");
    }
}

#[tokio::test]
async fn filters_narrow_with_and_without_words() {
    let home = Home::new();
    let store = home.open().await;
    let names = [remember(&store, "notes:alice").await, remember(&store, "notes:bob").await];
    let other = remember(&store, "api:v1").await;
    for (n, name) in (0..).zip([&names[0], &names[1], &other]) {
        let mut batch =
            LogBatch { gap: None, lines: (0..4).map(|seq| line(seq, format!("word {n} {seq}"))).collect() };
        batch.lines[3].output = Output::Stderr;
        store.append_logs(name, "k", batch).await.unwrap();
    }
    let service = vec![Whose::Service("notes".parse().unwrap())];
    let unknown = vec![Whose::Instance("notes:eve".parse().unwrap())];
    for search in [None, Some("word".parse::<Search>().unwrap())] {
        let base = LogFilter { search, order: LogOrder::Oldest, ..LogFilter::default() };
        let cases: Vec<(LogFilter, Vec<u64>)> = vec![
            (base.clone(), (1..=12).collect()),
            (LogFilter { whose: of(&names[1]), ..base.clone() }, vec![5, 6, 7, 8]),
            (LogFilter { whose: service.clone(), ..base.clone() }, (1..=8).collect()),
            (LogFilter { whose: unknown.clone(), ..base.clone() }, vec![]),
            (LogFilter { output: Some(Output::Stderr), ..base.clone() }, vec![4, 8, 12]),
            (LogFilter { output: Some(Output::Stderr), whose: of(&other), ..base.clone() }, vec![12]),
            (LogFilter { output: Some(Output::Stdout), whose: of(&other), ..base.clone() }, vec![9, 10, 11]),
            (LogFilter { since: Some(at(2)), until: Some(at(3)), ..base.clone() }, vec![3, 7, 11]),
            (LogFilter { since: Some(at(3)), whose: service.clone(), ..base.clone() }, vec![4, 8]),
            (LogFilter { until: Some(at(0)), ..base.clone() }, vec![]),
            (LogFilter { since: Some(at(4)), ..base.clone() }, vec![]),
            (LogFilter { after: Some(Cursor(3)), before: Some(Cursor(7)), ..base.clone() }, vec![4, 5, 6]),
            (LogFilter { whose: service.clone(), order: LogOrder::Newest, ..base }, (1..=8).rev().collect()),
        ];
        for (filter, wanted) in cases {
            assert_eq!(all(&store, filter.clone()).await, wanted, "{filter:?}");
            let small = LogFilter { limit: Some(1), ..filter };
            assert_eq!(all(&store, small.clone()).await, wanted, "page by page: {small:?}");
        }
    }
}

#[tokio::test]
async fn times_are_found_although_lines_come_late() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    let mut batch = lines(0..20_000);
    // One line of the last zone was read long before it was stored.
    batch.lines[19_999].time = at(100);
    for l in &mut batch.lines[..19_999] {
        l.time = at(l.seq);
    }
    store.append_logs(&alice, "k", batch).await.unwrap();
    let between = |a, b| LogFilter {
        since: Some(at(a)),
        until: Some(at(b)),
        order: LogOrder::Oldest,
        ..LogFilter::default()
    };
    assert_eq!(all(&store, between(100, 102)).await, [101, 102, 20_000]);
    assert_eq!(all(&store, between(15_000, 15_001)).await, [15_001]);
}

#[tokio::test]
async fn a_line_from_the_future_is_stored_as_of_now() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    let late = SystemTime::now() + Duration::from_secs(86_400);
    let future = LogLine { time: late, ..line(0, "x") };
    store.append_logs(&alice, "k", LogBatch { gap: None, lines: vec![future] }).await.unwrap();
    let page = store.find_logs(LogFilter::default()).await.unwrap();
    assert!(page.lines[0].time <= SystemTime::now());
}

#[tokio::test]
async fn what_is_trimmed_or_forgotten_is_not_found_and_leaves_the_index() {
    let home = Home::new();
    let retention = Retention { log_rows: 500, ..Retention::default() };
    let store = home.open_with(retention).await;
    let (alice, bob) = (remember(&store, "notes:alice").await, remember(&store, "notes:bob").await);
    store.append_logs(&bob, "k", lines(0..100)).await.unwrap();
    for n in 0..10 {
        store.append_logs(&alice, "k", lines(n * 100..(n + 1) * 100)).await.unwrap();
    }
    store.next_epoch().await.unwrap();
    assert_eq!(all(&store, search("line")).await.len(), 500);
    store.forget(&alice, event(EventKind::Forgotten)).await.unwrap();
    assert_eq!(found(&store, search("line")).await, [""; 0], "bob's lines were the oldest, alice is gone");
    store.append_logs(&bob, "k", lines(100..101)).await.unwrap();
    store.close().await.unwrap();
    let stranger = home.stranger();
    let indexed: i64 =
        stranger.query_row("SELECT count(*) FROM log_words_docsize", [], |row| row.get(0)).unwrap();
    assert_eq!(indexed, 1);
    let check = "INSERT INTO log_words (log_words) VALUES ('integrity-check')";
    stranger.execute_batch(check).unwrap();
}

/// Makes the file one of before the index: version 2, with the tables of then.
fn without_index(home: &Home) {
    const THEN: [&str; 7] = ["meta", "id_range", "instance", "event", "stream", "log", "log_usage"];
    let stranger = home.stranger();
    let tables: Vec<String> = {
        let sql = "SELECT name FROM pragma_table_list
            WHERE schema = 'main' AND type IN ('table', 'virtual') AND name NOT LIKE 'sqlite%'";
        let mut select = stranger.prepare(sql).unwrap();
        let names = select.query_map([], |row| row.get(0)).unwrap();
        names.collect::<Result<_, _>>().unwrap()
    };
    for table in tables.iter().filter(|table| !THEN.contains(&table.as_str())) {
        stranger.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    }
    let sql = "DELETE FROM meta WHERE key NOT IN ('epoch', 'log_head', 'next_base'); 
        ALTER TABLE instance DROP COLUMN requests; PRAGMA user_version = 2";
    stranger.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn an_older_file_is_indexed_in_steps_and_says_so_meanwhile() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    store.append_logs(&alice, "k", lines(0..10_000)).await.unwrap();
    store.close().await.unwrap();
    without_index(&home);
    let store = home.open().await;
    let mut said = false;
    // Each write lets the writer go on with the next step when it is done.
    loop {
        let page = store.find_logs(search("line")).await.unwrap();
        if !page.incomplete {
            break;
        }
        said = true;
        store.append_logs(&alice, "k", LogBatch::default()).await.unwrap();
    }
    assert!(said || all(&store, search("line")).await.len() == 10_000);
    store.append_logs(&alice, "k", lines(10_000..10_001)).await.unwrap();
    assert_eq!(all(&store, search("line")).await.len(), 10_001);
    assert_eq!(all(&store, LogFilter { since: Some(at(9_999)), ..LogFilter::default() }).await.len(), 2);
    store.close().await.unwrap();
}

#[tokio::test]
async fn lines_that_are_not_indexed_yet_can_go() {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    store.append_logs(&alice, "k", lines(0..5_000)).await.unwrap();
    store.close().await.unwrap();
    without_index(&home);
    let store = home.open_with(Retention { log_rows: 10, ..Retention::default() }).await;
    store.append_logs(&alice, "k", lines(5_000..5_001)).await.unwrap();
    store.next_epoch().await.unwrap();
    let page = store.find_logs(LogFilter::default()).await.unwrap();
    assert_eq!(page.lines.len(), 10);
}

/// Text made of what could mean something, and of anything.
fn anything() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("\"".to_owned()),
        Just("*".to_owned()),
        Just("-".to_owned()),
        Just(" OR ".to_owned()),
        Just("NEAR(".to_owned()),
        Just(")".to_owned()),
        Just("who:".to_owned()),
        Just("^".to_owned()),
        Just("\0".to_owned()),
        Just("+".to_owned()),
        Just("line".to_owned()),
        ".{0,4}",
        "[a-c \u{300}-\u{310}\u{E000}-\u{E003}]{0,4}",
    ];
    proptest::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

#[test]
fn whatever_is_typed_is_a_search_or_refused_and_never_an_error_of_the_database() {
    let rt = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let home = Home::new();
    let store = rt.block_on(home.open());
    let alice = rt.block_on(remember(&store, "notes:alice"));
    rt.block_on(store.append_logs(&alice, "k", lines(0..10))).unwrap();
    let tried = std::cell::Cell::new((0, 0));
    proptest!(ProptestConfig::with_cases(2_000), |(text in anything())| {
        match text.parse::<Search>() {
            Ok(search) => {
                for (whose, output) in [(vec![], None), (of(&alice), Some(Output::Stderr))] {
                    let filter = LogFilter { search: Some(search.clone()), whose, output, ..LogFilter::default() };
                    let found = rt.block_on(store.find_logs(filter));
                    prop_assert!(found.is_ok(), "`{:?}`: {:?}", text, found);
                }
                tried.set((tried.get().0 + 1, tried.get().1));
            }
            Err(error) => {
                prop_assert!(!error.hint().is_empty());
                tried.set((tried.get().0, tried.get().1 + 1));
            }
        }
    });
    let (good, bad) = tried.get();
    assert!(good > 100 && bad > 100, "the texts are too much alike: {good} good, {bad} bad");
    // The same text as it is would be an error of the database, so the test can fail.
    let raw = home.stranger().query_row("SELECT count(*) FROM log_words('who:(')", [], |_| Ok(()));
    assert!(raw.is_err());
    drop(rt.block_on(store.close()));
}
