//! Bodies over HTTP/2 stream under its windows: nothing piles up, and nobody holds an instance by not reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use insula_edge::public::Settings;
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, mpsc};

use crate::h2_harness::{Client, request, whole};
use crate::harness::{App, Front, within};

/// Waits for room and fills it; how many bytes that were.
async fn fill(stream: &mut SendStream<Bytes>, most: usize) -> usize {
    stream.reserve_capacity(most);
    let room = match stream.capacity() {
        0 => within(std::future::poll_fn(|cx| stream.poll_capacity(cx))).await.unwrap().unwrap(),
        room => room,
    };
    let n = room.min(most);
    stream.send_data(vec![b'x'; n].into(), false).unwrap();
    n
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_arrives_whole_and_is_not_held() {
    const SIZE: u64 = 256 << 20;
    let app = App::new(|_, mut wire| async move {
        wire.head().await.unwrap();
        let (mut counted, mut piece) = (wire.discard(), vec![0; 256 * 1024]);
        while counted < SIZE {
            let n = within(wire.stream.read(&mut piece)).await.unwrap();
            assert!(n > 0, "the upload was cut short");
            counted += n as u64;
        }
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let mut front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    let asked = request("POST", "/").header("content-length", SIZE);
    let (response, mut stream) = client.begin(asked, false).await;
    let mut left = SIZE;
    while left > 0 {
        left -= fill(&mut stream, usize::try_from(left.min(1 << 20)).unwrap()).await as u64;
    }
    stream.send_data(Bytes::new(), true).unwrap();
    assert_eq!(whole(within(response).await.unwrap()).await.unwrap().body, "ok");
    assert_eq!(within(front.told.recv()).await.unwrap().bytes, (SIZE, 2));
}

#[tokio::test]
async fn a_workload_that_stops_reading_stops_the_client() {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (arrive, wait) = (Arc::clone(&arrived), Arc::clone(&go));
    let app = App::new(move |_, mut wire| {
        let (arrive, wait) = (Arc::clone(&arrive), Arc::clone(&wait));
        async move {
            wire.head().await.unwrap();
            arrive.notify_one();
            wait.notified().await;
        }
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = Client::of(&front).await;
    let (_response, mut stream) = client.begin(request("POST", "/"), false).await;
    within(arrived.notified()).await;
    let mut sent = 0;
    // The windows are full when no room comes for a while although everything else has come to rest.
    while let Ok(n) = tokio::time::timeout(Duration::from_millis(300), fill(&mut stream, 1 << 20)).await {
        sent += n;
        assert!(sent < 64 << 20, "{sent} bytes were taken that nobody reads");
    }
    assert!(sent > 128 * 1024);
    go.notify_one();
}

#[tokio::test]
async fn a_client_that_never_makes_room_loses_its_stream() {
    let (gone, mut told) = mpsc::unbounded_channel();
    let written = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&written);
    let app = App::new(move |_, mut wire| {
        let (gone, counter) = (gone.clone(), Arc::clone(&counter));
        async move {
            wire.head().await.unwrap();
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
            let write = |wire: &mut crate::harness::Wire| wire.stream.try_write(&[b'x'; 65536]);
            while within(wire.stream.writable()).await.is_ok() {
                match write(&mut wire) {
                    Ok(n) => _ = counter.fetch_add(n as u64, Ordering::SeqCst),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
            }
            gone.send(()).unwrap();
        }
    })
    .await;
    let settings = Settings { write_timeout: Duration::from_millis(200), ..Settings::new("localhost") };
    let mut front = Front::with(&app, settings, Duration::from_secs(50)).await;
    let mut client = Client::of(&front).await;
    let (response, _stream) = client.begin(request("GET", "/"), true).await;
    let response = within(response).await.unwrap();
    // From here on it gives no window; the workload learns that.
    within(told.recv()).await.unwrap();
    let heard = within(front.told.recv()).await.unwrap();
    assert_eq!((heard.status, heard.error), (200, Some("client_gone")));
    assert!(written.load(Ordering::SeqCst) < 64 << 20);
    assert!(whole(response).await.is_err());
}
