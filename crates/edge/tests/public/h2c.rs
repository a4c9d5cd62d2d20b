//! Workloads that speak HTTP/2: one session for all requests, trailers and resets included.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use insula_edge::public::Settings;
use tokio::sync::{Notify, mpsc};

use crate::h2_harness::{Client, h2_app, request};
use crate::harness::{App, Front, get, header, status, within};

fn trailers(status: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    trailers
}

/// Sends every piece back as it comes, then trailers.
async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let path = request.uri().path().to_owned();
    let mut answer = Response::builder().header("content-type", "application/grpc");
    for name in ["te", "x-a", "connection", "host"] {
        for value in request.headers().get_all(name) {
            answer = answer.header(format!("got-{name}"), value);
        }
    }
    let answer = answer.header("got-path", path).body(()).unwrap();
    let mut stream = respond.send_response(answer, false).unwrap();
    let mut body = request.into_body();
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else { return };
        body.flow_control().release_capacity(piece.len()).unwrap();
        stream.send_data(piece, false).unwrap();
    }
    let mut end = trailers("0");
    if let Some(sum) = body.trailers().await.unwrap().and_then(|t| t.get("x-sum").cloned()) {
        end.insert("x-sum", sum);
    }
    stream.send_trailers(end).unwrap();
}

fn call(path: &str) -> http::request::Builder {
    request("POST", path).header("content-type", "application/grpc+proto").header("te", "trailers")
}

#[tokio::test]
async fn a_call_passes_with_its_trailers() {
    let app = h2_app(echo).await;
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    for n in 0..5 {
        let answer = client.ask(call("/s.S/Do").header("x-a", "b"), "ping").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ping"), "{n}");
        assert_eq!((answer.field("got-te"), answer.field("got-path")), (Some("trailers"), Some("/s.S/Do")));
        assert_eq!((answer.field("got-x-a"), answer.trailer("grpc-status")), (Some("b"), Some("0")));
        assert_eq!((answer.field("got-connection"), answer.field("got-host")), (None, None));
    }
    assert_eq!(app.connections(), 1, "each call made its own session");
}

#[tokio::test]
async fn both_directions_go_on_at_once() {
    let app = h2_app(echo).await;
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    let (response, mut stream) = client.begin(call("/bidi"), false).await;
    let mut body = within(response).await.unwrap().into_body();
    for _ in 0..50 {
        // Each message is sent only after the one before has come back.
        stream.send_data(Bytes::from_static(b"x"), false).unwrap();
        assert_eq!(within(body.data()).await.unwrap().unwrap(), "x");
    }
    let mut end = HeaderMap::new();
    end.insert("x-sum", "7".parse().unwrap());
    stream.send_trailers(end).unwrap();
    assert!(within(body.data()).await.is_none());
    let trailers = within(body.trailers()).await.unwrap().unwrap();
    assert!(trailers["grpc-status"] == "0" && trailers["x-sum"] == "7", "{trailers:?}");
}

