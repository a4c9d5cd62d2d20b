//! Frames sent to exhaust a server: it sends the connection away, or answers nothing it was not asked.

use std::time::Duration;

use h2::Reason;
use insula_edge::public::Settings;
use tokio::io::AsyncWriteExt;

use crate::h2_frames::{CONTINUATION, END_HEADERS, END_STREAM, Frame, HEADERS, PING, RST_STREAM, Raw, get};
use crate::harness::{App, Front, within};

async fn silent() -> App {
    App::new(|_, mut wire| async move {
        wire.rest().await;
    })
    .await
}

/// Writes pieces until the other side takes no more, or as often as told.
async fn flood(raw: &mut Raw, times: u32, piece: impl Fn(u32) -> Vec<u8>) -> u32 {
    for n in 0..times {
        if within(raw.stream.write_all(&piece(n))).await.is_err() {
            return n;
        }
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_resets_without_end_is_sent_away() {
    let app = silent().await;
    let front = Front::before(&app).await;
    let raw = Raw::to(front.address).await;
    let (mut raw, mut writer) = raw.split();
    let writing = tokio::spawn(async move {
        for n in 0..100_000 {
            let stream = 2 * n + 1;
            let cancel = Frame::new(RST_STREAM, 0, stream, u32::from(Reason::CANCEL).to_be_bytes().to_vec());
            let both = [get(stream, END_STREAM).bytes(), cancel.bytes()].concat();
            if writer.write_all(&both).await.is_err() {
                return n;
            }
        }
        100_000
    });
    assert_eq!(raw.goaway().await, Some(Reason::ENHANCE_YOUR_CALM));
    drop(raw);
    assert!(within(writing).await.unwrap() < 100_000);
    assert!(app.connections() <= 400, "{} cancelled requests reached the workload", app.connections());
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    let app = silent().await;
    let front = Front::before(&app).await;
    let mut raw = Raw::to(front.address).await;
    for n in 0..101 {
        raw.send(&get(2 * n + 1, END_STREAM)).await;
    }
    assert_eq!(raw.reset().await, Some((201, Reason::REFUSED_STREAM)));
}

#[tokio::test]
async fn a_header_block_without_end_ends_the_connection() {
    let app = silent().await;
    let front = Front::before(&app).await;
    let mut raw = Raw::to(front.address).await;
    let begin = get(1, 0);
    raw.send(&Frame::new(HEADERS, 0, 1, begin.payload)).await;
    let empty = Frame::new(CONTINUATION, 0, 1, Vec::new()).bytes();
    let taken = flood(&mut raw, 2_000_000, |_| empty.repeat(100)).await;
    assert!(taken < 2_000_000);
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn a_header_block_that_grows_is_cut() {
    let app = silent().await;
    let front = Front::before(&app).await;
    let mut raw = Raw::to(front.address).await;
    raw.send(&Frame::new(HEADERS, 0, 1, get(1, 0).payload)).await;
    let field = crate::h2_frames::literal("x-a", &[b'a'; 8000]);
    let more = Frame::new(CONTINUATION, 0, 1, field).bytes();
    let taken = flood(&mut raw, 10_000, |_| more.clone()).await;
    assert!(taken < 10_000, "80 MB of header fields were taken");
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn a_client_that_pings_and_never_reads_is_cut() {
    let app = silent().await;
    let settings = Settings { write_timeout: Duration::from_millis(200), ..Settings::new("localhost") };
    let front = Front::with(&app, settings, Duration::from_secs(50)).await;
    let mut raw = Raw::to(front.address).await;
    let pings = Frame::new(PING, 0, 0, vec![7; 8]).bytes().repeat(1000);
    let taken = flood(&mut raw, 100_000, |_| pings.clone()).await;
    assert!(taken < 20_000, "{taken} times 1,000 pings were taken without an answer being read");
}

#[tokio::test]
async fn a_preface_and_nothing_more_is_not_waited_for() {
    let app = silent().await;
    let settings = Settings {
        header_timeout: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(50),
        ..Settings::new("localhost")
    };
    let front = Front::with(&app, settings, Duration::from_secs(50)).await;
    for begun in ["PRI * HTTP/2.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = front.client().await;
        client.send(begun).await;
        // What comes are frames of the server, then the end.
        within(tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut Vec::new())).await.unwrap_or(0);
    }
    let mut raw = Raw::to(front.address).await;
    raw.send(&Frame::new(HEADERS, 0, 1, get(1, 0).payload)).await;
    assert!(raw.goaway().await.is_some(), "a head that is never finished was waited for");
}

#[tokio::test]
async fn pings_and_settings_are_answered() {
    let app = silent().await;
    let front = Front::before(&app).await;
    let mut raw = Raw::to(front.address).await;
    raw.send(&Frame::new(PING, 0, 0, vec![1, 2, 3, 4, 5, 6, 7, 8])).await;
    let pong = raw.frame(|f| f.kind == PING).await.unwrap();
    assert_eq!((pong.flags, pong.payload), (1, vec![1, 2, 3, 4, 5, 6, 7, 8]));
    raw.send(&Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82\x84\x86".to_vec())).await;
    // No host at all: answered, and the connection goes on.
    assert!(raw.frame(|f| f.kind == HEADERS && f.stream == 1).await.is_some());
}
