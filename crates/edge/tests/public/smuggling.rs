//! Messages that two readers could understand differently are refused; their closest good neighbours pass.

use crate::harness::{App, Front, header, status};

/// What is sent, and the closest message that is let in.
struct Case {
    bad: String,
    good: String,
    status: u16,
    code: &'static str,
}

/// A POST whose fields follow the host.
fn post(fields: &str, body: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: alice.notes.localhost\r\n{fields}\r\n{body}")
}

fn case(status: u16, code: &'static str, bad: impl Into<String>, good: impl Into<String>) -> Case {
    Case { bad: bad.into(), good: good.into(), status, code }
}

fn lengths_and_codings() -> Vec<Case> {
    let length = || post("Content-Length: 5\r\n", "hello");
    let coded = || post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n");
    let framing = |fields: &str, good: String| case(400, "bad_framing", post(fields, "0\r\n\r\n"), good);
    let coding = |fields: &str| case(501, "bad_coding", post(fields, "0\r\n\r\n"), coded());
    vec![
        framing("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", length()),
        framing("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", coded()),
        framing("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", length()),
        framing("Content-Length: 5\r\nX: y\r\ntransfer-encoding: gzip\r\n", length()),
        framing("Content-Length: 5\r\nContent-Length: 5\r\n", length()),
        framing("Content-Length: 5\r\nContent-Length: 6\r\n", length()),
        framing("Content-Length: 5, 5\r\n", length()),
        framing("Content-Length: +5\r\n", length()),
        framing("Content-Length: -5\r\n", length()),
        framing("Content-Length: 0x5\r\n", length()),
        framing("Content-Length: 5 5\r\n", length()),
        framing("Content-Length: five\r\n", length()),
        framing("Content-Length:\r\n", length()),
        framing("Content-Length: 99999999999999999999\r\n", length()),
        coding("Transfer-Encoding: gzip, chunked\r\n"),
        coding("Transfer-Encoding: chunked, identity\r\n"),
        coding("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        coding("Transfer-Encoding: xchunked\r\n"),
        coding("Transfer-Encoding: \x0bchunked\r\n").into_head(),
        coding("Transfer-Encoding: chunked;q=1\r\n"),
        coding("Transfer-Encoding:\r\n"),
        case(
            400,
            "bad_framing",
            "POST /p HTTP/1.0\r\nHost: alice.notes.localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST /p HTTP/1.0\r\nHost: alice.notes.localhost\r\nContent-Length: 5\r\n\r\nhello",
        ),
    ]
}

impl Case {
    /// A control character is refused before anybody asks which coding it is.
    fn into_head(self) -> Self {
        Self { status: 400, code: "bad_head", ..self }
    }
}

fn heads() -> Vec<Case> {
    let head = |bad: &str, good: &str| {
        let text = |line: &str| format!("{line}\r\n\r\n").replace("HOST", "Host: alice.notes.localhost");
        case(400, "bad_head", text(bad), text(good))
    };
    vec![
        head("GET / HTTP/1.1\r\nHOST\r\nA: b\r\n c", "GET / HTTP/1.1\r\nHOST\r\nA: b c"),
        head("GET / HTTP/1.1\r\n A: b\r\nHOST", "GET / HTTP/1.1\r\nA: b\r\nHOST"),
        head("GET / HTTP/1.1\r\nHOST\r\nA: b\rX: c", "GET / HTTP/1.1\r\nHOST\r\nA: b X: c"),
        head("GET / HTTP/1.1\r\nHOST\r\nA: b\nX: c", "GET / HTTP/1.1\r\nHOST\r\nA: b\r\nX: c"),
        head("GET / HTTP/1.1\nHOST", "GET / HTTP/1.1\r\nHOST"),
        head("GET / HTTP/1.1\r\nHOST\r\nA: b\0c", "GET / HTTP/1.1\r\nHOST\r\nA: b\tc"),
        head("GET / HTTP/1.1\r\nHOST\r\nA : b", "GET / HTTP/1.1\r\nHOST\r\nA: b"),
        head("GET / HTTP/1.1\r\nHOST\r\n: b", "GET / HTTP/1.1\r\nHOST\r\nA: b"),
        head("GET / HTTP/1.1\r\nHOST\r\nA", "GET / HTTP/1.1\r\nHOST\r\nA:"),
        head("G@T / HTTP/1.1\r\nHOST", "G!T / HTTP/1.1\r\nHOST"),
        head("GET  / HTTP/1.1\r\nHOST", "GET / HTTP/1.1\r\nHOST"),
        head("GET\t/ HTTP/1.1\r\nHOST", "GET / HTTP/1.1\r\nHOST"),
        head("GET /a b HTTP/1.1\r\nHOST", "GET /a%20b HTTP/1.1\r\nHOST").into_version(),
        head("GET /a#b HTTP/1.1\r\nHOST", "GET /a%23b HTTP/1.1\r\nHOST"),
        head("GET a HTTP/1.1\r\nHOST", "GET /a HTTP/1.1\r\nHOST"),
        head("GET * HTTP/1.1\r\nHOST", "OPTIONS * HTTP/1.1\r\nHOST"),
        head("GET / HTTP/1.2\r\nHOST", "GET / HTTP/1.1\r\nHOST").into_version(),
        head("PRI * HTTP/2.0\r\nHOST", "OPTIONS * HTTP/1.1\r\nHOST").into_version(),
    ]
}

impl Case {
    fn into_version(self) -> Self {
        Self { status: 505, code: "bad_version", ..self }
    }
}

fn hosts() -> Vec<Case> {
    let good = "GET / HTTP/1.1\r\nHost: alice.notes.localhost\r\n\r\n";
    let host = |fields: &str| case(400, "bad_host", format!("GET / HTTP/1.1\r\n{fields}\r\n"), good);
    vec![
        host(""),
        host("Host:\r\n"),
        host("Host: alice.notes.localhost\r\nHost: alice.notes.localhost\r\n"),
        host("Host: alice.notes.localhost, x\r\n"),
        host("Host: u@alice.notes.localhost\r\n"),
        host("Host: alice.notes.localhost/\r\n"),
        host("Host: alice.notes.localhost:80:80\r\n"),
        host("Host: alice.notes.localhost:99999\r\n"),
        host("Host: alice.notes.localhost\\x\r\n"),
        case(
            400,
            "bad_host",
            "GET http://bob.notes.localhost/ HTTP/1.1\r\nHost: alice.notes.localhost\r\n\r\n",
            "GET http://alice.notes.localhost/ HTTP/1.1\r\nHost: alice.notes.localhost\r\n\r\n",
        ),
        case(405, "connect_refused", good.replace("GET /", "CONNECT alice.notes.localhost:80"), good),
    ]
}

fn chunks() -> Vec<Case> {
    let coded = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let body = |bad: &str, good: &str| case(400, "bad_body", coded(bad), coded(good));
    let good = "5\r\nhello\r\n0\r\n\r\n";
    vec![
        body("5\nhello\r\n0\r\n\r\n", good),
        body("5\r\nhelloX0\r\n\r\n", good),
        body("5\r\nhello\n0\r\n\r\n", good),
        body("0x5\r\nhello\r\n0\r\n\r\n", good),
        body("+5\r\nhello\r\n0\r\n\r\n", good),
        body(" 5\r\nhello\r\n0\r\n\r\n", good),
        body("5 \r\nhello\r\n0\r\n\r\n", good),
        body("\r\nhello\r\n0\r\n\r\n", good),
        body("ffffffffffffffff\r\nhello\r\n0\r\n\r\n", good),
        body("10000000000000005\r\nhello\r\n0\r\n\r\n", "000000000000005\r\nhello\r\n0\r\n\r\n"),
        body("5;a=b\nc\r\nhello\r\n0\r\n\r\n", "5;a=bc\r\nhello\r\n0\r\n\r\n"),
        body(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(16_385)), "5;eee\r\nhello\r\n0\r\n\r\n"),
        body("5\r\nhello\r\n0\r\nA : b\r\n\r\n", "5\r\nhello\r\n0\r\nA: b\r\n\r\n"),
        body("5\r\nhello\r\n0\r\nA: b\nC: d\r\n\r\n", "5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n"),
        body(
            &format!("0\r\nA: {}\r\n\r\n", "t".repeat(8 * 1024)),
            &format!("0\r\nA: {}\r\n\r\n", "t".repeat(8 * 1024 - 7)),
        ),
    ]
}

