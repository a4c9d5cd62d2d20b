//! Looking for lines, and following them, as a client sees it.

use insula_api::{ClientError, FindQuery};
use insula_spec::{Scope, Tenant};
use insula_store::Whose;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::api::{Server, own};
use crate::control::caller::{Caller, Holder};
use crate::control::find::within;

#[tokio::test]
async fn a_page_has_the_lines_that_fit_and_says_where_to_go_on() {
    let server = Server::start(own());
    for text in ["one", "two", "three"] {
        server.fake.write(text);
    }
    let query = FindQuery { search: Some("two".to_owned()), ..FindQuery::default() };
    let found = server.client().find_logs(&query).await.unwrap();
    assert_eq!((found.lines.len(), found.head), (1, 3));
    assert_eq!(
        (found.lines[0].instance.to_string().as_str(), &*found.lines[0].line.text),
        ("notes:alice", "two")
    );
}

#[tokio::test]
async fn what_cannot_be_looked_for_is_refused_with_its_field_and_a_way_out() {
    let server = Server::start(own());
    for (query, code, said) in [
        ("search=a+%22b", "invalid_search", "byte 2"),
        ("search=", "invalid_search", "no word"),
        ("search=%00", "invalid_search", "no word"),
        ("since=yesterday", "malformed", "yesterday"),
        ("stream=both", "malformed", "both"),
        ("limit=-1", "malformed", "limit"),
        ("instance=alice", "invalid_name", "alice"),
        ("service=Notes", "invalid_name", "Notes"),
        ("grep=x", "malformed", "grep"),
    ] {
        let answer = server.ask("GET", &format!("/v1/logs?{query}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{query}: {answer}");
        assert!(
            answer.contains(&format!("\"code\":\"{code}\"")) && answer.contains(said),
            "{query}: {answer}"
        );
        assert!(!answer.contains("\"remediation\":\"\""), "{query}: {answer}");
    }
    let answer = server.ask("GET", "/v1/events?kind=woke", "").await;
    assert!(answer.contains("unknown_kind") && answer.contains("woken"), "{answer}");
    let answer = server.ask("GET", "/v1/logs?instance=notes:eve", "").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    for good in ["/v1/logs?search=a+%22b%22&since=10m&stream=stderr&limit=5", "/v1/events?kind=woken,slept"] {
        let answer = server.ask("GET", good, "").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{good}: {answer}");
    }
}

#[tokio::test]
async fn a_stream_takes_only_what_narrows_it() {
    let server = Server::start(own());
    for bad in ["limit=5", "before=3", "until=1m", "order=oldest"] {
        let head = format!("GET /v1/logs?{bad} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let answer = server.raw(&format!("{head}Accept: text/event-stream\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{bad}: {answer}");
        let answer = server.raw(&format!("{head}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "as a page, {bad}: {answer}");
    }
}

/// Reads until the text has come.
async fn read_until(stream: &mut UnixStream, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        let mut piece = [0; 1024];
        let n = stream.read(&mut piece).await.unwrap();
        assert!(n > 0, "the stream ended before `{text}`: {seen}");
        seen.push_str(std::str::from_utf8(&piece[..n]).unwrap());
    }
    seen
}

async fn open(server: &Server, query: &str, fields: &str) -> UnixStream {
    let mut stream = UnixStream::connect(server.socket()).await.unwrap();
    let head =
        format!("GET /v1/logs?{query} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_stream_sends_what_fits_as_it_comes_each_with_its_cursor() {
    let server = Server::start(own());
    server.fake.write("before");
    let mut stream = open(&server, "search=match", "").await;
    let head = read_until(&mut stream, "id: 1\n\n").await;
    assert!(head.contains("content-type: text/event-stream") && !head.contains("data:"), "{head}");
    server.fake.write("other");
    server.fake.write("match");
    let seen = read_until(&mut stream, "\"match\"").await;
    assert!(seen.contains("id: 3\ndata: {") && !seen.contains("other"), "{seen}");
}

#[tokio::test]
async fn who_comes_back_with_the_last_id_gets_what_is_behind_it() {
    let server = Server::start(own());
    for text in ["one", "two", "three"] {
        server.fake.write(text);
    }
    // The header goes before the query: a browser asks for the same URL again.
    let mut stream = open(&server, "after=0", "Last-Event-ID: 2\r\n").await;
    let seen = read_until(&mut stream, "three").await;
    assert!(!seen.contains("\"two\""), "{seen}");
    let mut stream = open(&server, "after=1", "").await;
    let seen = read_until(&mut stream, "three").await;
    assert!(seen.contains("\"two\"") && !seen.contains("\"one\""), "{seen}");
    let mut stream = open(&server, "", "Last-Event-ID: x\r\n").await;
    assert!(read_until(&mut stream, "\r\n").await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_stream_ends_with_the_server() {
    let server = Server::start(own());
    let query = FindQuery::default();
    let mut followed = server.client().follow_logs(&query, 0).await.unwrap();
    server.fake.write("one");
    assert_eq!(followed.next().await.unwrap().line.text, "one");
    server.stop.cancel();
    let ended = followed.next().await;
    assert!(matches!(ended, Err(ClientError::NotRunning { .. } | ClientError::Broken(_))), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_a_heartbeat() {
    let server = Server::start(own());
    server.fake.write("one");
    let mut stream = open(&server, "", "").await;
    read_until(&mut stream, "id: 1\n\n").await;
    assert!(read_until(&mut stream, "\n\n").await.contains(": so far\nid: 1\n\n"));
}

#[test]
fn a_tenant_sees_its_own_and_is_refused_the_rest() {
    let (alice, notes, api) = ("notes:alice", "notes", "api");
    let whose = |text: &str| match text.parse().unwrap() {
        Tenant::Instance(name) => Whose::Instance(name),
        Tenant::Service(name) => Whose::Service(name),
    };
    let holder = |text: &str| {
        let scope = Scope::Tenant(text.parse().unwrap());
        Caller::Token(Holder { id: "x".to_owned(), name: "x".to_owned(), scope })
    };
    let asked = |caller: &Caller, names: &[&str]| within(caller, names.iter().map(|n| whose(n)).collect());
    assert_eq!(asked(&Caller::Unix { uid: 0 }, &[]).unwrap(), []);
    assert_eq!(asked(&holder(alice), &[]).unwrap(), [whose(alice)], "nothing named is not everything");
    assert_eq!(asked(&holder(notes), &[alice]).unwrap(), [whose(alice)]);
    for (caller, names) in [(alice, notes), (notes, api), (alice, api), (alice, "notes:bob")] {
        assert!(asked(&holder(caller), &[names]).is_err(), "{caller} saw {names}");
    }
    assert!(asked(&holder(notes), &[alice, api]).is_err(), "one beyond it is enough");
}
