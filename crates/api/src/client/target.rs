//! Where a daemon is reached, and how one gets there.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::Bearer;

/// Time to connect over the network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A text that names no daemon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServer {
    /// It is not a URL of a server.
    #[error("`{0}` is not the URL of a server")]
    Malformed(String),
    /// It asks for TLS.
    #[error("`{0}` asks for TLS, which this version does not speak")]
    Tls(String),
}

impl InvalidServer {
    /// What to type instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Malformed(_) => {
                "write it like `http://example.org:8080`, without a path, a user or a query"
            }
            Self::Tls(_) => {
                "reach the daemon through a tunnel, for example `ssh -L 8080:localhost:8080 HOST`, and name \
                 `http://localhost:8080`"
            }
        }
    }
}

/// Where a daemon is reached.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// On this host.
    Unix(PathBuf),
    /// Over the network.
    Http { host: String, port: u16, bearer: Option<Bearer> },
}

impl Target {
    /// Takes `http://host[:port]` apart.
    pub(super) fn http(server: &str, bearer: Option<Bearer>) -> Result<Self, InvalidServer> {
        let malformed = || InvalidServer::Malformed(server.to_owned());
        let uri: Uri = server.trim().parse().map_err(|_| malformed())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(InvalidServer::Tls(server.to_owned())),
            _ => return Err(malformed()),
        }
        let authority = uri.authority().ok_or_else(malformed)?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !bare || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(malformed());
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => 80,
            Some(_) => authority.port_u16().ok_or_else(malformed)?,
            None => return Err(malformed()),
        };
        Ok(Self::Http { host: authority.host().to_ascii_lowercase(), port, bearer })
    }

    /// What goes into the `Host` field.
    pub(super) fn host_field(&self) -> String {
        match self {
            Self::Unix(_) => "insula".to_owned(),
            Self::Http { host, port, .. } => format!("{host}:{port}"),
        }
    }

    /// The token to send, if there is one.
    pub(super) fn bearer(&self) -> Option<&Bearer> {
        match self {
            Self::Unix(_) => None,
            Self::Http { bearer, .. } => bearer.as_ref(),
        }
    }

    /// Whether what is sent leaves this host.
    pub(super) fn leaves_host(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Http { host, .. } => loopback(host).is_none(),
        }
    }

    pub(super) async fn connect(&self) -> io::Result<Connection> {
        match self {
            Self::Unix(socket) => UnixStream::connect(socket).await.map(Connection::Unix),
            Self::Http { host, port, .. } => {
                let connected = timeout(CONNECT_TIMEOUT, tcp(host, *port)).await;
                connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map(Connection::Tcp)
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(socket) => socket.display().fmt(f),
            Self::Http { host, port, .. } => write!(f, "http://{host}:{port}"),
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = match loopback(host) {
        Some(addresses) => {
            let addresses: Vec<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
            TcpStream::connect(&addresses[..]).await?
        }
        None => TcpStream::connect((host.trim_matches(['[', ']']), port)).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The addresses of a name that never leaves this host (RFC 6761, section 6.3): not every resolver knows.
fn loopback(host: &str) -> Option<Vec<IpAddr>> {
    if host == "localhost" || host.ends_with(".localhost") {
        return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let address: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    address.is_loopback().then(|| vec![address])
}

/// A connection to a daemon.
#[derive(Debug)]
pub(super) enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Calls the same method of whichever stream it is.
macro_rules! each {
    ($self:ident, $call:ident $(, $argument:expr)*) => {
        match $self.get_mut() {
            Connection::Unix(s) => Pin::new(s).$call($($argument),*),
            Connection::Tcp(s) => Pin::new(s).$call($($argument),*),
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_read, cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, poll_write, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_shutdown, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_scheme_a_host_and_a_port() {
        for (text, shown) in [
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://Example.org/", "http://example.org:80"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(Target::http(text, None).unwrap().to_string(), shown, "{text}");
        }
        for bad in [
            "",
            "localhost",
            "localhost:80",
            "/x",
            "http://",
            "ftp://a",
            "http://a/b",
            "http://a?b",
            "http://u@a",
            "http://a:x",
            "http://a:",
        ] {
            assert!(
                matches!(Target::http(bad, None), Err(InvalidServer::Malformed(_))),
                "`{bad}` was let in"
            );
        }
        assert!(matches!(Target::http("https://a", None), Err(InvalidServer::Tls(_))));
    }

    #[test]
    fn only_the_loopback_stays_on_this_host() {
        let leaves = |text: &str| Target::http(text, None).unwrap().leaves_host();
        for near in ["http://localhost", "http://a.localhost", "http://127.0.0.1:1", "http://[::1]"] {
            assert!(!leaves(near), "{near}");
        }
        for far in ["http://notlocalhost", "http://10.0.0.1", "http://localhost.example.org"] {
            assert!(leaves(far), "{far}");
        }
    }
}
