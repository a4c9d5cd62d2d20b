//! What a client is told when there is no answer, and what it is not told.

use std::time::Duration;

use insula_edge::public::Settings;

use crate::harness::{App, Front, Told, get, header, request, status};

#[tokio::test]
async fn each_failure_has_its_status_and_code() {
    let (app, _seen) = App::echo().await;
    let front = Front::before(&app).await;
    for (host, expected, code, retry) in [
        ("localhost", 404, "nothing_here", None),
        ("notes.localhost", 404, "needs_instance", None),
        ("example.org", 404, "unknown_host", None),
        ("bob.notes.localhost", 404, "unknown_instance", None),
        ("bob.other.localhost", 404, "unknown_service", None),
        ("full.notes.localhost", 503, "queue_full", Some("7")),
        ("broken.notes.localhost", 503, "failed", Some("7")),
        ("slow.notes.localhost", 504, "wake_timed_out", Some("7")),
        ("stopped.notes.localhost", 503, "stopped", None),
        ("down.notes.localhost", 503, "shutting_down", Some("1")),
    ] {
        let (head, body) = front.ask(get("/").replace("alice.notes.localhost", host)).await;
        assert_eq!((status(&head), header(&head, "retry-after")), (expected, retry), "{host}");
        assert!(body.contains(&format!("\"code\":\"{code}\"")), "{host}: {body}");
        assert_eq!(header(&head, "content-type"), Some("application/problem+json"));
        let id = header(&head, "insula-request-id").unwrap();
        assert!(body.contains(id), "the body names the request");
        assert!(!body.contains("secret") && !head.contains("secret"), "{body}");
    }
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn a_failure_leaves_the_connection_usable_if_nothing_was_on_its_way() {
    let (app, _seen) = App::echo().await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(get("/").replace("alice", "broken")).await;
    let (head, _) = client.response().await;
    assert_eq!((status(&head), header(&head, "connection")), (503, None));
    client.send(get("/x")).await;
    assert_eq!(client.response().await.1, "/x ");

    client.send(request("POST", "/", "Content-Length: 1000\r\n", "").replace("alice", "broken")).await;
    let (head, _) = client.response().await;
    assert_eq!((status(&head), header(&head, "connection")), (503, Some("close")));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_head_request_gets_no_body() {
    let (app, _seen) = App::echo().await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(request("HEAD", "/", "Connection: close\r\n", "").replace("alice", "broken")).await;
    let head = client.head().await.unwrap();
    assert!(header(&head, "content-length").is_some_and(|l| l != "0"));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_workload_that_refuses_connections_is_a_502_without_its_address() {
    let gone = App::gone();
    let settings = Settings { refusal_timeout: Duration::from_millis(50), ..Settings::new("localhost") };
    let front = Front::with(&gone, settings, Duration::from_secs(50)).await;
    let (head, body) = front.ask(get("/")).await;
    assert_eq!((status(&head), front.runs.refusals()), (502, 1));
    assert!(body.contains("\"code\":\"unreachable\""), "{body}");
    for secret in [gone.port().as_str(), "127.0.0.1", "refused", "os error"] {
        assert!(!body.contains(secret) && !head.contains(secret), "`{secret}` is in {head}{body}");
    }
}

#[tokio::test]
async fn bad_answers_are_not_passed_on() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
    ] {
        let app = App::new(move |_, mut wire| async move {
            wire.head().await.unwrap();
            wire.send(answer).await;
            wire.rest().await;
        })
        .await;
        let front = Front::before(&app).await;
        let (head, body) = front.ask(get("/")).await;
        assert_eq!(status(&head), 502, "{answer:?}");
        assert!(body.contains("\"code\":\"bad_answer\""), "{answer:?}: {body}");
    }
}

#[tokio::test]
async fn an_answer_cut_short_is_seen_to_be() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let app = App::new(move |_, mut wire| async move {
            wire.head().await.unwrap();
            wire.send(answer).await;
        })
        .await;
        let mut front = Front::before(&app).await;
        let mut client = front.client().await;
        client.send(get("/")).await;
        let head = client.head().await.unwrap();
        assert!(client.body(&head).await.is_none(), "{answer:?} looked whole");
        assert_eq!(front.told.recv().await.unwrap().error, Some("answer_cut_short"));
    }
}

