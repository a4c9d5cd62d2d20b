//! A tiny HTTP/1.1 client that sends exactly what it is told.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use crate::PATIENCE;

/// One request, written as it stands.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    host: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// `GET path` of a host.
    #[must_use]
    pub fn get(host: &str, path: &str) -> Self {
        let (headers, body) = (Vec::new(), Vec::new());
        Self { method: "GET".to_owned(), host: host.to_owned(), path: path.to_owned(), headers, body }
    }

    /// `POST path` with a body.
    #[must_use]
    pub fn post(host: &str, path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST".to_owned(), body: body.into(), ..Self::get(host, path) }
    }

    /// Another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// One more header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.path, self.host);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !self.body.is_empty() {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends it over a connection of its own.
    ///
    /// # Errors
    /// Those of the socket; `UnexpectedEof` when the answer is cut off.
    pub fn send(&self, address: SocketAddr) -> io::Result<Reply> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE * 2))?;
        stream.set_nodelay(true)?;
        stream.write_all(&self.clone().header("Connection", "close").bytes())?;
        read_reply(&mut BufReader::new(stream), &self.method)
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header of that name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("not JSON ({error}), status {}: {}", self.status, self.text()),
        }
    }

    /// Fails the test unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "unexpected status; the body is: {}", self.text());
        self
    }
}

fn cut_off(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the connection ended within {what}"))
}

fn line(from: &mut impl BufRead, what: &str) -> io::Result<String> {
    let mut text = String::new();
    if from.read_line(&mut text)? == 0 || !text.ends_with('\n') {
        return Err(cut_off(what));
    }
    Ok(text.trim_end().to_owned())
}

/// Reads one answer; 1xx answers other than 101 are passed over.
///
/// # Errors
/// Those of the socket; `UnexpectedEof` when the answer is cut off; `InvalidData` when it is not HTTP.
pub fn read_reply(from: &mut impl BufRead, method: &str) -> io::Result<Reply> {
    loop {
        let first = line(from, "the status line")?;
        let status = first.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status: u16 = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, first.clone()))?;
        let mut headers = Vec::new();
        loop {
            let text = line(from, "the head")?;
            match text.split_once(':') {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => break,
            }
        }
        let mut reply = Reply { status, headers, body: Vec::new() };
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        if method != "HEAD" && !matches!(status, 101 | 204 | 304) {
            reply.body = body(from, &reply)?;
        }
        return Ok(reply);
    }
}

fn body(from: &mut impl BufRead, reply: &Reply) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if reply.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        loop {
            let size = line(from, "a chunk size")?;
            let size = usize::from_str_radix(size.split(';').next().unwrap_or(""), 16)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("chunk size `{size}`")))?;
            let at = body.len();
            body.resize(at + size, 0);
            from.read_exact(&mut body[at..])?;
            line(from, "the end of a chunk")?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    match reply.header("content-length").map(str::parse) {
        Some(Ok(length)) => {
            body.resize(length, 0);
            from.read_exact(&mut body).map_err(|_| cut_off("the body"))?;
        }
        Some(Err(_)) => return Err(io::Error::new(io::ErrorKind::InvalidData, "content-length")),
        None => {
            from.read_to_end(&mut body)?;
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> io::Result<Reply> {
        read_reply(&mut text.as_bytes(), "GET")
    }

    #[test]
    fn whole_answers_are_read() {
        let reply = parse("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "hi"));
        let reply =
            parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n").unwrap();
        assert_eq!(reply.text(), "hi");
        let reply = parse("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n").unwrap();
        assert_eq!(reply.status, 204);
    }

    #[test]
    fn a_cut_off_answer_is_an_error() {
        for text in
            ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", "nonsense\r\n\r\n"]
        {
            assert!(parse(text).is_err(), "`{text}` was taken for an answer");
        }
    }
}
