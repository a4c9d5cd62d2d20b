//! One WebSocket, as a browser would open it (RFC 6455).

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::stage::http::{PATIENCE, Place};

const TEXT: u8 = 0x81;
/// Any mask will do: it is there against caches that misunderstand, not against us.
const MASK: [u8; 4] = [7, 3, 1, 9];

/// An open connection.
#[derive(Debug)]
pub(super) struct WebSocket {
    stream: TcpStream,
}

impl WebSocket {
    /// Connects and upgrades.
    pub(super) async fn open(place: &Place) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(place.address).await?;
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            place.host
        );
        stream.write_all(request.as_bytes()).await?;
        let head = timeout(PATIENCE, head(&mut stream)).await.context("no answer to the upgrade")??;
        if !head.starts_with("HTTP/1.1 101 ") {
            bail!("no upgrade: {}", head.lines().next().unwrap_or_default());
        }
        Ok(Self { stream })
    }

    /// Sends a short text and waits for the next one.
    pub(super) async fn echo(&mut self, text: &str) -> anyhow::Result<String> {
        let length = u8::try_from(text.len()).ok().filter(|&n| n < 126).context("the text is too long")?;
        let mut frame = vec![TEXT, 0x80 | length];
        frame.extend_from_slice(&MASK);
        frame.extend(text.bytes().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.write_all(&frame).await?;
        timeout(PATIENCE, self.hear()).await.context("nothing came back")?
    }

    async fn hear(&mut self) -> anyhow::Result<String> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).await?;
        if head[0] != TEXT || head[1] > 125 {
            bail!("not a short text: {head:?}");
        }
        let mut text = vec![0; usize::from(head[1])];
        self.stream.read_exact(&mut text).await?;
        Ok(String::from_utf8(text)?)
    }
}

/// Reads up to the blank line, byte by byte: what follows belongs to the WebSocket.
async fn head(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(head)?)
}
