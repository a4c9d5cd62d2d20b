//! Clients that stop reading: they hold neither the instance nor a place for ever.

use std::time::Duration;

use insula_edge::public::Settings;
use tokio::sync::mpsc;

use crate::harness::{App, Front, get, header, request, status, within};

/// More than any socket buffer holds.
const ENDLESS: usize = 1 << 30;

/// Answers `/flood` with more than anybody takes at once, switches protocols on `/tunnel` and floods there;
/// tells when its client was gone.
async fn flooding() -> (App, mpsc::UnboundedReceiver<()>) {
    let (gone, told) = mpsc::unbounded_channel();
    let app = App::new(move |_, mut wire| {
        let gone = gone.clone();
        async move {
            while let Some(head) = wire.head().await {
                if head.starts_with("GET /small") {
                    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                    continue;
                }
                let answer = match header(&head, "upgrade") {
                    Some(_) => "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: flood\r\n\r\n".to_owned(),
                    None => format!("HTTP/1.1 200 OK\r\nContent-Length: {ENDLESS}\r\n\r\n"),
                };
                wire.send(answer).await;
                while within(tokio::io::AsyncWriteExt::write_all(&mut wire.stream, &[b'x'; 65536]))
                    .await
                    .is_ok()
                {}
                gone.send(()).unwrap();
                return;
            }
        }
    })
    .await;
    (app, told)
}

/// One place only, and little patience.
fn impatient() -> Settings {
    Settings { max_connections: 1, write_timeout: Duration::from_millis(200), ..Settings::new("localhost") }
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_and_its_place_given_away() {
    let (app, mut gone) = flooding().await;
    let mut front = Front::with(&app, impatient(), Duration::from_secs(60)).await;
    let mut stalled = front.client().await;
    stalled.send(get("/flood")).await;
    assert_eq!(status(&stalled.head().await.unwrap()), 200);
    // From here on it reads nothing; the workload learns that, and the next client gets its turn.
    within(gone.recv()).await.unwrap();
    let told = within(front.told.recv()).await.unwrap();
    assert_eq!((told.status, told.error), (200, Some("client_gone")));
    assert!(told.bytes.1 < ENDLESS as u64);
    assert_eq!(front.ask(get("/small")).await.1, "ok");
    drop(stalled);
}

#[tokio::test]
async fn a_tunnel_whose_client_stops_reading_is_cut() {
    let (app, mut gone) = flooding().await;
    let front = Front::with(&app, impatient(), Duration::from_secs(60)).await;
    let mut stalled = front.client().await;
    stalled.send(request("GET", "/tunnel", "Connection: upgrade\r\nUpgrade: flood\r\n", "")).await;
    assert_eq!(status(&stalled.head().await.unwrap()), 101);
    within(gone.recv()).await.unwrap();
    assert_eq!(front.ask(get("/small")).await.1, "ok");
    drop(stalled);
}

#[tokio::test]
async fn with_patience_left_a_client_that_stops_reading_keeps_its_place() {
    let (app, mut gone) = flooding().await;
    let settings = Settings { write_timeout: Duration::from_secs(3600), ..impatient() };
    let front = Front::with(&app, settings, Duration::from_secs(60)).await;
    let mut stalled = front.client().await;
    stalled.send(get("/flood")).await;
    assert_eq!(status(&stalled.head().await.unwrap()), 200);
    // Far more goes through than the buffers on the way hold, so it was full at times.
    let mut read = stalled.discard();
    while read < 64 << 20 {
        assert!(stalled.take(1 << 20).await.len() == 1 << 20, "it was cut although it reads");
        read += 1 << 20;
    }
    assert!(gone.try_recv().is_err());
}