#[tokio::test]
async fn an_answer_that_is_all_head_stays_one() {
    let app = h2_app(|_, mut respond| async move {
        let answer = Response::builder().header("grpc-status", "5").body(()).unwrap();
        respond.send_response(answer, true).unwrap();
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    let (response, _) = client.begin(call("/"), true).await;
    let response = within(response).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "5");
    assert!(response.body().is_end_stream(), "clients take a status only from the last frame");
}

#[tokio::test]
async fn old_clients_reach_it_too() {
    let app = h2_app(echo).await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    for _ in 0..2 {
        client.send(crate::harness::request("POST", "/old", "Content-Length: 5\r\n", "hello")).await;
        let head = client.head().await.unwrap();
        assert_eq!((status(&head), header(&head, "got-path")), (200, Some("/old")), "{head}");
        let (body, trailers) = client.chunked().await.unwrap();
        assert_eq!((body.as_str(), trailers.as_str()), ("hello", "grpc-status: 0\r\n"));
    }
    client.send("HEAD /old HTTP/1.0\r\nHost: alice.notes.localhost\r\n\r\n").await;
    assert_eq!(status(&client.head().await.unwrap()), 200);
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn failures_speak_grpc_to_those_who_do() {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let app = h2_app(move |_, mut respond: SendResponse<Bytes>| {
        let cut = Arc::clone(&wait);
        async move {
            let answer = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut stream = respond.send_response(answer, false).unwrap();
            stream.send_data(Bytes::from_static(b"some"), false).unwrap();
            cut.notified().await;
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    for (id, expected) in [("broken", "14"), ("slow", "4"), ("bob", "12"), ("full", "14"), ("down", "14")] {
        let asked = http::Request::builder()
            .method("POST")
            .uri(format!("http://{id}.notes.localhost/s.S/Do"))
            .header("content-type", "application/grpc");
        let (response, _) = client.begin(asked, true).await;
        let response = within(response).await.unwrap();
        assert_eq!(response.status(), 200, "{id}");
        assert_eq!(response.headers()["grpc-status"], expected, "{id}");
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert!(response.body().is_end_stream(), "{id}");
    }
    let (response, _) = client.begin(call("/"), true).await;
    let mut body = within(response).await.unwrap().into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "some");
    go.notify_one();
    assert!(within(body.data()).await.is_none());
    assert_eq!(within(body.trailers()).await.unwrap().unwrap()["grpc-status"], "14");
}

#[tokio::test]
async fn a_session_that_says_goodbye_is_followed_by_another() {
    let app = App::new(|before, wire| async move {
        let mut wire = h2::server::handshake(wire.stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = wire.accept().await {
            let answer = Response::builder().header("content-length", "1").body(()).unwrap();
            let mut stream = respond.send_response(answer, false).unwrap();
            stream.send_data(before.to_string().into(), true).unwrap();
            // From now on it takes no more streams, and closes.
            wire.graceful_shutdown();
        }
    })
    .await;
    let app = app.speaking_h2c();
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    for n in 0..5 {
        let answer = client.get("/").await;
        assert_eq!(answer.status, 200, "{n}: {}", answer.body);
    }
    assert!(app.connections() > 1, "one session served all");
}

#[tokio::test]
async fn a_stream_without_an_answer_is_asked_again_only_if_that_is_safe() {
    let seen = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&seen);
    let app = h2_app(move |_, mut respond: SendResponse<Bytes>| {
        let first = counter.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        async move {
            if first {
                respond.send_reset(Reason::INTERNAL_ERROR);
            } else {
                respond.send_response(Response::new(()), true).unwrap();
            }
        }
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(
        client.get("/").await.status,
        200,
        "the second stream of the session is reset, the third answers"
    );
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    let answer = client.ask(request("POST", "/"), "x").await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    assert_eq!(seen.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_call_that_is_cancelled_is_cancelled_at_the_workload() {
    let (told, mut tell) = mpsc::unbounded_channel();
    let arrived = Arc::new(Notify::new());
    let arrive = Arc::clone(&arrived);
    let app = h2_app(move |_, mut respond: SendResponse<Bytes>| {
        let (told, arrive) = (told.clone(), Arc::clone(&arrive));
        async move {
            arrive.notify_one();
            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            told.send(reset.unwrap()).unwrap();
        }
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    let (response, mut stream) = client.begin(call("/"), false).await;
    within(arrived.notified()).await;
    stream.send_reset(Reason::CANCEL);
    assert_eq!(within(tell.recv()).await, Some(Reason::CANCEL));
    assert!(within(response).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_stops_its_own_answer_only() {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let app = h2_app(move |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
        let counter = Arc::clone(&counter);
        async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            if request.uri().path() == "/small" {
                return stream.send_data(Bytes::from_static(b"ok"), true).unwrap();
            }
            loop {
                stream.reserve_capacity(16 * 1024);
                let Some(Ok(n)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
                stream.send_data(vec![b'x'; n].into(), false).unwrap();
                counter.fetch_add(n as u64, Ordering::SeqCst);
            }
        }
    })
    .await;
    let settings = Settings { write_timeout: Duration::from_secs(3600), ..Settings::new("localhost") };
    let front = Front::with(&app, settings, Duration::from_secs(50)).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut client = Client::of(&front).await;
        let (response, stream) = client.begin(request("GET", "/flood"), true).await;
        stalled.push((within(response).await.unwrap(), stream, client));
    }
    let mut client = Client::of(&front).await;
    for _ in 0..20 {
        assert_eq!(client.get("/small").await.body, "ok");
    }
    assert_eq!(app.connections(), 1);
    let sent = sent.load(Ordering::SeqCst);
    assert!(sent < 20 * (1 << 20), "{sent} bytes are held for clients that do not read");
    drop(stalled);
}

#[tokio::test]
async fn a_call_is_not_given_to_a_workload_that_takes_connections_and_dies() {
    // What waits in the queue of a dying program is accepted by the kernel, and reset.
    let dying = App::new(|_, wire| async move { drop(wire) }).await.speaking_h2c();
    let front = Front::before(&dying).await;
    let mut client = Client::of(&front).await;
    let (response, _) = client.begin(call("/"), true).await;
    let runs = front.runs.clone();
    let next = h2_app(echo).await;
    let moved = tokio::spawn(async move {
        while dying.connections() == 0 {
            tokio::task::yield_now().await;
        }
        runs.end();
        runs.begin(&next);
        next
    });
    let answer = crate::h2_harness::whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!((answer.status, answer.trailer("grpc-status")), (200, Some("0")));
    assert_eq!(within(moved).await.unwrap().connections(), 1);
}

#[tokio::test]
async fn a_workload_that_speaks_something_else_is_a_502() {
    let (app, _seen) = App::echo().await;
    let app = app.speaking_h2c();
    let settings = Settings { refusal_timeout: Duration::from_millis(50), ..Settings::new("localhost") };
    let front = Front::with(&app, settings, Duration::from_secs(50)).await;
    let (head, body) = front.ask(get("/")).await;
    assert!(status(&head) == 502 && body.contains("\"code\":\"unreachable\""), "{head}{body}");
}
