//! Bodies stream: nothing is held back, and nothing piles up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use crate::harness::{App, Front, get, header, request, status, within};

const GIB: u64 = 1 << 30;

/// Peak resident memory of this process, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Counts what comes, up to `expected`, and answers with the count.
async fn counting(expected: u64) -> App {
    App::new(move |_, mut wire| async move {
        wire.head().await.unwrap();
        let (mut counted, mut piece) = (wire.discard(), vec![0; 256 * 1024]);
        while counted < expected {
            let n = within(wire.stream.read(&mut piece)).await.unwrap();
            assert!(n > 0, "the upload was cut short");
            counted += n as u64;
        }
        let text = counted.to_string();
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())).await;
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_goes_up_without_being_held() {
    let app = counting(GIB).await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(request("POST", "/", &format!("Content-Length: {GIB}\r\n"), "")).await;
    let piece = vec![b'x'; 256 * 1024];
    for _ in 0..GIB / piece.len() as u64 {
        client.send(&piece).await;
    }
    assert_eq!(client.response().await.1, GIB.to_string());
    let peak = peak_memory();
    assert!(peak < 192 << 20, "peak memory {peak} with 1 GiB gone through");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_stops_the_writer() {
    let written = Arc::new(AtomicU64::new(0));
    let (counter, (stopped, stop)) = (Arc::clone(&written), oneshot::channel());
    let stopped = std::sync::Mutex::new(Some(stopped));
    let app = App::new(move |_, mut wire| {
        let (counter, stopped) = (Arc::clone(&counter), stopped.lock().unwrap().take().unwrap());
        async move {
            wire.head().await.unwrap();
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n")).await;
            let piece = vec![b'x'; 64 * 1024];
            while within(wire.stream.write_all(&piece)).await.is_ok() {
                counter.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
            stopped.send(()).unwrap();
        }
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(get("/")).await;
    client.head().await.unwrap();
    assert_eq!(client.take(1 << 20).await.len(), 1 << 20);
    drop(client);
    stop.await.unwrap();
    let written = written.load(Ordering::SeqCst);
    assert!((1 << 20..64 << 20).contains(&written), "{written} bytes were in flight");
}

#[tokio::test]
async fn both_directions_flow_at_once() {
    let app = App::new(|_, mut wire| async move {
        wire.head().await.unwrap();
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for _ in 0..100 {
            // A chunk of one byte: size line, byte, line end.
            let chunk = wire.take(6).await;
            wire.send(chunk).await;
        }
        assert_eq!(wire.take(5).await, "0\r\n\r\n");
        wire.send("0\r\n\r\n").await;
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(request("POST", "/", "Transfer-Encoding: chunked\r\n", "")).await;
    let head = client.head().await.unwrap();
    assert_eq!((status(&head), header(&head, "transfer-encoding")), (200, Some("chunked")));
    for _ in 0..100 {
        // Each piece is sent only after the one before has come back.
        client.send("1\r\nx\r\n").await;
        assert_eq!(client.take(6).await, "1\r\nx\r\n");
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.rest().await, "0\r\n\r\n");
}

#[tokio::test]
async fn an_event_arrives_before_the_next_one_is_made() {
    let (next, more) = tokio::sync::mpsc::channel::<()>(1);
    let more = Arc::new(tokio::sync::Mutex::new(more));
    let app = App::new(move |_, mut wire| {
        let more = Arc::clone(&more);
        async move {
            wire.head().await.unwrap();
            wire.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
            while more.lock().await.recv().await.is_some() {
                wire.send("data: x\n\n").await;
            }
        }
    })
    .await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(get("/events")).await;
    client.head().await.unwrap();
    for _ in 0..10 {
        next.send(()).await.unwrap();
        assert_eq!(client.take(14).await, "9\r\ndata: x\n\n\r\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_chunks_are_counted_right() {
    let chunk = format!("1000\r\n{}\r\n", "y".repeat(0x1000));
    let chunks = 4096;
    let app = counting(chunk.len() as u64 * chunks + 5).await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(request("PUT", "/", "Transfer-Encoding: chunked\r\n", "")).await;
    for _ in 0..chunks {
        client.send(&chunk).await;
    }
    client.send("0\r\n\r\n").await;
    let (head, body) = client.response().await;
    assert_eq!((status(&head), body), (200, (chunk.len() as u64 * chunks + 5).to_string()));
}
