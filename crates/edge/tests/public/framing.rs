//! Bodies and heads arrive as they were meant, for every kind of reader.

use crate::harness::{App, Front, get, header, request, status};

/// A workload that gives one raw answer to each connection and closes it.
async fn answering(answer: &'static str) -> App {
    App::new(move |_, mut wire| async move {
        if let Some(head) = wire.head().await {
            wire.body(&head).await;
            wire.send(answer).await;
        }
    })
    .await
}

fn old(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.0\r\nHost: alice.notes.localhost\r\n{fields}\r\n")
}

#[tokio::test]
async fn a_body_that_ends_by_closing_becomes_chunked() {
    let app = answering("HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nhello").await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(get("/")).await;
    let (head, body) = client.response().await;
    assert_eq!((header(&head, "transfer-encoding"), header(&head, "x-a")), (Some("chunked"), Some("b")));
    assert_eq!((body.as_str(), header(&head, "connection")), ("hello", None));
    client.send(get("/again")).await;
    assert_eq!(client.response().await.1, "hello", "the client's connection was not kept");

    let mut client = front.client().await;
    client.send(old("/", "Connection: keep-alive\r\n")).await;
    let head = client.head().await.unwrap();
    assert_eq!((header(&head, "transfer-encoding"), header(&head, "connection")), (None, Some("close")));
    assert_eq!(client.rest().await, "hello");
}

#[tokio::test]
async fn chunks_are_taken_off_for_an_old_client() {
    let app = answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n",
    )
    .await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(old("/", "")).await;
    assert_eq!(header(&client.head().await.unwrap(), "transfer-encoding"), None);
    assert_eq!(client.rest().await, "hello");
}

#[tokio::test]
async fn an_old_client_is_kept_only_if_it_asks() {
    let (app, _seen) = App::echo().await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(old("/", "Connection: keep-alive\r\n")).await;
    let (head, _) = client.response().await;
    assert_eq!(header(&head, "connection"), Some("keep-alive"));
    client.send(old("/", "")).await;
    let (head, _) = client.response().await;
    assert_eq!(header(&head, "connection"), Some("close"));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn trailers_pass_both_ways_but_for_those_that_steer() {
    let app = App::new(|_, mut wire| async move {
        wire.head().await.unwrap();
        let (body, trailers) = wire.chunked().await.unwrap();
        assert_eq!((body.as_str(), trailers.as_str()), ("hello", "X-Sum: 1\r\n"));
        let head = "HTTP/1.1 200 OK\r\nTrailer: X-Time\r\nTransfer-Encoding: chunked\r\n\r\n";
        wire.send(format!("{head}2\r\nok\r\n0\r\nX-Time: 5\r\nSet-Cookie: a=b\r\n\r\n")).await;
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    let body = "5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 7\r\nHost: other\r\n\r\n";
    client.send(request("POST", "/", "Transfer-Encoding: chunked\r\n", body)).await;
    let head = client.head().await.unwrap();
    assert_eq!(header(&head, "trailer"), Some("X-Time"));
    assert_eq!(client.chunked().await.unwrap(), ("ok".to_owned(), "X-Time: 5\r\n".to_owned()));
}

#[tokio::test]
async fn answers_without_a_body_do_not_swallow_the_next_one() {
    let app = App::new(|_, mut wire| async move {
        while let Some(head) = wire.head().await {
            let answer = match head.split(' ').nth(1).unwrap() {
                _ if head.starts_with("HEAD") => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
                "/204" => "HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: \"x\"\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            };
            wire.send(answer).await;
        }
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    for (asked, expected, length) in [
        (request("HEAD", "/", "", ""), 200, Some("1000")),
        (get("/204"), 204, None),
        (get("/304"), 304, Some("1000")),
        (request("HEAD", "/204", "", ""), 200, Some("1000")),
    ] {
        client.send(asked).await;
        let head = client.head().await.unwrap();
        assert_eq!((status(&head), header(&head, "content-length")), (expected, length), "{head}");
    }
    client.send(get("/")).await;
    assert_eq!(client.response().await.1, "ok");
    assert_eq!(app.connections(), 1, "the workload's connection was not kept");
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it_from_the_workload() {
    let app = App::new(|_, mut wire| async move {
        let head = wire.head().await.unwrap();
        assert_eq!(header(&head, "expect"), Some("100-continue"));
        wire.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = wire.body(&head).await.unwrap();
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(request("POST", "/", "Content-Length: 5\r\nExpect: 100-continue\r\n", "")).await;
    assert_eq!(client.head().await.unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello").await;
    let (head, body) = client.response().await;
    assert_eq!((status(&head), body.as_str()), (200, "hello"));
}

#[tokio::test]
async fn a_final_answer_instead_of_100_ends_the_connection_cleanly() {
    let app = App::new(|_, mut wire| async move {
        wire.head().await.unwrap();
        wire.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno").await;
        wire.rest().await;
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(request("POST", "/", "Content-Length: 5\r\nExpect: 100-continue\r\n", "")).await;
    let (head, body) = client.response().await;
    assert_eq!((status(&head), body.as_str()), (401, "no"));
    assert_eq!(header(&head, "connection"), Some("close"));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn interim_responses_pass_to_those_who_know_them() {
    let app = answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(get("/")).await;
    assert_eq!(client.head().await.unwrap(), "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
    assert_eq!(client.response().await.1, "ok");
    let (head, body) = front.ask(old("/", "")).await;
    assert_eq!((status(&head), body.as_str()), (200, "ok"));
}

#[tokio::test]
async fn an_answer_may_come_before_the_upload_ends() {
    let app = App::new(|_, mut wire| async move {
        wire.head().await.unwrap();
        assert_eq!(wire.take(5).await, "hello");
        wire.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(request("POST", "/", "Content-Length: 1000000000\r\n", "hello")).await;
    let (head, body) = client.response().await;
    assert_eq!((status(&head), body.as_str()), (413, "big"));
    assert_eq!(header(&head, "connection"), Some("close"));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn heads_are_rewritten_on_the_way() {
    let (app, mut seen) = App::echo().await;
    let front = Front::before(&app).await;
    let fields = "X-Forwarded-For: 1.2.3.4\r\nInsula-Request-Id: mine\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-End: 2\r\n";
    let (head, _) = front.ask(request("GET", "/a?b=c", fields, "")).await;
    let got = seen.recv().await.unwrap();
    assert!(got.starts_with("GET /a?b=c HTTP/1.1\r\nHost: alice.notes.localhost\r\n"), "{got}");
    for (name, value) in [
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("alice.notes.localhost")),
        ("x-hop", None),
        ("x-end", Some("2")),
        ("connection", None),
    ] {
        assert_eq!(header(&got, name), value, "{name}");
    }
    let id = header(&got, "insula-request-id").unwrap();
    assert_eq!(Some(id), header(&head, "insula-request-id"), "both sides are told the same id");
    assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
}
