//! One active health check: `GET path`, past the gate, so that it never counts as activity.
//!
//! ```text
//!   idle connection of the run ──none, or closed without an answer──► a new one
//!             │                                                          │
//!             └───────────────► GET ──► status ──► rest ◄────────────────┘
//!                                                   │ whole, and may stay open
//!                                                   └──► idle connections of the run
//! ```
//! The status line alone decides. The rest is read only so that the connection can be used again, by the next
//! check or by a request: opening one costs both sides several times what the check does.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use insula_spec::InstanceName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::lease::{Run, Upstream};

/// Longest status line that is read, in bytes.
const LINE_MAX: usize = 256;
/// Longest answer after which a connection is kept, in bytes.
const ANSWER_MAX: usize = 16 * 1024;
/// Most header fields of such an answer.
const FIELDS_MAX: usize = 64;
/// How long the rest of an answer may take. It is longer than any program needs that has just begun to answer,
/// and no check fails for it.
const REST: Duration = Duration::from_millis(100);

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// The workload does not accept.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// It was closed, and nothing had come.
    #[error("the connection was closed without an answer")]
    Closed,
    /// What came is not HTTP/1.
    #[error("the answer is not HTTP/1")]
    NotHttp,
    /// It answered, but not well.
    #[error("`GET {path}` answered {status}")]
    Status {
        /// The path asked for.
        path: String,
        /// The status it answered.
        status: u16,
    },
}

/// The host that an instance is asked for.
pub(crate) fn host(name: &InstanceName, domain: &str) -> String {
    format!("{}.{}.{domain}", name.id, name.service)
}

