//! Connections: kept, reused, repeated, cancelled, drained.

use std::sync::Arc;
use std::time::Duration;

use insula_edge::public::Settings;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, mpsc};

use crate::harness::{App, Front, get, header, request, status, within};

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let (app, _seen) = App::echo().await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    for n in 0..20 {
        client.send(request("POST", &format!("/{n}"), "Content-Length: 2\r\n", "ab")).await;
        assert_eq!(client.response().await.1, format!("/{n} ab"));
    }
    assert_eq!(app.connections(), 1, "each request made its own connection");
}

#[tokio::test]
async fn a_connection_to_the_workload_is_shared_by_clients() {
    let (app, _seen) = App::echo().await;
    let front = Front::before(&app).await;
    for says_so in [true, false, true, false] {
        let mut client = front.client().await;
        client.send(request("GET", "/", if says_so { "Connection: close\r\n" } else { "" }, "")).await;
        assert_eq!(status(&client.response().await.0), 200);
        if !says_so {
            client.stream.shutdown().await.unwrap();
        }
        assert_eq!(client.rest().await, "");
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (app, _seen) = App::echo().await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    let body = request("POST", "/2", "Transfer-Encoding: chunked\r\n", "2\r\nxy\r\n0\r\n\r\n");
    client.send(format!("{}{body}\r\n{}", get("/1"), get("/3"))).await;
    for expected in ["/1 ", "/2 xy", "/3 "] {
        assert_eq!(client.response().await.1, expected);
    }
}

/// Answers the first request of its first connection; closes at the second without a word. Later
/// connections are served.
async fn forgetful() -> App {
    App::new(|before, mut wire| async move {
        let mut answered = 0;
        while let Some(head) = wire.head().await {
            if before == 0 && answered == 1 {
                return;
            }
            wire.body(&head).await;
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{before}")).await;
            answered += 1;
        }
    })
    .await
}

#[tokio::test]
async fn a_request_lost_on_an_idle_connection_is_sent_again() {
    let app = forgetful().await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    for expected in ["0", "1"] {
        client.send(get("/")).await;
        assert_eq!(client.response().await.1, expected);
    }
    assert_eq!(app.connections(), 2);
}

#[tokio::test]
async fn a_request_that_may_have_had_an_effect_is_not_sent_again() {
    for second in [request("POST", "/", "", ""), request("PUT", "/", "Content-Length: 1\r\n", "x")] {
        let app = forgetful().await;
        let front = Front::before(&app).await;
        let mut client = front.client().await;
        client.send(get("/")).await;
        client.response().await;
        client.send(second).await;
        let (head, body) = client.response().await;
        assert_eq!(status(&head), 502);
        assert!(body.contains("\"code\":\"no_answer\""), "{body}");
        assert_eq!(app.connections(), 1);
    }
}

#[tokio::test]
async fn a_new_connection_without_an_answer_is_not_tried_twice() {
    let app = App::new(|_, mut wire| async move {
        wire.head().await;
    })
    .await;
    let settings = Settings { refusal_timeout: Duration::from_millis(50), ..Settings::new("localhost") };
    let front = Front::with(&app, settings, Duration::from_secs(50)).await;
    assert_eq!(status(&front.ask(get("/")).await.0), 502);
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn an_idle_connection_that_the_workload_closed_is_not_used() {
    let closed = Arc::new(Notify::new());
    let tell = Arc::clone(&closed);
    let app = App::new(move |before, mut wire| {
        let tell = Arc::clone(&tell);
        async move {
            wire.head().await;
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{before}")).await;
            drop(wire);
            tell.notify_one();
        }
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    for expected in ["0", "1", "2"] {
        client.send(get("/")).await;
        assert_eq!(client.response().await.1, expected);
        within(closed.notified()).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_work_for_it() {
    let (ended, mut end) = mpsc::unbounded_channel();
    let arrived = Arc::new(Notify::new());
    let arrive = Arc::clone(&arrived);
    let app = App::new(move |_, mut wire| {
        let (ended, arrive) = (ended.clone(), Arc::clone(&arrive));
        async move {
            let head = wire.head().await.unwrap();
            if head.starts_with("GET /stream") {
                wire.send("HTTP/1.1 200 OK\r\n\r\nsome").await;
            }
            arrive.notify_one();
            // Nothing more is said; only the end of the connection ends this.
            wire.rest().await;
            ended.send(()).unwrap();
        }
    })
    .await;
    let mut front = Front::before(&app).await;
    for (path, status) in [("/silent", 499), ("/stream", 200)] {
        let mut client = front.client().await;
        client.send(get(path)).await;
        within(arrived.notified()).await;
        if status == 200 {
            client.head().await.unwrap();
        }
        drop(client);
        within(end.recv()).await.unwrap();
        let told = front.told.recv().await.unwrap();
        assert_eq!((told.status, told.error), (status, Some("client_gone")), "{path}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_a_wake_is_forgotten() {
    let (app, _seen) = App::echo().await;
    let mut front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(get("/").replace("alice", "never")).await;
    drop(client);
    let told = within(front.told.recv()).await.unwrap();
    assert_eq!((told.status, told.instance.as_deref()), (499, Some("notes:never")));
}

#[tokio::test]
async fn a_drain_finishes_what_was_begun() {
    let (go, arrived) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (wait, arrive) = (Arc::clone(&go), Arc::clone(&arrived));
    let app = App::new(move |_, mut wire| {
        let (wait, arrive) = (Arc::clone(&wait), Arc::clone(&arrive));
        async move {
            while let Some(head) = wire.head().await {
                if head.starts_with("GET /slow") {
                    arrive.notify_one();
                    wait.notified().await;
                }
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    let settings = Settings { drain_grace: Duration::from_secs(50), ..Settings::new("localhost") };
    let front = Front::with(&app, settings, Duration::from_secs(50)).await;
    let mut idle = front.client().await;
    idle.send(get("/")).await;
    idle.response().await;
    let mut slow = front.client().await;
    slow.send(get("/slow")).await;
    within(arrived.notified()).await;

    front.drain.cancel();
    // Longer than a timer's resolution, so that a connection closed without grace is closed by now.
    tokio::time::sleep(Duration::from_millis(20)).await;
    go.notify_one();
    for (client, request) in [(&mut slow, None), (&mut idle, Some(get("/late")))] {
        if let Some(request) = request {
            client.send(request).await;
        }
        let (head, body) = client.response().await;
        assert_eq!((body.as_str(), header(&head, "connection")), ("ok", Some("close")));
        assert_eq!(client.rest().await, "");
    }
    within(front.served).await.unwrap();
}

#[tokio::test]
async fn a_drain_does_not_wait_for_those_who_want_nothing() {
    let (app, _seen) = App::echo().await;
    let settings = Settings { drain_grace: Duration::ZERO, ..Settings::new("localhost") };
    let front = Front::with(&app, settings, Duration::from_secs(50)).await;
    let mut idle = front.client().await;
    idle.send(get("/")).await;
    idle.response().await;
    front.drain.cancel();
    within(front.served).await.unwrap();
    assert_eq!(idle.rest().await, "");
}

#[tokio::test]
async fn a_drain_serves_what_had_connected_before() {
    let (app, _seen) = App::echo().await;
    let front = Front::before(&app).await;
    // On this single thread nothing is accepted before the next wait, so these stay in the kernel's queue.
    let mut clients: Vec<_> = (0..20).map(|_| front.connect()).collect();
    front.drain.cancel();
    for client in &mut clients {
        client.send(get("/")).await;
        let (head, _) = client.response().await;
        assert_eq!((status(&head), header(&head, "connection")), (200, Some("close")));
    }
    within(front.served).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_loses_no_request() {
    let (app, _seen) = App::echo().await;
    let front = Front::before(&app).await;
    let (answered, mut answers) = mpsc::unbounded_channel();
    let mut clients = Vec::new();
    for _ in 0..16 {
        let (mut client, answered) = (front.client().await, answered.clone());
        clients.push(tokio::spawn(async move {
            loop {
                client.send(get("/")).await;
                let (head, _) = client.response().await;
                assert_eq!(status(&head), 200);
                answered.send(()).unwrap();
                if header(&head, "connection") == Some("close") {
                    return;
                }
            }
        }));
    }
    for _ in 0..500 {
        within(answers.recv()).await.unwrap();
    }
    front.drain.cancel();
    for client in clients {
        within(client).await.expect("a request was lost");
    }
    within(front.served).await.unwrap();
}
