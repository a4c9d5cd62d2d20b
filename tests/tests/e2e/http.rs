//! HTTP through the real binary. The proxy's own tests go through every rule; here is what a user would notice.

use std::io::{BufReader, Read, Write};

use insula_tests::{Reply, Request, Server, read_reply};

use crate::common::{app, number};

/// Sends bytes as they are and reads one answer.
fn raw(server: &Server, bytes: &str) -> std::io::Result<Reply> {
    let mut stream = server.connect();
    stream.write_all(bytes.as_bytes())?;
    read_reply(&mut BufReader::new(stream), "GET")
}

#[test]
fn a_large_upload_streams_through_a_small_server() {
    const SIZE: usize = 1 << 30;
    const CAP_KIB: u64 = 32 * 1024;
    let server = Server::start(&app("serve", "request_timeout = \"5m\"", &["a"]));
    server.get("app:a", "/").expect(200);
    let worker = server.worker();
    let before = worker.rss_kib();
    let mut stream = server.connect();
    stream.set_read_timeout(Some(insula_tests::PATIENCE * 10)).unwrap();
    let host = server.host("app:a");
    write!(stream, "POST /drain HTTP/1.1\r\nHost: {host}\r\nContent-Length: {SIZE}\r\n\r\n").unwrap();
    let block = vec![b'x'; 1 << 20];
    for _ in 0..SIZE / block.len() {
        stream.write_all(&block).unwrap();
    }
    let reply = read_reply(&mut BufReader::new(stream), "POST").unwrap().expect(200);
    assert_eq!(number(&reply, "length"), SIZE as i64);
    let peak: u64 = worker.field("VmHWM").unwrap().split_whitespace().next().unwrap().parse().unwrap();
    eprintln!("1 GiB went through: the worker had {before} KiB before and at most {peak} KiB");
    assert!(peak <= before + CAP_KIB, "the worker grew from {before} to {peak} KiB");
}

#[test]
fn headers_of_the_app_arrive_and_forwarding_headers_cannot_be_forged() {
    let server = Server::start(&app("serve", "", &["a"]));
    let request = Request::get(&server.host("app:a"), "/headers?x=1")
        .header("Authorization", "Bearer of the app")
        .header("X-Forwarded-For", "203.0.113.7")
        .header("X-Custom", "kept");
    let reply = request.send(server.address()).unwrap().expect(200).json();
    assert_eq!(reply["path"], "/headers?x=1");
    let header = |name: &str| {
        let all = reply["headers"].as_array().unwrap();
        let found = all.iter().find(|h| h[0].as_str().unwrap().eq_ignore_ascii_case(name));
        found.map(|h| h[1].as_str().unwrap().to_owned())
    };
    assert_eq!(header("authorization").as_deref(), Some("Bearer of the app"));
    assert_eq!(header("x-custom").as_deref(), Some("kept"));
    assert_eq!(header("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(header("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(header("host"), Some(server.host("app:a")));
}

#[test]
fn ambiguous_framing_is_refused_and_its_plain_twin_is_served() {
    let server = Server::start(&app("serve", "", &["a"]));
    let host = server.host("app:a");
    let ask = |headers: &str, body: &str| {
        let reply = raw(&server, &format!("POST /echo HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n{body}"));
        reply.unwrap().status
    };
    assert_eq!(ask("Content-Length: 5\r\n", "hello"), 200);
    assert_eq!(ask("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400);
    assert_eq!(ask("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400);
    assert_eq!(ask("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"), 400);
    assert_eq!(ask("Content-Length: +5\r\n", "hello"), 400);
    assert_eq!(ask("X: y\r\n folded: z\r\n", ""), 400);
}

#[test]
fn several_requests_over_one_connection_are_answered_in_order() {
    let server = Server::start(&app("serve", "", &["a"]));
    let mut stream = server.connect();
    let request = Request::get(&server.host("app:a"), "/").bytes();
    stream.write_all(&[&request[..], &request, &request].concat()).unwrap();
    let mut stream = BufReader::new(stream);
    for round in 1..=3 {
        assert_eq!(number(&read_reply(&mut stream, "GET").unwrap(), "counter"), round);
    }
}

#[test]
fn an_answer_that_does_not_come_in_time_is_a_504() {
    let server = Server::start(&app("serve", "request_timeout = \"500ms\"", &["a"]));
    server.get("app:a", "/slow?ms=10").expect(200);
    let reply = server.get("app:a", "/slow?ms=20000").expect(504);
    tells_nothing(&server, &reply);
    server.get("app:a", "/").expect(200);
}

#[test]
fn errors_tell_nothing_of_the_host() {
    let server = Server::start(&app("crash-loop", "restart = \"never\"", &["a"]));
    server.wait_observed("app:a", "failed");
    let failed = server.get("app:a", "/").expect(503);
    let unknown = server.get("app:nobody", "/").expect(404);
    let port = server.address().port();
    let elsewhere = raw(&server, &format!("GET / HTTP/1.1\r\nHost: example.org:{port}\r\n\r\n")).unwrap();
    assert_eq!(elsewhere.status, 404);
    for reply in [failed, unknown, elsewhere] {
        tells_nothing(&server, &reply);
    }
}

/// No path, no program, no process of the host.
#[track_caller]
fn tells_nothing(server: &Server, reply: &Reply) {
    let text = format!("{:?} {}", reply.headers, reply.text());
    let place = server.place().path().file_name().unwrap().to_str().unwrap();
    for word in [place, "/tmp", "python", "app.py", "frobnicator", &server.worker().pid.to_string()] {
        assert!(!text.contains(word), "the answer tells `{word}`: {text}");
    }
}

#[test]
fn a_client_that_goes_away_harms_nobody() {
    let server = Server::start(&app("serve", "idle_timeout = \"300ms\"", &["a"]));
    for _ in 0..20 {
        let mut stream = server.connect();
        stream.write_all(&Request::get(&server.host("app:a"), "/stream?n=1000&ms=50").bytes()).unwrap();
        assert!(stream.read(&mut [0; 16]).unwrap() > 0);
    }
    server.get("app:a", "/").expect(200);
    server.wait_observed("app:a", "asleep");
}