#[tokio::test]
async fn a_workload_that_does_not_answer_is_given_up() {
    let app = App::new(|_, mut wire| async move {
        wire.rest().await;
    })
    .await;
    let front = Front::with(&app, Settings::new("localhost"), Duration::from_millis(50)).await;
    for asked in [get("/"), request("POST", "/", "Content-Length: 2\r\n", "ab")] {
        let (head, body) = front.ask(asked).await;
        assert_eq!(status(&head), 504);
        assert!(body.contains("\"code\":\"timed_out\""), "{body}");
    }
    // Here it is the client that keeps everybody waiting.
    let (head, body) = front.ask(request("POST", "/", "Content-Length: 2\r\n", "a")).await;
    assert_eq!(status(&head), 408);
    assert!(body.contains("\"code\":\"slow_request\""), "{body}");
}

#[tokio::test]
async fn a_wake_that_never_ends_is_given_up() {
    let (app, _seen) = App::echo().await;
    let settings = Settings { wake_timeout: Duration::from_millis(10), ..Settings::new("localhost") };
    let front = Front::with(&app, settings, Duration::from_secs(50)).await;
    assert_eq!(status(&front.ask(get("/").replace("alice", "never")).await.0), 504);
}

#[tokio::test]
async fn half_a_head_is_given_up_and_silence_is_closed() {
    let (app, _seen) = App::echo().await;
    let brief = Duration::from_millis(50);
    let settings = Settings { header_timeout: brief, idle_timeout: brief, ..Settings::new("localhost") };
    let front = Front::with(&app, settings, Duration::from_secs(50)).await;
    let (head, _) = front.ask("GET / HTTP/1.1\r\nHost: al").await;
    assert_eq!(status(&head), 408);
    assert_eq!(front.client().await.rest().await, "");
    let mut kept = front.client().await;
    kept.send(get("/")).await;
    kept.response().await;
    assert_eq!(kept.rest().await, "");
    front.ask(get("/")).await;
    assert_eq!(app.connections(), 1, "the closed client took the workload's connection with it");
}

#[tokio::test]
async fn a_client_that_is_still_sending_reads_its_refusal() {
    let (app, _seen) = App::echo().await;
    let front = Front::before(&app).await;
    for asked in ["GET / HTTP/3\r\n\r\n".to_owned(), request("POST", "/", "Content-Length: 4194304\r\n", "")]
    {
        let mut client = front.client().await;
        client.send(asked.replace("alice", "broken")).await;
        // Closing at once would reset the connection under this.
        for _ in 0..64 {
            client.send(vec![b'x'; 64 * 1024]).await;
        }
        let (head, _) = client.response().await;
        assert_eq!(header(&head, "connection"), Some("close"));
    }
}

#[tokio::test]
async fn every_exchange_is_told_once() {
    let (app, _seen) = App::echo().await;
    let mut front = Front::before(&app).await;
    front.ask(request("POST", "/a?b", "Content-Length: 3\r\n", "xyz")).await;
    front.ask(get("/c").replace("alice", "broken")).await;
    front.ask("nonsense\r\n\r\n").await;
    let told = |instance: Option<&str>, line: &str, status, bytes, error| Told {
        instance: instance.map(str::to_owned),
        line: line.to_owned(),
        status,
        bytes,
        error,
    };
    for expected in [
        told(Some("notes:alice"), "POST /a?b", 200, (3, 8), None),
        told(Some("notes:broken"), "GET /c", 503, (0, 0), Some("failed")),
        told(None, " ", 400, (0, 0), Some("bad_head")),
    ] {
        assert_eq!(front.told.recv().await.unwrap(), expected);
    }
    assert!(front.told.try_recv().is_err());
}
