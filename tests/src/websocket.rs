//! A WebSocket client, as small as RFC 6455 lets it be.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::{PATIENCE, Request, read_reply};

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
/// Any mask will do for a test: it is there against caches, not against us (RFC 6455, section 10.3).
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// An open connection.
#[derive(Debug)]
pub struct WebSocket {
    stream: BufReader<TcpStream>,
}

impl WebSocket {
    /// Connects and upgrades.
    ///
    /// # Errors
    /// Those of the socket; `InvalidData` with the status when the server does not switch protocols.
    pub fn connect(address: SocketAddr, host: &str, path: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut stream = BufReader::new(stream);
        let request = Request::get(host, path)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        stream.get_mut().write_all(&request.bytes())?;
        let reply = read_reply(&mut stream, "GET")?;
        // The answer to the key of the example in RFC 6455, section 1.3.
        if reply.status != 101 || reply.header("sec-websocket-accept") != Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("status {}", reply.status)));
        }
        Ok(Self { stream })
    }

    fn send(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        let length = u8::try_from(payload.len()).ok().filter(|&n| n < 126);
        let length = length.ok_or_else(|| io::Error::other("longer than this client can send"))?;
        let mut frame = vec![first, 0x80 | length];
        frame.extend_from_slice(&MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.get_mut().write_all(&frame)
    }

    /// Sends a text of at most 125 bytes.
    ///
    /// # Errors
    /// Those of the socket, or when the text is too long.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.send(TEXT, text.as_bytes())
    }

    /// The next text.
    ///
    /// # Errors
    /// Those of the socket; `ConnectionAborted` when the other side closes.
    pub fn hear(&mut self) -> io::Result<String> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        let mut length = usize::from(head[1] & 0x7f);
        if length == 126 {
            let mut long = [0; 2];
            self.stream.read_exact(&mut long)?;
            length = usize::from(u16::from_be_bytes(long));
        }
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        match head[0] {
            TEXT => Ok(String::from_utf8_lossy(&payload).into_owned()),
            other => Err(io::Error::new(io::ErrorKind::ConnectionAborted, format!("frame {other:#x}"))),
        }
    }

    /// Says goodbye and waits until the other side has closed.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn close(mut self) -> io::Result<()> {
        self.send(CLOSE, &[])?;
        self.stream.read_to_end(&mut Vec::new()).map(|_| ())
    }
}
