//! Switched protocols and raw TCP.

use std::time::Duration;

use insula_edge::public::Settings;
use tokio::io::AsyncWriteExt;

use crate::harness::{App, Front, get, header, request, status, within};

const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n";

/// Switches, then answers every byte with itself until the client's half ends, then says goodbye.
async fn switching() -> App {
    App::new(|_, mut wire| async move {
        let head = wire.head().await.unwrap();
        if header(&head, "upgrade") != Some("websocket") {
            wire.send("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n")
                .await;
            return;
        }
        assert_eq!(header(&head, "connection"), Some("upgrade"));
        wire.send(
            "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-A: b\r\n\r\nfirst",
        )
        .await;
        echo_then(&mut wire, "bye").await;
    })
    .await
}

async fn echo_then(wire: &mut crate::harness::Wire, last: &str) {
    loop {
        let piece = wire.take(1).await;
        if piece.is_empty() {
            break;
        }
        wire.send(piece).await;
    }
    wire.send(last).await;
}

#[tokio::test]
async fn a_switched_protocol_is_a_tunnel_with_two_halves() {
    let app = switching().await;
    let mut front = Front::before(&app).await;
    let mut client = front.client().await;
    // Bytes of the new protocol may come in the same segment as the head.
    client.send(request("GET", "/ws", UPGRADE, "early")).await;
    let head = client.head().await.unwrap();
    assert_eq!((status(&head), header(&head, "upgrade")), (101, Some("websocket")));
    assert_eq!((header(&head, "connection"), header(&head, "x-a")), (Some("upgrade"), Some("b")));
    assert_eq!(client.take(10).await, "firstearly");
    client.send("hello").await;
    assert_eq!(client.take(5).await, "hello");
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, "bye");
    let told = front.told.recv().await.unwrap();
    assert_eq!((told.status, told.bytes), (101, (10, 18)));
}

#[tokio::test]
async fn without_an_upgrade_there_is_no_tunnel() {
    let app = switching().await;
    let front = Front::before(&app).await;
    let (head, _) = front.ask(get("/ws")).await;
    assert_eq!((status(&head), header(&head, "upgrade")), (426, Some("websocket")));
    let h2c = UPGRADE.replace("websocket", "h2c");
    assert_eq!(status(&front.ask(request("GET", "/ws", &h2c, "")).await.0), 426);
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_refused() {
    let app = App::new(|_, mut wire| async move {
        wire.head().await.unwrap();
        wire.send("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n").await;
        wire.rest().await;
    })
    .await;
    let front = Front::before(&app).await;
    let (head, body) = front.ask(get("/")).await;
    assert_eq!(status(&head), 502);
    assert!(body.contains("\"code\":\"bad_answer\""), "{body}");
}

#[tokio::test]
async fn an_open_tunnel_outlives_a_drain() {
    let app = switching().await;
    let front = Front::before(&app).await;
    let mut client = front.client().await;
    client.send(request("GET", "/ws", UPGRADE, "")).await;
    client.head().await.unwrap();
    assert_eq!(client.take(5).await, "first");
    front.drain.cancel();
    client.send("still here").await;
    assert_eq!(client.take(10).await, "still here");
    assert!(!front.served.is_finished());
    drop(client);
    within(front.served).await.unwrap();
}

#[tokio::test]
async fn raw_tcp_reaches_its_instance() {
    let app = App::new(|_, mut wire| async move {
        wire.send("220 ready\r\n").await;
        echo_then(&mut wire, "bye").await;
    })
    .await;
    let mut front = Front::tcp(&app, "notes:alice").await;
    let mut client = front.client().await;
    assert_eq!(client.take(11).await, "220 ready\r\n");
    client.send("PING").await;
    assert_eq!(client.take(4).await, "PING");
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, "bye");
    let told = front.told.recv().await.unwrap();
    assert_eq!((told.instance.as_deref(), told.bytes), (Some("notes:alice"), (4, 18)));
    front.drain.cancel();
    within(front.served).await.unwrap();
}

#[tokio::test]
async fn raw_tcp_to_a_broken_instance_is_closed() {
    let (app, _seen) = App::echo().await;
    let mut front = Front::tcp(&app, "notes:broken").await;
    let mut client = front.client().await;
    assert_eq!(client.rest().await, "");
    assert_eq!(front.told.recv().await.unwrap().error, Some("failed"));
    assert_eq!(app.connections(), 0);
}

/// Switches protocols if asked to, and then neither says anything nor closes.
async fn deaf() -> App {
    App::new(|_, mut wire| async move {
        if wire.take(4).await == "GET " {
            wire.head().await.unwrap();
            wire.send("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
        }
        std::future::pending::<()>().await;
    })
    .await
}

#[tokio::test]
async fn a_workload_that_never_closes_is_left_after_the_linger() {
    let settings = Settings { tunnel_linger: Duration::from_millis(20), ..Settings::new("localhost") };
    let app = deaf().await;
    let mut front = Front::with(&app, settings.clone(), Duration::from_secs(50)).await;
    for half in [true, false] {
        let mut client = front.client().await;
        client.send(request("GET", "/ws", UPGRADE, "")).await;
        assert_eq!(status(&client.head().await.unwrap()), 101);
        if half {
            client.stream.shutdown().await.unwrap();
            assert_eq!(client.rest().await, "");
        }
        drop(client);
        assert_eq!(within(front.told.recv()).await.unwrap().status, 101);
    }
    let mut front = Front::tcp_with(&app, "notes:alice", settings).await;
    let mut client = front.client().await;
    client.send("PING").await;
    drop(client);
    assert_eq!(within(front.told.recv()).await.unwrap().bytes, (4, 0));
}

#[tokio::test]
async fn a_silent_tunnel_whose_client_is_there_does_not_end() {
    let settings = Settings { tunnel_linger: Duration::from_millis(5), ..Settings::new("localhost") };
    let app = switching().await;
    let mut front = Front::with(&app, settings, Duration::from_secs(50)).await;
    let mut client = front.client().await;
    client.send(request("GET", "/ws", UPGRADE, "")).await;
    client.head().await.unwrap();
    assert_eq!(client.take(5).await, "first");
    // Longer than the linger, so that a tunnel that ends too early has ended by now.
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.send("hello").await;
    assert_eq!(client.take(5).await, "hello");
    assert!(front.told.try_recv().is_err());
}
