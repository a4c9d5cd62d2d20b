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
use tokio_rustls::client::TlsStream;

use super::ClientError;
use crate::Bearer;
use crate::tls::{self, Trust};

/// Time to connect over the network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A text that names no daemon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServer {
    /// It is not a URL of a server.
    #[error("`{0}` is not the URL of a server")]
    Malformed(String),
}

impl InvalidServer {
    /// What to type instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Malformed(_) => {
                "write it like `https://example.org` or `http://localhost:8080`, without a path, a user or a query"
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
    Http { host: String, port: u16, tls: Option<Trust>, bearer: Option<Bearer> },
}

impl Target {
    /// Takes `http://host[:port]` or `https://host[:port]` apart.
    pub(super) fn http(server: &str, bearer: Option<Bearer>) -> Result<Self, InvalidServer> {
        let malformed = || InvalidServer::Malformed(server.to_owned());
        let uri: Uri = server.trim().parse().map_err(|_| malformed())?;
        let (tls, usual) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (Some(Trust::default()), 443),
            _ => return Err(malformed()),
        };
        let authority = uri.authority().ok_or_else(malformed)?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !bare || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(malformed());
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => usual,
            Some(_) => authority.port_u16().ok_or_else(malformed)?,
            None => return Err(malformed()),
        };
        Ok(Self::Http { host: authority.host().to_ascii_lowercase(), port, tls, bearer })
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

    /// Whether others may read what is sent: it leaves this host, and nothing hides it.
    pub(super) fn is_exposed(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Http { host, tls, .. } => tls.is_none() && loopback(host).is_none(),
        }
    }

    /// Believes these certificates, where it speaks TLS.
    pub(super) fn trusting(&mut self, trust: Trust) {
        if let Self::Http { tls: Some(tls), .. } = self {
            *tls = trust;
        }
    }

    pub(super) async fn connect(&self) -> Result<Connection, ClientError> {
        let failed = |e| ClientError::connect(self, e);
        match self {
            Self::Unix(socket) => UnixStream::connect(socket).await.map(Connection::Unix).map_err(failed),
            Self::Http { host, port, tls, .. } => {
                let open = async {
                    let stream = tcp(host, *port).await.map_err(failed)?;
                    let Some(trust) = tls else { return Ok(Connection::Tcp(stream)) };
                    let spoken = tls::connect(host, stream, trust).await;
                    let spoken =
                        spoken.map_err(|source| ClientError::Tls { at: self.to_string(), source })?;
                    Ok(Connection::Tls(Box::new(spoken)))
                };
                let late = |_| failed(io::ErrorKind::TimedOut.into());
                timeout(CONNECT_TIMEOUT, open).await.map_err(late)?
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(socket) => socket.display().fmt(f),
            Self::Http { host, port, tls, .. } => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                write!(f, "{scheme}://{host}:{port}")
            }
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
    Tls(Box<TlsStream<TcpStream>>),
}

/// Calls the same method of whichever stream it is.
macro_rules! each {
    ($self:ident, $call:ident $(, $argument:expr)*) => {
        match $self.get_mut() {
            Connection::Unix(s) => Pin::new(s).$call($($argument),*),
            Connection::Tcp(s) => Pin::new(s).$call($($argument),*),
            Connection::Tls(s) => Pin::new(s).$call($($argument),*),
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
            ("https://Example.org/", "https://example.org:443"),
            ("https://localhost:8443", "https://localhost:8443"),
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
    }

    #[test]
    fn only_the_loopback_and_tls_hide_a_token() {
        let exposed = |text: &str| Target::http(text, None).unwrap().is_exposed();
        for hidden in
            ["http://localhost", "http://a.localhost", "http://127.0.0.1:1", "http://[::1]", "https://a"]
        {
            assert!(!exposed(hidden), "{hidden}");
        }
        for open in ["http://notlocalhost", "http://10.0.0.1", "http://localhost.example.org"] {
            assert!(exposed(open), "{open}");
        }
    }
}
