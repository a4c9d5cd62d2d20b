//! The event log answers what it is asked.

use std::time::{Duration, SystemTime};

use insula_store::{Event, EventKind, EventQuery, EventRow, Store};
use serde_json::json;

use crate::{Home, name};

async fn ask(store: &Store, query: EventQuery) -> Vec<u64> {
    store.events(query).await.unwrap().iter().map(|row| row.id).collect()
}

/// Six events, ids 1 to 6, a second apart: alice, bob, home, alice, ...
async fn six(store: &Store) -> SystemTime {
    let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    for n in 0..6_u64 {
        let who = [Some(name("notes:alice")), Some(name("notes:bob")), None];
        let kind = if n < 3 { EventKind::Woken } else { EventKind::Slept };
        let mut event = Event::new(kind, format!("cause {n}"));
        event.time = begin + Duration::from_secs(n);
        store.note(who[usize::try_from(n % 3).unwrap()].as_ref(), event).await.unwrap();
    }
    begin
}

#[tokio::test]
async fn queries_select_order_and_limit() {
    let home = Home::new();
    let store = home.open().await;
    let begin = six(&store).await;
    let all = EventQuery::default;
    assert_eq!(ask(&store, all()).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(ask(&store, EventQuery { newest_first: true, limit: Some(2), ..all() }).await, [6, 5]);
    assert_eq!(ask(&store, EventQuery { limit: Some(2), ..all() }).await, [1, 2]);
    assert_eq!(ask(&store, EventQuery { instance: Some(name("notes:bob")), ..all() }).await, [2, 5]);
    assert_eq!(ask(&store, EventQuery { kinds: vec![EventKind::Slept], ..all() }).await, [4, 5, 6]);
    assert_eq!(ask(&store, EventQuery { kinds: vec![EventKind::Lost], ..all() }).await, [] as [u64; 0]);
    let since = Some(begin + Duration::from_secs(4));
    assert_eq!(ask(&store, EventQuery { since, ..all() }).await, [5, 6]);
    assert_eq!(ask(&store, EventQuery { after: Some(3), limit: Some(1), ..all() }).await, [4]);
    let both = EventQuery { instance: Some(name("notes:alice")), kinds: vec![EventKind::Woken], ..all() };
    assert_eq!(ask(&store, both).await, [1]);
}

#[tokio::test]
async fn an_event_is_read_back_as_it_was_written() {
    let home = Home::new();
    let store = home.open().await;
    let mut event = Event::new(EventKind::Refused, "`memory` cannot be set: \"no cgroup\"\n")
        .detail(json!({"what": "memory", "n": [1, null]}))
        .request("req-1");
    event.time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_763_805_600_123_456);
    store.note(Some(&name("notes:alice")), event.clone()).await.unwrap();
    let read = store.events(EventQuery::default()).await.unwrap();
    assert_eq!(read, [EventRow { id: 1, instance: Some(name("notes:alice")), event }]);
}

#[tokio::test]
async fn a_follower_hears_of_events() {
    let home = Home::new();
    let store = home.open().await;
    let mut heads = store.follow();
    let before = heads.borrow_and_update().event;
    store.note(None, Event::new(EventKind::Swept, "nothing")).await.unwrap();
    heads.changed().await.unwrap();
    assert_eq!(heads.borrow().event, before + 1);
}
