//! One request over a connection of its own, and redirects.
//!
//! Credentials go to the host that they are for and to no other; nothing goes from TLS to clear text.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HOST, LOCATION, RANGE, USER_AGENT};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use insula_spec::Secret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::PullError;

/// How long a host may be silent.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// Most redirects of one request.
const HOPS_MAX: usize = 5;
/// How much of a refusal is shown, in bytes.
const EXCERPT: usize = 400;

/// What is asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Ask<'a> {
    pub(super) accept: Option<&'a str>,
    pub(super) authorization: Option<&'a Secret>,
    /// First byte that is wanted.
    pub(super) from: Option<u64>,
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Who answered.
    pub(super) host: String,
    body: Incoming,
    /// The connection, which ends with the answer.
    _connection: JoinSet<hyper::Result<()>>,
}

/// Makes connections.
#[derive(Debug, Clone)]
pub(super) struct Http {
    tls: Arc<ClientConfig>,
    /// Whether the user does without TLS everywhere.
    plain: bool,
}

impl Http {
    /// Reads the roots that this host trusts.
    pub(super) fn new(plain: bool) -> io::Result<Self> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { tls: Arc::new(config), plain })
    }

    /// `http` for this machine itself and where the user wants it, `https` for everybody else.
    pub(super) fn scheme(&self, host: &str) -> &'static str {
        if self.plain || is_loopback(host) { "http" } else { "https" }
    }

    /// Asks, and follows redirects.
    pub(super) async fn get(&self, uri: &Uri, ask: &Ask<'_>) -> Result<Answer, PullError> {
        let (mut uri, mut ask) = (uri.clone(), ask.clone());
        for _ in 0..=HOPS_MAX {
            let answer = self.once(&uri, &ask).await?;
            if !answer.status.is_redirection() {
                return Ok(answer);
            }
            let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location.and_then(|location| resolve(&uri, location));
            let what = "it redirects to nowhere";
            let next = next.ok_or_else(|| PullError::Protocol { host: answer.host.clone(), what })?;
            if next.authority() != uri.authority() || next.scheme() != uri.scheme() {
                ask.authorization = None;
            }
            let downgrade = uri.scheme_str() == Some("https") && next.scheme_str() != Some("https");
            if downgrade && !self.plain {
                return Err(PullError::Insecure { host: authority(&next) });
            }
            uri = next;
        }
        Err(PullError::Protocol { host: authority(&uri), what: "it redirects again and again" })
    }

    async fn once(&self, uri: &Uri, ask: &Ask<'_>) -> Result<Answer, PullError> {
        let host = authority(uri);
        let slow = || PullError::Slow { host: host.clone(), after: SILENCE };
        let secure = uri.scheme_str() == Some("https");
        let name = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if !secure && !self.plain && !is_loopback(&host) {
            return Err(PullError::Insecure { host });
        }
        let request = request(uri, ask)
            .ok_or_else(|| PullError::Protocol { host: host.clone(), what: "its address cannot be asked" })?;
        let exchange = async {
            let connect = |source| PullError::Connect { host: host.clone(), source };
            let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
            let stream = TcpStream::connect((name.as_str(), port)).await.map_err(connect)?;
            if !secure {
                return speak(stream, request, &host).await;
            }
            let server = ServerName::try_from(name.clone()).map_err(io::Error::other).map_err(connect)?;
            let stream =
                TlsConnector::from(self.tls.clone()).connect(server, stream).await.map_err(connect)?;
            speak(stream, request, &host).await
        };
        timeout(SILENCE, exchange).await.map_err(|_| slow())?
    }
}

impl Answer {
    /// The next piece of the body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, PullError> {
        loop {
            let next = timeout(SILENCE, self.body.frame()).await;
            let next = next.map_err(|_| PullError::Slow { host: self.host.clone(), after: SILENCE })?;
            match next {
                None => return Ok(None),
                Some(Err(source)) => return Err(PullError::Exchange { host: self.host.clone(), source }),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_) => continue,
                },
            }
        }
    }

    /// The whole body, unless it is longer than that.
    pub(super) async fn whole(&mut self, most: u64) -> Result<Option<Vec<u8>>, PullError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > most {
                return Ok(None);
            }
        }
        Ok(Some(bytes))
    }

    /// A refusal, with the beginning of what it said. The status counts even when the rest never comes.
    pub(super) async fn refusal(mut self) -> PullError {
        let mut bytes = Vec::new();
        while bytes.len() < EXCERPT {
            let Ok(Some(chunk)) = self.chunk().await else { break };
            bytes.extend_from_slice(&chunk);
        }
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(EXCERPT)]).into_owned();
        let message = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let message = message.chars().filter(|c| !c.is_control()).collect();
        PullError::Status { host: self.host, status: self.status, message }
    }

    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

async fn speak<S>(stream: S, request: Request<Empty<Bytes>>, host: &str) -> Result<Answer, PullError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broke = |source| PullError::Exchange { host: host.to_owned(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(broke)?;
    let (parts, body) = response.into_parts();
    let (status, headers) = (parts.status, parts.headers);
    Ok(Answer { status, headers, host: host.to_owned(), body, _connection: driver })
}

fn request(uri: &Uri, ask: &Ask<'_>) -> Option<Request<Empty<Bytes>>> {
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut request = Request::get(path)
        .header(HOST, uri.authority()?.as_str())
        .header(USER_AGENT, concat!("insula/", env!("CARGO_PKG_VERSION")));
    if let Some(accept) = ask.accept {
        request = request.header(ACCEPT, accept);
    }
    if let Some(secret) = ask.authorization {
        let mut value = http::HeaderValue::from_str(secret.expose()).ok()?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    if let Some(from) = ask.from.filter(|from| *from > 0) {
        request = request.header(RANGE, format!("bytes={from}-"));
    }
    request.body(Empty::new()).ok()
}

/// Where a redirect leads. Of paths only absolute ones are understood: registries send no others.
fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    if !location.starts_with('/') || location.starts_with("//") {
        let uri: Uri = location.parse().ok()?;
        return matches!(uri.scheme_str(), Some("http" | "https"))
            .then_some(uri)
            .filter(|uri| uri.host().is_some());
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = Some(location.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Host and port, without anything that may be secret.
pub(super) fn authority(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    uri.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether a host is this machine by its very name.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["localhost.example.org", "10.0.0.1:5000", "127.0.0.1.example.org", "[::2]:1", "example.org"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn redirects_are_resolved() {
        let from: Uri = "https://r.example/v2/a?x=1".parse().unwrap();
        assert_eq!(resolve(&from, "/b?y=2").unwrap(), "https://r.example/b?y=2");
        assert_eq!(resolve(&from, "https://cdn.example/b").unwrap(), "https://cdn.example/b");
        for bad in ["b", "file:///etc/passwd", "//cdn.example/b", ""] {
            assert!(resolve(&from, bad).is_none(), "{bad}");
        }
    }
}