/// Asks once. Any 2xx or 3xx is healthy. The caller bounds the time.
pub(crate) async fn check(run: Arc<Run>, host: String, path: String) -> Result<(), CheckError> {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: insula-health\r\nAccept: */*\r\n\r\n");
    let status = match run.idle() {
        // It may have been closed while the request was on its way, which says nothing about health.
        Some(idle) => match ask(idle, &request).await {
            Err(CheckError::Closed | CheckError::Broken(_)) => ask(fresh(&run).await?, &request).await?,
            asked => asked?,
        },
        None => ask(fresh(&run).await?, &request).await?,
    };
    match status {
        200..=399 => Ok(()),
        status => Err(CheckError::Status { path, status }),
    }
}

async fn fresh(run: &Arc<Run>) -> Result<Upstream, CheckError> {
    run.connect().await.map_err(CheckError::Connect)
}

/// Asks on this connection, and keeps it if another request may follow.
async fn ask(mut upstream: Upstream, request: &str) -> Result<u16, CheckError> {
    upstream.write_all(request.as_bytes()).await.map_err(CheckError::Broken)?;
    let mut answer = Vec::with_capacity(LINE_MAX * 4);
    while !answer.contains(&b'\n') && answer.len() < LINE_MAX {
        if upstream.read_buf(&mut answer).await.map_err(CheckError::Broken)? == 0 {
            break;
        }
    }
    if answer.is_empty() {
        return Err(CheckError::Closed);
    }
    let status = status(&answer).ok_or(CheckError::NotHttp)?;
    if rest(&mut upstream, answer).await {
        upstream.keep();
    }
    Ok(status)
}

/// Reads the rest of an answer. `false` if its end, or what follows it, is not clear.
async fn rest(upstream: &mut Upstream, mut answer: Vec<u8>) -> bool {
    let read = async {
        loop {
            match stands(&answer) {
                Stands::Partial if answer.len() < ANSWER_MAX => {
                    if !matches!(upstream.read_buf(&mut answer).await, Ok(1..)) {
                        return false;
                    }
                }
                stands => return stands == Stands::Whole,
            }
        }
    };
    timeout(REST, read).await.unwrap_or(false)
}

/// How far an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// More must come.
    Partial,
    /// Exactly all of it is there, and the connection stays open.
    Whole,
    /// Its length is not told, or the connection ends, or more came than was told.
    Unclear,
}

fn stands(answer: &[u8]) -> Stands {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    let body = match head.parse(answer) {
        Ok(httparse::Status::Complete(end)) => answer.len() - end,
        Ok(httparse::Status::Partial) => return Stands::Partial,
        Err(_) => return Stands::Unclear,
    };
    let values = |name: &'static str| {
        let named = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
        head.headers.iter().filter(named).map(|field| field.value)
    };
    let ends = values("connection").next().is_some() || values("transfer-encoding").next().is_some();
    let mut lengths = values("content-length");
    let length = match (head.code, lengths.next(), lengths.next()) {
        _ if ends || head.version != Some(1) => return Stands::Unclear,
        (Some(204 | 304), None, None) => 0,
        (_, Some(length), None) => match number(length) {
            Some(length) => length,
            None => return Stands::Unclear,
        },
        _ => return Stands::Unclear,
    };
    match body.cmp(&length) {
        std::cmp::Ordering::Less => Stands::Partial,
        std::cmp::Ordering::Equal => Stands::Whole,
        std::cmp::Ordering::Greater => Stands::Unclear,
    }
}

/// A length as RFC 9110, section 8.6, has it: digits alone.
fn number(value: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok()
}

/// The status code of a status line (RFC 9112, section 4).
fn status(line: &[u8]) -> Option<u16> {
    let end = line.iter().position(|&b| b == b'\n')?;
    let line = std::str::from_utf8(line.get(..end)?).ok()?;
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let code = rest.get(..3).filter(|code| code.bytes().all(|b| b.is_ascii_digit()))?;
    let ends = matches!(rest.as_bytes().get(3), None | Some(b' ' | b'\r'));
    code.parse().ok().filter(|status| ends && (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_status_line_is_read_strictly() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        assert_eq!(status(b"HTTP/1.1 204\nrest"), Some(204));
        for bad in [
            &b"HTTP/1.1 200 OK"[..],
            b"HTTP/2 200\r\n",
            b"HTTP/1.1 20\r\n",
            b"HTTP/1.1 2000\r\n",
            b"SSH-2.0-x\r\n",
            b"\n",
        ] {
            assert_eq!(status(bad), None, "{:?} was let in", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn only_a_whole_answer_of_known_length_leaves_a_connection() {
        use Stands::{Partial, Unclear, Whole};
        for (answer, stands_so) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Whole),
            ("HTTP/1.1 204 No Content\r\n\r\n", Whole),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", Partial),
            ("HTTP/1.1 200 OK\r\nContent-Le", Partial),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP", Unclear),
            ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", Unclear),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", Unclear),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", Unclear),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", Unclear),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", Unclear),
            ("HTTP/1.1 200 OK\r\n\r\nok", Unclear),
        ] {
            assert_eq!(stands(answer.as_bytes()), stands_so, "{answer:?}");
        }
    }

    /// Answers all requests that come on its connections, and counts those.
    async fn served(answer: &'static str, answers: usize) -> (Arc<Run>, Arc<AtomicUsize>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    for _ in 0..answers {
                        if !matches!(stream.read(&mut request).await, Ok(1..)) {
                            return;
                        }
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        (Run::at(address), accepted)
    }

    async fn checked(run: &Arc<Run>) -> Result<(), CheckError> {
        check(Arc::clone(run), "a.app.localhost".to_owned(), "/health".to_owned()).await
    }

    #[tokio::test]
    async fn checks_share_a_connection() {
        let (run, accepted) = served("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", usize::MAX).await;
        for _ in 0..5 {
            checked(&run).await.unwrap();
        }
        assert_eq!(accepted.load(Ordering::Relaxed), 1);
        let idle = run.idle().unwrap();
        assert!(run.idle().is_none(), "one is kept");
        drop(idle);
    }

    #[tokio::test]
    async fn a_connection_that_cannot_be_shared_is_not() {
        for answer in ["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"] {
            let (run, accepted) = served(answer, usize::MAX).await;
            for _ in 0..3 {
                checked(&run).await.unwrap();
            }
            assert_eq!((accepted.load(Ordering::Relaxed), run.idle().is_none()), (3, true), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn one_that_was_closed_meanwhile_says_nothing_about_health() {
        let (run, accepted) = served("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 1).await;
        for _ in 0..3 {
            checked(&run).await.unwrap();
        }
        assert_eq!(accepted.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_bad_answer_is_one_on_a_kept_connection_too() {
        let (run, _) = served("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", usize::MAX).await;
        for _ in 0..2 {
            let error = checked(&run).await.unwrap_err();
            assert_eq!(error.to_string(), "`GET /health` answered 503");
        }
    }
}
