//! HTTP/2 from clients: each stream is a request like any other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use insula_edge::public::Settings;
use tokio::sync::{Notify, mpsc};

use crate::h2_harness::{Client, request, whole};
use crate::harness::{App, Front, header, within};

#[tokio::test]
async fn a_stream_is_a_request() {
    let (app, mut seen) = App::echo().await;
    let mut front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    let answer = client.get("/a?b").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "/a?b "));
    let head = seen.recv().await.unwrap();
    assert!(head.starts_with("GET /a?b HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), Some("alice.notes.localhost"));
    assert_eq!(header(&head, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(header(&head, "insula-request-id"), answer.field("insula-request-id"));
    let told = within(front.told.recv()).await.unwrap();
    assert_eq!((told.status, told.line.as_str(), told.error), (200, "GET /a?b", None));
    assert_eq!(told.instance.as_deref(), Some("notes:alice"));
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let (app, _seen) = App::echo().await;
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    // From here on the client knows how many streams it may open at once.
    assert_eq!(client.get("/").await.status, 200);
    let mut asks = Vec::new();
    for n in 0..300 {
        let mut session = Client { session: client.session.clone(), wire: tokio::spawn(async { Ok(()) }) };
        asks.push(tokio::spawn(async move {
            let answer = session.ask(request("POST", &format!("/{n}")), "body").await;
            assert_eq!((answer.status, answer.body), (200, format!("/{n} body")));
        }));
    }
    for ask in asks {
        within(ask).await.unwrap();
    }
}

#[tokio::test]
async fn bodies_keep_their_length_or_become_chunks() {
    let (app, mut seen) = App::echo().await;
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    for (builder, body, length, coding) in [
        (request("POST", "/").header("content-length", "5"), "hello", Some("5"), None),
        (request("POST", "/"), "hello", None, Some("chunked")),
        (request("POST", "/"), "", Some("0"), None),
        (request("GET", "/"), "", None, None),
        (request("DELETE", "/"), "", None, None),
    ] {
        let answer = client.ask(builder, body).await;
        assert_eq!((answer.status, answer.body), (200, format!("/ {body}")));
        let head = seen.recv().await.unwrap();
        assert_eq!((header(&head, "content-length"), header(&head, "transfer-encoding")), (length, coding));
    }
}

#[tokio::test]
async fn cookies_are_joined_and_nothing_of_the_connection_passes() {
    let (app, mut seen) = App::echo().await;
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    let asked = request("GET", "/")
        .header("cookie", "a=1")
        .header("x-a", "1")
        .header("cookie", "b=2")
        .header("x-a", "2")
        .header("te", "trailers")
        .header("x-forwarded-for", "6.6.6.6")
        .header("transfer_encoding", "chunked")
        .header("proxy-authorization", "x");
    assert_eq!(client.ask(asked, "").await.status, 200);
    let head = seen.recv().await.unwrap();
    assert_eq!(header(&head, "cookie"), Some("a=1; b=2"));
    assert_eq!(head.matches("x-a: ").count(), 2);
    assert_eq!((header(&head, "te"), header(&head, "connection")), (Some("trailers"), Some("te")));
    assert!(!head.contains("6.6.6.6") && !head.contains("transfer_") && !head.contains("proxy-"), "{head}");
}

#[tokio::test]
async fn answers_come_whatever_their_framing() {
    for (raw, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello", "hello"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "hello",
        ),
        ("HTTP/1.0 200 OK\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: x\r\nConnection: x-b\r\nX-B: c\r\n\r\n", ""),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
    ] {
        let app = App::new(move |_, mut wire| async move {
            wire.head().await.unwrap();
            wire.send(raw).await;
        })
        .await;
        let front = Front::before(&app).await;
        let answer = Client::of(&front).await.get("/").await;
        assert_eq!(answer.body, body, "{raw:?}");
        for name in ["connection", "transfer-encoding", "keep-alive", "x-b"] {
            assert!(answer.field(name).is_none(), "{raw:?}: `{name}` came through");
        }
    }
}

#[tokio::test]
async fn trailers_and_interim_answers_pass() {
    let app = App::new(|_, mut wire| async move {
        let head = wire.head().await.unwrap();
        assert_eq!(header(&head, "expect"), Some("100-continue"));
        wire.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n").await;
        let (body, trailers) = wire.chunked().await.unwrap();
        assert_eq!((body.as_str(), trailers.as_str()), ("hello", "x-sum: 1\r\n"));
        let head = "HTTP/1.1 200 OK\r\nTrailer: X-Time\r\nTransfer-Encoding: chunked\r\n\r\n";
        wire.send(format!("{head}2\r\nok\r\n0\r\nX-Time: 5\r\nSet-Cookie: a=b\r\n\r\n")).await;
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    let asked = request("POST", "/").header("expect", "100-continue");
    let (mut response, mut stream) = client.begin(asked, false).await;
    for expected in [103, 100] {
        let interim = within(std::future::poll_fn(|cx| response.poll_informational(cx))).await;
        assert_eq!(interim.unwrap().unwrap().status(), expected);
    }
    stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    trailers.insert("content-length", "7".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    let answer = whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!((answer.body.as_str(), answer.trailer("x-time")), ("ok", Some("5")));
    assert_eq!(answer.trailer("set-cookie"), None);
}

#[tokio::test]
async fn failures_have_the_same_status_and_code() {
    let (app, _seen) = App::echo().await;
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    for (host, status, code) in [
        ("notes.localhost", 404, "needs_instance"),
        ("bob.notes.localhost", 404, "unknown_instance"),
        ("broken.notes.localhost", 503, "failed"),
        ("u@alice.notes.localhost", 400, "bad_host"),
    ] {
        let asked = http::Request::builder().uri(format!("http://{host}/"));
        let answer = client.ask(asked, "").await;
        assert_eq!(answer.status, status, "{host}");
        assert!(answer.body.contains(&format!("\"code\":\"{code}\"")), "{}", answer.body);
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    }
    let answer = client.ask(request("GET", "/").header("host", "bob.notes.localhost"), "").await;
    assert_eq!(answer.status, 400, "two hosts were let in");
    let answer = client.ask(request("GET", "/").header("host", "alice.notes.localhost"), "").await;
    assert_eq!(answer.status, 200, "the same host twice is no contradiction");
    let many = (0..200).fold(request("GET", "/"), |r, n| r.header(format!("x-{n}"), "y"));
    assert_eq!(client.ask(many, "").await.status, 431);
    let connect = http::Request::builder().method("CONNECT").uri("alice.notes.localhost:80");
    assert_eq!(client.ask(connect, "").await.status, 405);
    assert_eq!(client.get("/").await.status, 200, "the connection survives refused requests");
}

#[tokio::test]
async fn an_answer_cut_short_is_a_reset() {
    let app = App::new(|_, mut wire| async move {
        wire.head().await.unwrap();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello").await;
    })
    .await;
    let mut front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    let (response, _) = client.begin(request("GET", "/"), true).await;
    // The reset may overtake the head.
    let error = match within(response).await {
        Ok(response) => whole(response).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(within(front.told.recv()).await.unwrap().error, Some("answer_cut_short"));
}

#[tokio::test]
async fn a_stream_that_is_cancelled_ends_the_work_for_it() {
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
            wire.rest().await;
            ended.send(()).unwrap();
        }
    })
    .await;
    let mut front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    for (path, status) in [("/silent", 499), ("/stream", 200)] {
        let (response, mut stream) = client.begin(request("GET", path), true).await;
        within(arrived.notified()).await;
        let _held = if status == 200 { Some(within(response).await.unwrap()) } else { None };
        stream.send_reset(Reason::CANCEL);
        within(end.recv()).await.unwrap();
        let told = within(front.told.recv()).await.unwrap();
        assert_eq!((told.status, told.error), (status, Some("client_gone")), "{path}");
    }
    let (_response, _stream) = client.begin(request("GET", "/silent"), true).await;
    within(arrived.notified()).await;
    client.wire.abort();
    within(end.recv()).await.unwrap();
}

#[tokio::test]
async fn a_drain_lets_streams_end_and_takes_no_more() {
    let (go, arrived) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (wait, arrive) = (Arc::clone(&go), Arc::clone(&arrived));
    let app = App::new(move |_, mut wire| {
        let (wait, arrive) = (Arc::clone(&wait), Arc::clone(&arrive));
        async move {
            wire.head().await.unwrap();
            arrive.notify_one();
            wait.notified().await;
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    let (response, _) = client.begin(request("GET", "/slow"), true).await;
    within(arrived.notified()).await;
    front.drain.cancel();
    let refused = async {
        // The client learns of the end by GOAWAY, while its stream still runs.
        while client.session.clone().ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within(refused).await;
    go.notify_one();
    let answer = whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!(answer.body, "ok");
    within(client.wire).await.unwrap().unwrap();
    within(front.served).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_told_to_go() {
    let (app, _seen) = App::echo().await;
    let settings = Settings { idle_timeout: Duration::from_millis(50), ..Settings::new("localhost") };
    let front = Front::with(&app, settings, Duration::from_secs(50)).await;
    let mut client = Client::of(&front).await;
    assert_eq!(client.get("/").await.status, 200);
    within(client.wire).await.unwrap().unwrap();
}

#[tokio::test]
async fn http1_goes_on_beside_it() {
    let (app, _seen) = App::echo().await;
    let front = Front::before(&app).await;
    let mut old = front.client().await;
    let mut client = Client::of(&front).await;
    for n in 0..3 {
        assert_eq!(client.get("/new").await.body, "/new ");
        old.send(crate::harness::get(&format!("/{n}"))).await;
        assert_eq!(old.response().await.1, format!("/{n} "));
    }
    // Inside a connection of HTTP/1.1 the preface is a request of an unknown version.
    old.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(crate::harness::status(&old.response().await.0), 505);
}
