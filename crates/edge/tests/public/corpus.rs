//! The corpus in `tests/smuggling`, sent to the real proxy in front of a workload that writes everything down.

use std::collections::BTreeSet;
use std::time::Duration;

use insula_edge::public::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::cases::{Case, Expected, Sent, cases};
use crate::h2_frames::{DATA, END_STREAM, GOAWAY, HEADERS, RST_STREAM, Raw};
use crate::harness::{App, Front, Wire, status, within};
use crate::readers::{self, Reader};

/// Sent on a connection of its own, after which every earlier connection has been accepted.
const LAST: &[u8] = b"the last connection";

/// A workload that answers each request and tells every byte of each connection once it is over.
async fn recorder() -> (App, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (tell, told) = mpsc::unbounded_channel();
    let app = App::new(move |_, mut wire: Wire| {
        let tell = tell.clone();
        async move {
            let (mut all, mut answered, mut piece) = (Vec::new(), 0, vec![0; 16 * 1024]);
            while let Ok(n @ 1..) = within(wire.stream.read(&mut piece)).await {
                all.extend_from_slice(&piece[..n]);
                let whole = Reader::default().requests(&all).len();
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".repeat(whole - answered);
                answered = whole;
                if wire.stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
            tell.send(all).unwrap();
        }
    })
    .await;
    (app, told)
}

/// What the readers make of everything that was written down, each distinct opinion once.
async fn opinions(app: &App, mut told: mpsc::UnboundedReceiver<Vec<u8>>) -> BTreeSet<Vec<Vec<u8>>> {
    let mut last = TcpStream::connect(app.address()).await.unwrap();
    last.write_all(LAST).await.unwrap();
    drop(last);
    let mut records = Vec::new();
    while !records.iter().any(|r| r == LAST) || records.len() < app.connections() {
        records.push(within(told.recv()).await.unwrap());
    }
    records.retain(|record| record != LAST);
    let opinion = |reader: &Reader| records.iter().flat_map(|record| reader.requests(record)).collect();
    readers::all().iter().map(opinion).collect()
}

/// Sends a case of HTTP/1.1 and checks the answers.
async fn ask(front: &Front, case: &Case, bytes: &[u8]) {
    let mut client = front.client().await;
    client.send(bytes).await;
    for expected in &case.expected {
        match expected {
            Expected::Serve(_) => {
                let (head, body) = client.response().await;
                assert_eq!(status(&head), 200, "{case}: {body}");
            }
            Expected::Refuse(code, name) => {
                let (head, body) = client.response().await;
                assert_eq!(status(&head), *code, "{case}: {body}");
                assert!(body.contains(&format!("\"code\":\"{name}\"")), "{case}: {body}");
                assert_eq!(client.rest().await, "", "{case}: something follows the refusal");
            }
            _ => {}
        }
    }
}

/// Sends a case of HTTP/2 and checks what becomes of its stream.
async fn ask_h2(front: &Front, case: &Case, frames: &[crate::h2_frames::Frame]) {
    let mut raw = Raw::to(front.address).await;
    // In one piece, so that none of it is answered before all of it is there.
    let all: Vec<u8> = frames.iter().flat_map(crate::h2_frames::Frame::bytes).collect();
    within(raw.stream.write_all(&all)).await.unwrap();
    for expected in &case.expected {
        match expected {
            Expected::Serve(_) => {
                let end = raw
                    .frame(|f| {
                        f.kind == RST_STREAM
                            || f.stream == 1 && f.flags & END_STREAM != 0 && f.kind <= HEADERS
                    })
                    .await;
                assert!(end.is_some_and(|f| f.kind != RST_STREAM), "{case}");
            }
            Expected::Refuse(code, name) => {
                let head = raw.frame(|f| [HEADERS, RST_STREAM, GOAWAY].contains(&f.kind)).await;
                assert!(head.is_some_and(|f| f.kind == HEADERS), "{case}: no answer");
                let body =
                    raw.frame(|f| f.stream == 1 && f.kind == DATA && !f.payload.is_empty()).await.unwrap();
                let body = String::from_utf8(body.payload).unwrap();
                assert!(body.contains(&format!("\"status\":{code},\"code\":\"{name}\"")), "{case}: {body}");
            }
            Expected::Reset(code) => {
                let (stream, reason) = raw.reset().await.unwrap_or_else(|| panic!("{case}: not reset"));
                assert_eq!((stream, format!("{reason:?}")), (1, code.clone()), "{case}");
            }
            Expected::GoAway(code) => {
                let reason = raw.goaway().await.unwrap_or_else(|| panic!("{case}: not sent away"));
                assert_eq!(format!("{reason:?}"), *code, "{case}");
            }
            Expected::Cut => {
                let cut = raw.frame(|f| [RST_STREAM, GOAWAY].contains(&f.kind) || f.kind == HEADERS).await;
                assert!(cut.is_none_or(|f| f.kind != HEADERS), "{case}: answered");
            }
            Expected::Partial => {}
        }
    }
}

/// What the workload must have seen.
fn wanted(case: &Case) -> Vec<Vec<u8>> {
    let served = |expected: &Expected| match expected {
        Expected::Serve(request) => Some(request.clone()),
        _ => None,
    };
    case.expected.iter().filter_map(served).collect()
}

fn shown(opinions: &BTreeSet<Vec<Vec<u8>>>) -> Vec<Vec<String>> {
    let text = |o: &Vec<Vec<u8>>| o.iter().map(|r| String::from_utf8_lossy(r).into_owned()).collect();
    opinions.iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_sees_what_the_proxy_understood_or_nothing() {
    let cases = cases();
    assert!(cases.len() >= 200, "only {} cases", cases.len());
    for case in &cases {
        println!("{case}");
        let (app, told) = recorder().await;
        let settings = Settings { drain_grace: Duration::ZERO, ..Settings::new("localhost") };
        let front = Front::with(&app, settings, Duration::from_secs(50)).await;
        match &case.sent {
            Sent::Bytes(bytes) => ask(&front, case, bytes).await,
            Sent::Frames(frames) => ask_h2(&front, case, frames).await,
        }
        front.drain.cancel();
        within(front.served).await.unwrap();
        front.runs.end();
        let opinions = opinions(&app, told).await;
        assert_eq!(opinions, BTreeSet::from([wanted(case)]), "{case}: {:?}", shown(&opinions));
    }
}

/// The proxy that nobody should write: what comes in goes out.
async fn naive(app: &App, bytes: &[u8]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut inside, _) = listener.accept().await.unwrap();
    let mut workload = TcpStream::connect(app.address()).await.unwrap();
    let forwarding = async { tokio::io::copy_bidirectional(&mut inside, &mut workload).await };
    let asking = async {
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        client.read_to_end(&mut Vec::new()).await
    };
    let (forwarded, _asked) = within(async { tokio::join!(forwarding, asking) }).await;
    // Whether anybody reset a connection is not asked.
    drop(forwarded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_naive_forwarder_is_caught() {
    let (mut caught, mut bad) = (BTreeSet::new(), 0);
    let mut count = 0;
    for case in cases() {
        let refused = wanted(&case).len() < case.expected.len();
        let bytes = match &case.sent {
            Sent::Bytes(bytes) => bytes.clone(),
            Sent::Frames(_) => case.naive.clone(),
        };
        if !refused {
            continue;
        }
        bad += 1;
        let (app, told) = recorder().await;
        naive(&app, &bytes).await;
        let opinions = opinions(&app, told).await;
        if opinions != BTreeSet::from([wanted(&case)]) {
            count += 1;
            caught.insert(case.class.clone());
        }
    }
    assert!(count * 4 > bad * 3, "the readers noticed {count} of {bad} bad cases only");
    for class in [
        "CL.TE",
        "TE.CL",
        "TE.TE",
        "CL.CL",
        "CL list",
        "bare LF",
        "obs-fold",
        "chunk line end",
        "h2.TE",
        "h2.CL",
        "h2 CR LF",
        "h2 pseudo",
    ] {
        assert!(caught.contains(class), "no reader noticed anything of `{class}`");
    }
}
