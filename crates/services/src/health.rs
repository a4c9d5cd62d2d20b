//! One active health check: `GET path` on a connection of its own.
//!
//! It goes past the gate, so it never counts as activity. Only the status line of the answer is read.

use std::sync::Arc;

use insula_isolation::Connect;
use insula_spec::InstanceName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest status line that is read, in bytes.
const LINE_MAX: usize = 256;

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// The workload does not accept.
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(std::io::Error),
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
pub(crate) async fn check(connector: Arc<dyn Connect>, host: String, path: String) -> Result<(), CheckError> {
    let mut stream = connector.connect().await.map_err(CheckError::Connect)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: insula-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(CheckError::Broken)?;
    let mut line = Vec::with_capacity(LINE_MAX);
    while !line.contains(&b'\n') && line.len() < LINE_MAX {
        if stream.read_buf(&mut line).await.map_err(CheckError::Broken)? == 0 {
            break;
        }
    }
    match status(&line).ok_or(CheckError::NotHttp)? {
        200..=399 => Ok(()),
        status => Err(CheckError::Status { path, status }),
    }
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
}
