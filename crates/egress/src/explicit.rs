//! The proxy that programs can name: `CONNECT` (RFC 9110, section 9.3.6) and requests with a whole URL, at the
//! address of the listeners.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::member::Inside;
use crate::relay::{self, PATIENCE, Stop};
use crate::sniff::SNIFF_MAX;

/// Most header lines of a request.
const HEADERS_MAX: usize = 64;
/// Headers between a client and its proxy, which go no further.
const HOP: [&str; 5] = ["connection", "proxy-connection", "proxy-authorization", "keep-alive", "upgrade"];

/// A request to the proxy.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    /// A tunnel.
    Connect { host: String, port: u16 },
    /// One request, and the head that is sent on.
    Forward { host: String, port: u16, head: Vec<u8> },
    /// Something that is not for a proxy.
    Bad,
}

/// Serves one connection.
pub(crate) async fn serve(inside: &Inside, mut client: TcpStream) -> io::Result<()> {
    let mut bytes = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let (request, used) = loop {
        if let Some(found) = parse(&bytes) {
            break found;
        }
        let read = timeout_at(deadline, client.read_buf(&mut bytes)).await;
        if bytes.len() >= SNIFF_MAX || !matches!(read, Ok(Ok(1..))) {
            return Ok(());
        }
    };
    let rest = &bytes[used..];
    let (host, port, head) = match request {
        Request::Connect { host, port } => (host, port, None),
        Request::Forward { host, port, head } => (host, port, Some(head)),
        Request::Bad => return answer(client, &bad()).await,
    };
    let goal = match inside.goal(&host, port).await {
        Ok(goal) => goal,
        Err(stop) => return answer(client, &refusal(stop)).await,
    };
    let way = match relay::open(inside, &goal).await {
        Ok(way) => way,
        Err(stop) => return answer(client, &refusal(stop)).await,
    };
    let first = match head {
        Some(head) => [&head[..], rest].concat(),
        None => {
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            rest.to_vec()
        }
    };
    relay::flow(inside, (client, way), &first, goal).await
}

async fn answer(mut client: TcpStream, bytes: &[u8]) -> io::Result<()> {
    client.write_all(bytes).await?;
    relay::finish(client).await
}

/// What a client that speaks HTTP is told.
pub(crate) fn refusal(stop: Stop) -> Vec<u8> {
    match stop {
        Stop::Refused(reason) => {
            response("403 Forbidden", &format!("refused by the network policy: {reason}"))
        }
        Stop::Unreachable => response("502 Bad Gateway", "the host cannot be reached"),
    }
}

fn bad() -> Vec<u8> {
    response("400 Bad Request", "this is a proxy: it takes `CONNECT host:port` and `GET http://host/`")
}

fn response(status: &str, text: &str) -> Vec<u8> {
    let length = text.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}\n"
    )
    .into_bytes()
}

/// The request at the beginning of these bytes, and how long its head is; `None` when more is needed.
fn parse(bytes: &[u8]) -> Option<(Request, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => Some((read(&request).unwrap_or(Request::Bad), length)),
        Ok(httparse::Status::Partial) => None,
        Err(_) => Some((Request::Bad, bytes.len())),
    }
}

fn read(request: &httparse::Request<'_, '_>) -> Option<Request> {
    let (method, target) = (request.method?, request.path?);
    if method == "CONNECT" {
        let (host, port) = authority(target, None)?;
        return Some(Request::Connect { host, port });
    }
    let rest = target.strip_prefix("http://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (place, path) = rest.split_at(end);
    let (host, port) = authority(place, Some(80))?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut head =
        format!("{method} {slash}{path} HTTP/1.1\r\nhost: {place}\r\nconnection: close\r\n").into_bytes();
    let kept = |name: &str| {
        !name.eq_ignore_ascii_case("host") && !HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop))
    };
    for header in request.headers.iter().filter(|header| kept(header.name)) {
        head.extend([header.name.as_bytes(), b": ", header.value, b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    Some(Request::Forward { host, port, head })
}

/// Host and port of an authority without user name.
fn authority(text: &str, usual: Option<u16>) -> Option<(String, u16)> {
    let host = relay::without_port(text);
    let shown = if text.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let port = match text.strip_prefix(shown.as_str())? {
        "" => usual?,
        rest => rest.strip_prefix(':').filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?,
    };
    (!host.is_empty() && port != 0 && !host.contains('@')).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> Request {
        parse(text.as_bytes()).unwrap().0
    }

    #[test]
    fn tunnels_and_whole_urls_are_understood() {
        let tunnel = |host: &str, port| Request::Connect { host: host.to_owned(), port };
        assert_eq!(ask("CONNECT a.com:443 HTTP/1.1\r\n\r\n"), tunnel("a.com", 443));
        assert_eq!(ask("CONNECT [::1]:443 HTTP/1.1\r\n\r\n"), tunnel("::1", 443));
        let Request::Forward { host, port, head } =
            ask("GET http://a.com:81/x?y HTTP/1.1\r\nHost: b.com\r\nProxy-Connection: x\r\nA: b\r\n\r\n")
        else {
            panic!("not forwarded")
        };
        assert_eq!((host.as_str(), port), ("a.com", 81));
        let head = String::from_utf8(head).unwrap();
        assert_eq!(head, "GET /x?y HTTP/1.1\r\nhost: a.com:81\r\nconnection: close\r\nA: b\r\n\r\n");
    }

    #[test]
    fn what_is_not_for_a_proxy_is_bad() {
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "CONNECT a.com HTTP/1.1\r\n\r\n",
            "CONNECT a.com:0 HTTP/1.1\r\n\r\n",
            "CONNECT u@a.com:1 HTTP/1.1\r\n\r\n",
            "GET https://a.com/ HTTP/1.1\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            assert_eq!(ask(text), Request::Bad, "{text}");
        }
        assert!(parse(b"CONNECT a.com:443 HTTP/1.1\r\n").is_none());
    }
}
