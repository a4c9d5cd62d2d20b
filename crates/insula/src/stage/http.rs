//! As much of an HTTP client as the stage needs: one request, one connection, one answer.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Longest time any answer may take; its own deadline, not a claim.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Where a tenant is: the server's address and the tenant's host name.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// From the first byte sent (connect included) to the first byte received.
    pub(crate) first_byte: Duration,
}

impl Answer {
    /// The answer, if it is a good one.
    pub(crate) fn good(self) -> anyhow::Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        bail!("status {}: {}", self.status, self.body.trim())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_str(&self.body).with_context(|| format!("the answer is not JSON: {}", self.body))
    }

    /// A whole number out of the body.
    pub(crate) fn number(&self, name: &str) -> anyhow::Result<i64> {
        self.json()?[name]
            .as_i64()
            .with_context(|| format!("no number `{name}` in the answer: {}", self.body))
    }
}

impl Place {
    /// `GET path`.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask("GET", path, "").await
    }

    /// `POST path`.
    pub(crate) async fn post(&self, path: &str, body: &str) -> anyhow::Result<Answer> {
        self.ask("POST", path, body).await
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let answer = timeout(PATIENCE, exchange(self.address, request.as_bytes())).await;
        answer.map_err(|_| anyhow!("no answer to {method} {path} within {PATIENCE:?}"))?
    }
}

async fn exchange(address: SocketAddr, request: &[u8]) -> anyhow::Result<Answer> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(request).await?;
    let mut bytes = vec![0; 4096];
    let got = stream.read(&mut bytes).await?;
    let first_byte = began.elapsed();
    bytes.truncate(got);
    stream.read_to_end(&mut bytes).await?;
    let (status, body) = parse(&bytes)?;
    Ok(Answer { status, body, first_byte })
}

/// Status and body of a whole answer. With `Connection: close` a body ends with the connection or its length.
fn parse(bytes: &[u8]) -> anyhow::Result<(u16, String)> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("the connection ended within the head")?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).context("there is no status")?;
    let header = |name: &str| {
        let line = head.lines().find(|l| l.to_ascii_lowercase().starts_with(name));
        line.and_then(|l| l.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    if header("transfer-encoding").is_some() {
        return Ok((status, unchunk(body).context("the connection ended within a chunk")?));
    }
    let length: Option<usize> = header("content-length").and_then(|v| v.parse().ok());
    if length.is_some_and(|length| body.len() < length) {
        bail!("the connection ended within the body");
    }
    Ok((status, body.to_owned()))
}

/// Joins chunks of text (RFC 9112, section 7.1); `None` when the last one is missing.
fn unchunk(mut text: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = text.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.push_str(rest.get(..size)?);
        text = rest.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_answers_are_taken_and_cut_off_ones_refused() {
        let ok = |text: &str| parse(text.as_bytes()).unwrap();
        assert_eq!(ok("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), (200, "hi".to_owned()));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        assert_eq!(ok(chunked), (200, "hi".to_owned()));
        assert_eq!(ok("HTTP/1.1 503 No\r\n\r\n").0, 503);
        for cut in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
            &chunked[..chunked.len() - 6],
        ] {
            assert!(parse(cut.as_bytes()).is_err(), "`{cut}` was taken");
        }
    }
}
