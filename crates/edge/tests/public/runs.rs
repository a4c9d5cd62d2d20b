//! What becomes of those who ask while a workload ends, before anybody has been told of its end.

use std::sync::Arc;
use std::time::Duration;

use insula_edge::public::Settings;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::harness::{App, Front, Wire, get, request, status, within};

/// Nobody waits longer than a test may take: what ends the wait must be an event.
fn patient() -> Settings {
    Settings { refusal_timeout: Duration::from_secs(3600), ..Settings::new("localhost") }
}

async fn front(app: &App) -> Front {
    Front::with(app, patient(), Duration::from_secs(3600)).await
}

/// Reads one head, then hangs until `go`, then ends the connection without a word.
async fn speechless(go: Arc<Notify>) -> (App, Arc<Notify>) {
    let asked = Arc::new(Notify::new());
    let ask = Arc::clone(&asked);
    let app = App::new(move |_, mut wire| {
        let (go, ask) = (Arc::clone(&go), Arc::clone(&ask));
        async move {
            wire.head().await.unwrap();
            ask.notify_one();
            go.notified().await;
        }
    })
    .await;
    (app, asked)
}

#[tokio::test]
async fn a_refused_request_waits_for_the_next_run_whatever_it_is() {
    for asked in [get("/x"), request("POST", "/x", "Content-Length: 2\r\n", "ab")] {
        let mut front = front(&App::gone()).await;
        let mut client = front.client().await;
        client.send(&asked).await;
        front.runs.refused(1).await;
        front.runs.end();
        let (app, _seen) = App::echo().await;
        front.runs.begin(&app);
        let (head, body) = client.response().await;
        assert_eq!(status(&head), 200);
        assert!(body.starts_with("/x"), "{body}");
        assert_eq!((front.runs.refusals(), front.told.recv().await.unwrap().error), (1, None));
    }
}

#[tokio::test]
async fn several_runs_may_end_before_one_takes_the_request() {
    let front = front(&App::gone()).await;
    let mut client = front.client().await;
    client.send(get("/")).await;
    for run in 1..4 {
        front.runs.refused(run).await;
        front.runs.end();
        front.runs.begin(&App::gone());
    }
    front.runs.refused(4).await;
    front.runs.end();
    let (app, _seen) = App::echo().await;
    front.runs.begin(&app);
    assert_eq!(status(&client.response().await.0), 200);
}

#[tokio::test]
async fn a_wait_for_the_next_run_ends_with_the_time_for_the_answer() {
    let front = Front::with(&App::gone(), patient(), Duration::from_millis(50)).await;
    assert_eq!(status(&front.ask(get("/")).await.0), 502);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_for_the_next_run_is_forgotten() {
    let mut front = front(&App::gone()).await;
    let mut client = front.client().await;
    client.send(get("/")).await;
    front.runs.refused(1).await;
    drop(client);
    assert_eq!(within(front.told.recv()).await.unwrap().status, 499);
}

#[tokio::test]
async fn a_request_lost_with_its_run_is_sent_to_the_next() {
    let go = Arc::new(Notify::new());
    let (app, asked) = speechless(Arc::clone(&go)).await;
    let front = front(&app).await;
    let mut client = front.client().await;
    client.send(get("/x")).await;
    within(asked.notified()).await;
    go.notify_one();
    front.runs.end();
    let (next, mut seen) = App::echo().await;
    front.runs.begin(&next);
    assert_eq!(client.response().await.1, "/x ");
    assert!(within(seen.recv()).await.unwrap().starts_with("GET /x "));
    assert_eq!((app.connections(), next.connections()), (1, 1));
}

#[tokio::test]
async fn one_that_may_have_had_an_effect_is_not() {
    for lost in [request("POST", "/", "", ""), request("PUT", "/", "Content-Length: 1\r\n", "x")] {
        let go = Arc::new(Notify::new());
        let (app, asked) = speechless(Arc::clone(&go)).await;
        let front = front(&app).await;
        let mut client = front.client().await;
        client.send(lost).await;
        within(asked.notified()).await;
        front.runs.end();
        let (next, _seen) = App::echo().await;
        front.runs.begin(&next);
        go.notify_one();
        let (head, body) = client.response().await;
        assert!(status(&head) == 502 && body.contains("\"code\":\"no_answer\""), "{head}{body}");
        assert_eq!(next.connections(), 0);
    }
}

#[tokio::test]
async fn a_request_that_ends_its_runs_is_not_given_to_a_third() {
    let front = front(&App::gone()).await;
    let mut client = front.client().await;
    client.send(get("/poison")).await;
    front.runs.refused(1).await;
    let mut runs = Vec::new();
    for _ in 0..2 {
        let go = Arc::new(Notify::new());
        let (app, asked) = speechless(Arc::clone(&go)).await;
        front.runs.end();
        front.runs.begin(&app);
        within(asked.notified()).await;
        go.notify_one();
        runs.push(app);
    }
    front.runs.end();
    let (third, _seen) = App::echo().await;
    front.runs.begin(&third);
    let (head, body) = client.response().await;
    assert!(status(&head) == 502 && body.contains("\"code\":\"no_answer\""), "{head}{body}");
    assert_eq!((runs[0].connections(), runs[1].connections(), third.connections()), (1, 1, 0));
}

#[tokio::test]
async fn a_lost_idle_connection_to_a_dead_run_leads_to_the_next() {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (ask, gone) = (Arc::clone(&asked), Arc::clone(&go));
    let mut app = App::new(move |_, mut wire| {
        let (ask, gone) = (Arc::clone(&ask), Arc::clone(&gone));
        async move {
            wire.head().await.unwrap();
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst").await;
            wire.head().await.unwrap();
            ask.notify_one();
            gone.notified().await;
        }
    })
    .await;
    let front = front(&app).await;
    let mut client = front.client().await;
    client.send(get("/")).await;
    assert_eq!(client.response().await.1, "first");
    client.send(get("/second")).await;
    within(asked.notified()).await;
    app.close().await;
    go.notify_one();
    front.runs.refused(1).await;
    front.runs.end();
    let (next, _seen) = App::echo().await;
    front.runs.begin(&next);
    assert_eq!(client.response().await.1, "/second ");
    assert_eq!((app.connections(), next.connections()), (1, 1));
}

#[tokio::test]
async fn a_refused_tcp_connection_waits_for_the_next_run() {
    let mut front = Front::tcp_with(&App::gone(), "notes:alice", patient()).await;
    let mut client = front.client().await;
    client.send("PING").await;
    client.stream.shutdown().await.unwrap();
    front.runs.refused(1).await;
    front.runs.end();
    let app = App::new(|_, mut wire: Wire| async move {
        let asked = wire.rest().await;
        wire.send(format!("{asked} PONG")).await;
    })
    .await;
    front.runs.begin(&app);
    assert_eq!(client.rest().await, "PING PONG");
    assert_eq!(front.told.recv().await.unwrap().error, None);
}

#[tokio::test]
async fn a_tcp_workload_that_lives_and_refuses_is_given_up() {
    let settings = Settings { refusal_timeout: Duration::from_millis(50), ..Settings::new("localhost") };
    let mut front = Front::tcp_with(&App::gone(), "notes:alice", settings).await;
    assert_eq!(front.client().await.rest().await, "");
    assert_eq!(front.told.recv().await.unwrap().error, Some("unreachable"));
    assert_eq!(front.runs.refusals(), 1);
}
