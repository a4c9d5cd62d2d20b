//! Requests worth remembering are kept, found, and bounded.

use std::time::{Duration, SystemTime};

use insula_store::{Event, EventKind, EventQuery, RequestQuery, RequestRecord, Whose};

use crate::{Home, name};

fn request(id: u64) -> RequestRecord {
    RequestRecord {
        id: format!("{id:016x}"),
        time: SystemTime::UNIX_EPOCH + Duration::from_micros(1_763_805_600_123_456),
        instance: Some(name(if id.is_multiple_of(2) { "notes:alice" } else { "notes:bob" })),
        method: "GET".into(),
        path: "/a".into(),
        status: 503,
        error: Some("failed".into()),
        waited: Duration::from_micros(7),
        total: Duration::from_micros(u64::from(u32::MAX) + 1),
        bytes_in: 1,
        bytes_out: 2,
        woke: true,
        retried: false,
        skipped: 3,
    }
}

#[tokio::test]
async fn a_request_is_read_back_as_it_was_written() {
    let home = Home::new();
    let store = home.open().await;
    let refused = RequestRecord { instance: None, error: None, retried: true, ..request(9) };
    store.record_requests(vec![request(1), request(2), request(4), refused.clone()]).await.unwrap();
    assert_eq!(store.request("0000000000000002").await.unwrap(), Some(request(2)));
    assert_eq!(store.request("0000000000000009").await.unwrap(), Some(refused));
    assert_eq!(store.request("0000000000000003").await.unwrap(), None);
    let of_alice = store.requests(RequestQuery::of(name("notes:alice"))).await.unwrap();
    assert_eq!(of_alice, [request(4), request(2)]);
    let two = RequestQuery { limit: Some(2), ..RequestQuery::default() };
    assert_eq!(store.requests(two).await.unwrap().len(), 2);
}

#[tokio::test]
async fn requests_are_found_by_service_and_time() {
    let home = Home::new();
    let store = home.open().await;
    let other = RequestRecord { instance: Some(name("notes-2:alice")), ..request(3) };
    let nobody = RequestRecord { instance: None, ..request(5) };
    let later = request(0).time + Duration::from_micros(1);
    let late = RequestRecord { time: later, ..request(6) };
    store
        .record_requests(vec![request(1), request(2), other.clone(), nobody.clone(), late.clone()])
        .await
        .unwrap();
    let notes = Some(Whose::Service("notes".parse().unwrap()));
    let of_notes = RequestQuery { whose: notes.clone(), ..RequestQuery::default() };
    assert_eq!(store.requests(of_notes.clone()).await.unwrap(), [late.clone(), request(2), request(1)]);
    let since = RequestQuery { since: Some(later), ..of_notes };
    assert_eq!(store.requests(since).await.unwrap(), std::slice::from_ref(&late));
    let all = store.requests(RequestQuery::default()).await.unwrap();
    assert_eq!(all, [late, nobody, other, request(2), request(1)]);
}

#[tokio::test]
async fn a_flood_takes_no_more_room_than_is_given_and_none_from_events() {
    let home = Home::new();
    let store = home.open().await;
    store.note(None, Event::new(EventKind::WorkerStarted, "first")).await.unwrap();
    for chunk in 0..22 {
        let records = (0..1000).map(|n| request(chunk * 1000 + n)).collect();
        store.record_requests(records).await.unwrap();
    }
    assert!(store.request(&format!("{:016x}", 1999)).await.unwrap().is_none());
    assert!(store.request(&format!("{:016x}", 2000)).await.unwrap().is_some());
    assert_eq!(store.events(EventQuery::default()).await.unwrap().len(), 1);
    let rows: i64 = home.stranger().query_row("SELECT count(*) FROM request", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 20_000);
}

#[tokio::test]
async fn a_long_path_is_cut_between_characters() {
    let home = Home::new();
    let store = home.open().await;
    let record = RequestRecord { path: format!("/{}", "ä".repeat(1000)), ..request(1) };
    store.record_requests(vec![record]).await.unwrap();
    let path = store.request(&request(1).id).await.unwrap().unwrap().path;
    assert!(path.len() <= 1024 && path.ends_with('ä'), "{} bytes", path.len());
}

#[tokio::test]
async fn the_key_of_a_home_stays_and_is_its_own() {
    let (home, other) = (Home::new(), Home::new());
    let store = home.open().await;
    let key = store.request_key().await.unwrap();
    assert_eq!(store.request_key().await.unwrap(), key);
    store.close().await.unwrap();
    assert_eq!(home.open().await.request_key().await.unwrap(), key);
    assert_ne!(other.open().await.request_key().await.unwrap(), key);
}

#[tokio::test]
async fn nothing_waits_when_all_was_answered() {
    let home = Home::new();
    let store = home.open().await;
    store.record_requests(vec![request(1)]).await.unwrap();
    assert_eq!(store.queued(), 0);
}
