//! Weights of versions: all of a change or nothing, and there after the file is opened again.

use insula_store::{ChangeError, Event, EventKind, EventQuery, Store, Weighing};

use crate::{Home, name, remember};

fn routed() -> Event {
    Event::new(EventKind::Routed, "the test says so")
}

async fn known(store: &Store, names: &[&str]) {
    for text in names {
        remember(store, text).await;
    }
}

async fn weights(store: &Store) -> Vec<(String, u8)> {
    store.versions().await.unwrap().into_iter().map(|row| (row.name.to_string(), row.weight)).collect()
}

fn weighing(weights: &[(&str, u8)]) -> Weighing {
    Weighing { deployed: None, weights: weights.iter().map(|(text, weight)| (name(text), *weight)).collect() }
}

#[tokio::test]
async fn weights_change_together_and_outlive_the_process() {
    let home = Home::new();
    let store = home.open().await;
    known(&store, &["api:v1", "api:v2"]).await;
    let first = Weighing { deployed: Some(name("api:v1")), ..weighing(&[("api:v1", 100)]) };
    store.weigh(first, (&name("api:v1"), routed())).await.unwrap();
    store.weigh(weighing(&[("api:v1", 0), ("api:v2", 100)]), (&name("api:v2"), routed())).await.unwrap();
    let expected = [("api:v1".to_owned(), 0), ("api:v2".to_owned(), 100)];
    assert_eq!(weights(&store).await, expected);
    store.close().await.unwrap();
    let store = home.open().await;
    assert_eq!(weights(&store).await, expected);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_change_with_a_stranger_in_it_changes_nothing() {
    let home = Home::new();
    let store = home.open().await;
    known(&store, &["api:v1"]).await;
    store.weigh(weighing(&[("api:v1", 50)]), (&name("api:v1"), routed())).await.unwrap();
    let refused = store.weigh(weighing(&[("api:v1", 0), ("api:v9", 100)]), (&name("api:v9"), routed())).await;
    assert!(matches!(refused, Err(ChangeError::Unknown(who)) if who == name("api:v9")));
    assert_eq!(weights(&store).await, [("api:v1".to_owned(), 50)]);
    let query = EventQuery { kinds: vec![EventKind::Routed], ..EventQuery::default() };
    assert_eq!(store.events(query).await.unwrap().len(), 1, "a refused change left an event");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_weight_out_of_range_is_refused_by_the_table() {
    let home = Home::new();
    let store = home.open().await;
    known(&store, &["api:v1"]).await;
    assert!(store.weigh(weighing(&[("api:v1", 101)]), (&name("api:v1"), routed())).await.is_err());
    store.weigh(weighing(&[("api:v1", 100)]), (&name("api:v1"), routed())).await.unwrap();
    assert_eq!(weights(&store).await, [("api:v1".to_owned(), 100)]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_version_goes_with_its_instance() {
    let home = Home::new();
    let store = home.open().await;
    known(&store, &["api:v1", "api:v2"]).await;
    store.weigh(weighing(&[("api:v1", 1), ("api:v2", 2)]), (&name("api:v1"), routed())).await.unwrap();
    store.forget(&name("api:v1"), Event::new(EventKind::Forgotten, "old")).await.unwrap();
    assert_eq!(weights(&store).await, [("api:v2".to_owned(), 2)]);
    store.close().await.unwrap();
}
