//! The client against a scripted server.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::JoinHandle;

use super::*;
use crate::LogsQuery;

/// Answers one connection after another with these bytes; gives back the request heads.
fn server(socket: &Path, answers: Vec<String>) -> JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let serve = |answer: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                let mut byte = [0];
                assert_eq!(stream.read(&mut byte).unwrap(), 1, "the request ended early");
                head.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(head).unwrap().lines().next().unwrap().to_owned()
        };
        answers.into_iter().map(serve).collect()
    })
}

fn json(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn chunks(lines: &[&str], whole: bool) -> String {
    let mut text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for line in lines {
        text.push_str(&format!("{:x}\r\n{line}\r\n", line.len()));
    }
    if whole {
        text.push_str("0\r\n\r\n");
    }
    text
}

fn line(cursor: u64) -> String {
    format!(
        "{{\"kind\":\"line\",\"cursor\":{cursor},\"time\":\"2026-01-01T00:00:00Z\",\"output\":\"stdout\",\
         \"text\":\"line {cursor}\"}}\n"
    )
}

fn name() -> InstanceName {
    "notes:alice".parse().unwrap()
}

#[tokio::test]
async fn a_problem_arrives_as_it_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let body = serde_json::to_string(&crate::Problem::new(404, "unknown_instance", "no such", "ps")).unwrap();
    let asked = server(&socket, vec![json("404 Not Found", crate::PROBLEM_JSON, &body)]);
    let error = Client::unix(&socket).inspect(&name()).await.unwrap_err();
    let ClientError::Problem(problem) = error else { panic!("{error:?}") };
    assert_eq!((problem.status, &*problem.code), (404, "unknown_instance"));
    assert_eq!(asked.join().unwrap(), ["GET /v1/instances/notes:alice HTTP/1.1"]);
}

#[tokio::test]
async fn a_missing_daemon_is_told_from_a_forbidden_one() {
    let dir = tempfile::tempdir().unwrap();
    let absent = Client::unix(dir.path().join("absent")).health().await.unwrap_err();
    assert!(matches!(absent, ClientError::NotRunning { .. }), "{absent:?}");
    assert!(absent.hint().contains("insula serve"));

    // A socket file that nobody listens on any more.
    drop(UnixListener::bind(dir.path().join("dead")).unwrap());
    let dead = Client::unix(dir.path().join("dead")).health().await.unwrap_err();
    assert!(matches!(dead, ClientError::NotRunning { .. }), "{dead:?}");

    let other = Client::unix(dir.path()).health().await.unwrap_err();
    assert!(!matches!(other, ClientError::NotAllowed { .. }), "{other:?}");
}

#[tokio::test]
async fn a_closed_directory_is_told_as_forbidden() {
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    let result = Client::unix(closed.join("s")).health().await.unwrap_err();
    // Root passes the mode bits and finds that nothing is there.
    let root = std::fs::read_dir(&closed).is_ok();
    assert_eq!(matches!(result, ClientError::NotAllowed { .. }), !root, "{result:?}");
}

#[tokio::test]
async fn a_followed_stream_resumes_behind_the_last_line() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let torn = format!("{}{}", line(2), &line(3)[..20]);
    let asked = server(
        &socket,
        vec![chunks(&[&line(1), &torn], false), chunks(&[&line(3)], true), chunks(&[&line(4)], false)],
    );
    let query = LogsQuery { tail: Some(10), follow: true, after: None };
    let mut stream = Client::unix(&socket).logs(&name(), query).await.unwrap();
    for cursor in 1..=4 {
        assert_eq!(stream.next().await.unwrap().unwrap().text, format!("line {cursor}"));
    }
    assert_eq!(
        asked.join().unwrap(),
        [
            "GET /v1/instances/notes:alice/logs?follow=true&tail=10 HTTP/1.1",
            "GET /v1/instances/notes:alice/logs?follow=true&after=2 HTTP/1.1",
            "GET /v1/instances/notes:alice/logs?follow=true&after=3 HTTP/1.1",
        ]
    );
    // The server is gone for good now.
    let end = stream.next().await.unwrap_err();
    assert!(matches!(end, ClientError::NotRunning { .. }), "{end:?}");
}

#[tokio::test]
async fn without_follow_an_end_is_the_end_and_a_break_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let asked = server(&socket, vec![chunks(&[&line(1)], true), chunks(&[&line(1)], false)]);
    let client = Client::unix(&socket);
    let mut whole = client.logs(&name(), LogsQuery::default()).await.unwrap();
    assert!(whole.next().await.unwrap().is_some());
    assert!(whole.next().await.unwrap().is_none());
    let mut torn = client.logs(&name(), LogsQuery::default()).await.unwrap();
    assert!(torn.next().await.unwrap().is_some());
    let error = torn.next().await.unwrap_err();
    assert!(matches!(error, ClientError::Broken(_)), "{error:?}");
    asked.join().unwrap();
}

#[tokio::test]
async fn a_resumed_stream_that_brings_nothing_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let asked = server(&socket, vec![chunks(&[], true); 6]);
    let query = LogsQuery { follow: true, ..LogsQuery::default() };
    let mut stream = Client::unix(&socket).logs(&name(), query).await.unwrap();
    assert!(stream.next().await.is_err());
    assert_eq!(asked.join().unwrap().len(), 6);
}
