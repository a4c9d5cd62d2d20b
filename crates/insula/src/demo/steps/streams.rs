//! Connections that are not one request and one answer.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, bail};
use insula_api::Observed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, sleep, timeout};

use crate::demo::report::Finding;
use crate::demo::scene::Scene;
use crate::demo::websocket::WebSocket;
use crate::stage::http::PATIENCE;

/// More than twice the idle time of the demo's services.
const LONG: Duration = Duration::from_millis(1500);

/// A WebSocket to a sleeping room; silence on it does not let the room sleep.
pub(in crate::demo) async fn chat(scene: &Scene) -> anyhow::Result<Finding> {
    let place = scene.tenant("chat:lobby")?;
    scene.wait("chat:lobby", Observed::Asleep).await?;
    let mut socket = WebSocket::open(&place).await?;
    let first = socket.echo("anybody here?").await?;
    let before = scene.inspect("chat:lobby").await?.summary.app_pid;
    // Passing time is what is shown here: the room would have gone to sleep twice.
    sleep(LONG).await;
    let second = socket.echo("still here").await?;
    let after = scene.inspect("chat:lobby").await?.summary.app_pid;
    drop(socket);
    scene.wait("chat:lobby", Observed::Asleep).await?;
    let good = first == "anybody here?" && second == "still here" && before == after;
    let measured = if good { "2 echoes, same process, then sleep" } else { "not the same room" };
    Ok(Finding::new(measured, "2 echoes, same process", good))
}

/// A value set, a sleep, the value read again.
pub(in crate::demo) async fn redis(scene: &Scene) -> anyhow::Result<Finding> {
    if !["/usr/bin/redis-server", "/usr/local/bin/redis-server"].iter().any(|p| Path::new(p).exists()) {
        bail!("redis-server is not installed; `make setup` or `apt-get install redis-server` brings it");
    }
    scene.wait("cache:alice", Observed::Asleep).await?;
    let set = command(scene.cache(), "SET colour blue\r\n").await?;
    scene.wait("cache:alice", Observed::Asleep).await?;
    let got = command(scene.cache(), "GET colour\r\n").await?;
    let good = set == "+OK" && got == "$4 blue";
    Ok(Finding::new(format!("SET {set}, slept, GET {got}"), "SET +OK, slept, GET $4 blue", good))
}

/// One inline command and its answer, lines joined by spaces. Redis accepts connections while it still reads its
/// file, and says so; its clients ask again, and so does this.
async fn command(address: SocketAddr, text: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let asking = async {
        loop {
            let answer = ask(&mut stream, text).await?;
            if !answer.starts_with("-LOADING") {
                return Ok(answer);
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, asking).await.context("Redis does not answer")?
}

async fn ask(stream: &mut TcpStream, text: &str) -> anyhow::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    let mut bytes = vec![0; 256];
    let got = stream.read(&mut bytes).await?;
    Ok(String::from_utf8_lossy(bytes.get(..got).unwrap_or_default()).trim().replace("\r\n", " "))
}
