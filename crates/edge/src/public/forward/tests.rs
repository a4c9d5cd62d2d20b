use super::*;
use crate::public::framing;
use crate::public::head::{parse_request, parse_response, slots};

fn forwarded(fields: &str, trusted: bool) -> Vec<String> {
    let text = format!("GET /x HTTP/1.1\r\nHost: a.b.c:80\r\n{fields}\r\n");
    let mut slots = slots();
    let head = parse_request(text.as_bytes(), &mut slots).unwrap();
    let hop = Hop {
        id: RequestId::of(7),
        peer: "192.0.2.1".parse().unwrap(),
        trusted,
        host: "a.b.c:80",
        target: "/x",
        framing: framing::of_request(&head).unwrap(),
        upgrade: head.fields.has_token(Kind::Connection, "upgrade"),
    };
    let mut out = Vec::new();
    request(&mut out, &head, &hop);
    String::from_utf8(out).unwrap().trim_end().lines().map(str::to_owned).collect()
}

const OWN: [&str; 4] = [
    "x-forwarded-for: 192.0.2.1",
    "x-forwarded-proto: http",
    "x-forwarded-host: a.b.c:80",
    "insula-request-id: 0000000000000007",
];

fn expect(fields: &str, kept: &[&str]) {
    let mut expected = vec!["GET /x HTTP/1.1", "Host: a.b.c:80"];
    expected.extend(kept);
    expected.extend(OWN);
    assert_eq!(forwarded(fields, false), expected, "{fields:?}");
}

#[test]
fn end_to_end_fields_pass_untouched() {
    expect(
        "Authorization: Bearer x\r\nX-A:  b \r\nCookie: c=d\r\n",
        &["Authorization: Bearer x", "X-A: b", "Cookie: c=d"],
    );
    expect("Content-Length: 5\r\n", &["Content-Length: 5"]);
    expect("Expect: 100-continue\r\n", &["Expect: 100-continue"]);
}

#[test]
fn fields_of_this_hop_end_here() {
    expect("Connection: close\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: y\r\n", &[]);
    expect("Connection: X-Secret, close\r\nX-Secret: 1\r\nX-Other: 2\r\n", &["X-Other: 2"]);
    expect("X-Secret: 1\r\n", &["X-Secret: 1"]);
    expect("Connection: host, content-length\r\nContent-Length: 5\r\n", &["Content-Length: 5"]);
    expect("TE: trailers, deflate\r\n", &["connection: te", "te: trailers"]);
    expect("Upgrade: websocket\r\n", &[]);
    expect("Connection: Upgrade\r\nUpgrade: websocket\r\n", &["connection: upgrade", "upgrade: websocket"]);
    expect("Transfer-Encoding: chunked\r\n", &["transfer-encoding: chunked"]);
}

#[test]
fn a_stranger_claims_nothing() {
    let lies = "X-Forwarded-For: 1.1.1.1\r\nX_Forwarded_For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 1.1.1.1\r\n\
                Forwarded: for=1.1.1.1\r\nX-Forwarded-Port: 1\r\nInsula-Request-Id: mine\r\nContent_Length: 9\r\n";
    expect(lies, &[]);
}

#[test]
fn a_trusted_proxy_is_believed() {
    let told = "X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\nX-Real-IP: 1.1.1.1\r\n";
    let lines = forwarded(told, true);
    for line in [
        "x-forwarded-for: 1.1.1.1, 2.2.2.2, 192.0.2.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: h",
        "X-Real-IP: 1.1.1.1",
    ] {
        assert!(lines.iter().any(|l| l == line), "no `{line}` in {lines:?}");
    }
}

fn returned(text: &str, to: Return) -> Vec<String> {
    let mut slots = slots();
    let head = parse_response(text.as_bytes(), &mut slots).unwrap();
    let mut out = Vec::new();
    response(&mut out, &head, &to);
    String::from_utf8(out).unwrap().trim_end().lines().map(str::to_owned).collect()
}

#[test]
fn responses_are_framed_for_their_reader() {
    let to = Return {
        id: RequestId::of(7),
        framing: Framing::UntilClose,
        close: false,
        version: Version::Http11,
        switching: false,
    };
    let id = "insula-request-id: 0000000000000007";
    let text = "HTTP/1.0 200 Fine\r\nServer: s\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nInsula-Request-Id: y\r\n\r\n";
    assert_eq!(returned(text, to), ["HTTP/1.1 200 Fine", "Server: s", id, "transfer-encoding: chunked"]);
    let old = Return { version: Version::Http10, close: true, ..to };
    assert_eq!(returned(text, old), ["HTTP/1.1 200 Fine", "Server: s", id, "connection: close"]);
    let empty = Return { framing: Framing::Empty, ..to };
    let text = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(returned(text, empty), ["HTTP/1.1 204 No Content", id]);
}

#[test]
fn trailers_that_steer_are_dropped() {
    let mut out = Vec::new();
    trailers(
        b"X-Sum: 1\r\nContent-Length: 5\r\nHost: h\r\nAuthorization: x\r\nX-Forwarded-For: y\r\n\r\n",
        &mut out,
    )
    .unwrap();
    assert_eq!(out, b"X-Sum: 1\r\n\r\n");
    assert_eq!(trailers(b"X-Sum: 1\n\r\n\r\n", &mut out), Err(BadBody::Trailers));
    assert_eq!(trailers(b"X-Sum : 1\r\n\r\n", &mut out), Err(BadBody::Trailers));
}
