//! What is sent again, and what never is. `connections.rs` and `runs.rs` have the neighbours of these.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::h2_harness::{self, Client};
use crate::harness::{App, Front, get, request, status, within};

/// Answers the first request of each connection, then closes it exactly when the next one has come; counts requests.
async fn closing() -> (App, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let app = App::new(move |_, mut wire| {
        let counter = Arc::clone(&counter);
        async move {
            let head = wire.head().await.unwrap();
            wire.body(&head).await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            if wire.head().await.is_some() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    (app, requests)
}

#[tokio::test]
async fn idempotent_requests_survive_a_connection_that_closes_under_them() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        let (app, requests) = closing().await;
        let front = Front::before(&app).await;
        let mut client = front.client().await;
        client.send(get("/")).await;
        assert_eq!(client.response().await.1, "ok");
        client.send(request(method, "/", "", "")).await;
        let head = client.head().await.unwrap();
        assert_eq!(status(&head), 200, "{method}");
        assert_eq!((requests.load(Ordering::SeqCst), app.connections()), (3, 2), "{method}");
    }
}

#[tokio::test]
async fn the_same_holds_for_streams() {
    let (app, requests) = closing().await;
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(requests.load(Ordering::SeqCst), 3);

    let (app, requests) = closing().await;
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    assert_eq!(client.get("/").await.status, 200);
    let answer = client.ask(h2_harness::request("POST", "/"), "body").await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    assert_eq!(requests.load(Ordering::SeqCst), 2, "a POST was sent twice");
}

#[tokio::test]
async fn what_may_have_had_an_effect_is_sent_once() {
    for (method, fields, body) in
        [("POST", "", ""), ("PATCH", "", ""), ("POST", "Content-Length: 2\r\n", "ab"), ("LOCK", "", "")]
    {
        let (app, requests) = closing().await;
        let front = Front::before(&app).await;
        let mut client = front.client().await;
        client.send(get("/")).await;
        client.response().await;
        client.send(request(method, "/", fields, body)).await;
        let (head, _) = client.response().await;
        assert_eq!(status(&head), 502, "{method}");
        assert_eq!((requests.load(Ordering::SeqCst), app.connections()), (2, 1), "{method} was sent twice");
    }
}

#[tokio::test]
async fn nothing_is_sent_again_once_an_answer_has_begun() {
    for begun in ["H", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let app = App::new(move |_, mut wire| {
            let counter = Arc::clone(&counter);
            async move {
                while wire.head().await.is_some() {
                    if counter.fetch_add(1, Ordering::SeqCst) == 1 {
                        wire.stream.write_all(begun.as_bytes()).await.unwrap();
                        return;
                    }
                    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            }
        })
        .await;
        let front = Front::before(&app).await;
        let mut client = front.client().await;
        client.send(get("/")).await;
        client.response().await;
        client.send(get("/")).await;
        let mut head = client.head().await.unwrap();
        if status(&head) == 100 {
            head = client.head().await.unwrap();
        }
        assert_eq!(status(&head), 502, "{begun:?}");
        assert_eq!(requests.load(Ordering::SeqCst), 2, "{begun:?}: it was sent again");
    }
}

#[tokio::test]
async fn a_workload_that_dies_in_the_middle_of_an_answer_is_not_asked_again() {
    let (go, requests) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (wait, counter) = (Arc::clone(&go), Arc::clone(&requests));
    let app = App::new(move |_, mut wire| {
        let (wait, counter) = (Arc::clone(&wait), Arc::clone(&counter));
        async move {
            wire.head().await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome").await;
            wait.notified().await;
        }
    })
    .await;
    let mut front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(get("/")).await;
    let head = client.head().await.unwrap();
    assert_eq!(client.take(4).await, "some");
    go.notify_one();
    assert!(client.body(&head).await.is_none(), "it looked whole");
    assert_eq!(within(front.told.recv()).await.unwrap().error, Some("answer_cut_short"));
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}