fn sizes() -> Vec<Case> {
    let long =
        |n: usize| format!("GET / HTTP/1.1\r\nHost: alice.notes.localhost\r\nA: {}\r\n\r\n", "a".repeat(n));
    let many =
        |n: usize| format!("GET / HTTP/1.1\r\nHost: alice.notes.localhost\r\n{}\r\n", "A: b\r\n".repeat(n));
    let rest = long(0).len();
    vec![
        case(431, "head_too_large", long(65_536 - rest + 1), long(65_536 - rest)),
        case(431, "head_too_large", many(100), many(99)),
    ]
}

#[tokio::test]
async fn each_refused_message_has_a_good_neighbour() {
    let (app, mut seen) = App::echo().await;
    let front = Front::before(&app).await;
    let cases: Vec<_> =
        [lengths_and_codings(), heads(), hosts(), chunks(), sizes()].into_iter().flatten().collect();
    assert!(cases.len() > 60);
    for Case { bad, good, status: expected, code } in cases {
        let shown = &bad[..bad.len().min(200)];
        let mut client = front.client().await;
        // What comes after a refused message is never read as a request.
        client.send(format!("{bad}GET /smuggled HTTP/1.1\r\nHost: alice.notes.localhost\r\n\r\n")).await;
        let (head, body) = client.response().await;
        assert_eq!(status(&head), expected, "{shown:?} -> {head}");
        assert!(body.contains(&format!("\"code\":\"{code}\"")), "{shown:?} -> {body}");
        assert_eq!(header(&head, "connection"), Some("close"), "{shown:?}");
        assert_eq!(client.rest().await, "", "{shown:?}: something follows the refusal");
        assert!(seen.try_recv().is_err(), "{shown:?} reached the workload");

        let (head, _) = front.ask(&good).await;
        assert_eq!(status(&head), 200, "the good neighbour of {shown:?} was refused");
        assert!(seen.recv().await.is_some());
    }
}

#[tokio::test]
async fn what_follows_a_good_message_is_the_next_request() {
    let (app, mut seen) = App::echo().await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    let smuggled = "GET /inside HTTP/1.1\r\nHost: alice.notes.localhost\r\n\r\n";
    let length = format!("Content-Length: {}\r\n", smuggled.len());
    client.send(post(&length, smuggled) + "GET /after HTTP/1.1\r\nHost: alice.notes.localhost\r\n\r\n").await;
    assert_eq!(client.response().await.1, format!("/p {smuggled}"));
    assert_eq!(client.response().await.1, "/after ");
    let lines: Vec<_> = [seen.recv().await.unwrap(), seen.recv().await.unwrap()]
        .iter()
        .map(|head| head.lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(lines, ["POST /p HTTP/1.1", "GET /after HTTP/1.1"]);
}
