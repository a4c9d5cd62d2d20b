//! One attempt: connect, send, read the status.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use insula_api::tls::{self, TlsError, Trust};
use insula_spec::config::Webhook;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Message, Secret, SecretError};

/// How long an attempt may take, from the connect to the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of an answer is kept, in bytes.
const EXCERPT: usize = 512;

/// Sends to one receiver. Redirects are not followed.
#[derive(Debug)]
pub(crate) struct Poster<'a> {
    webhook: &'a Webhook,
}

/// What a receiver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// How long it wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// The beginning of what it said.
    pub(crate) excerpt: String,
}

impl Answer {
    /// Whether another attempt may be answered better.
    pub(super) fn passes(&self) -> bool {
        let status = self.status;
        status.is_server_error()
            || status == StatusCode::REQUEST_TIMEOUT
            || status == StatusCode::TOO_MANY_REQUESTS
    }
}

/// Why there is no answer. Another attempt may have one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    /// There is no key to sign with.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The address cannot be one.
    #[error("`{0}` is not an address that alerts can be sent to")]
    Address(String),
    /// It could not be written as a request.
    #[error("cannot write an alert for `{0}`")]
    Request(String),
    /// It did not prove to be who it should be.
    #[error("cannot speak TLS with `{url}`")]
    Tls {
        /// The receiver.
        url: String,
        /// Why not.
        #[source]
        source: TlsError,
    },
    /// Nobody listens there.
    #[error("cannot connect to `{url}`")]
    Connect {
        /// The receiver.
        url: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The exchange broke off.
    #[error("`{url}` did not take the alert")]
    Exchange {
        /// The receiver.
        url: String,
        /// Why not.
        #[source]
        source: hyper::Error,
    },
    /// It took too long.
    #[error("`{0}` did not answer within {PATIENCE:?}")]
    Slow(String),
}

impl PostError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Secret(error) => error.hint(),
            Self::Address(_) => "write `url` like http://localhost:9000/alerts".to_owned(),
            Self::Request(_) => "this is a fault of Insula; please report it".to_owned(),
            Self::Tls { source, .. } => source.hint().to_owned(),
            Self::Connect { .. } => "check `url`, and that the receiver runs".to_owned(),
            Self::Exchange { .. } | Self::Slow(_) => "check what the receiver does with a POST".to_owned(),
        }
    }
}

impl<'a> Poster<'a> {
    /// For this receiver.
    pub(crate) fn new(webhook: &'a Webhook) -> Self {
        Self { webhook }
    }

    /// Signs an alert, sends it once, and gives back what the receiver said.
    pub(crate) async fn send(&self, message: &Message) -> Result<Answer, PostError> {
        // Read each time, so that a new key counts at once.
        let secret = Secret::read(&self.webhook.secret_file)?;
        let url = &self.webhook.url;
        let uri: Uri = url.parse().map_err(|_| PostError::Address(url.clone()))?;
        let request = self.request(message, &uri, &secret)?;
        timeout(PATIENCE, self.exchange(&uri, request)).await.map_err(|_| PostError::Slow(url.clone()))?
    }

    fn request(
        &self,
        message: &Message,
        uri: &Uri,
        secret: &Secret,
    ) -> Result<Request<Full<Bytes>>, PostError> {
        let failed = || PostError::Request(self.webhook.url.clone());
        let body = serde_json::to_vec(message).map_err(|_| failed())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        Request::post(uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str))
            .header(HOST, authority)
            .header(USER_AGENT, concat!("insula/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .header("insula-event", &message.kind)
            .header("insula-delivery", &message.id)
            .header("insula-signature", secret.sign(now, &body))
            .body(Full::from(body))
            .map_err(|_| failed())
    }

    async fn exchange(&self, uri: &Uri, request: Request<Full<Bytes>>) -> Result<Answer, PostError> {
        let url = &self.webhook.url;
        let connect = |source| PostError::Connect { url: url.clone(), source };
        let host = uri.host().ok_or_else(|| PostError::Address(url.clone()))?;
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let address = (host.trim_start_matches('[').trim_end_matches(']'), port);
        let stream = TcpStream::connect(address).await.map_err(connect)?;
        let answer = if secure {
            let stream = tls::connect(host, stream, &Trust::Host).await;
            let stream = stream.map_err(|source| PostError::Tls { url: url.clone(), source })?;
            speak(stream, request).await
        } else {
            speak(stream, request).await
        };
        answer.map_err(|source| PostError::Exchange { url: url.clone(), source })
    }
}

/// Sends a request over a connection of its own, which ends with it.
async fn speak<S>(stream: S, request: Request<Full<Bytes>>) -> hyper::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await?;
    let (status, retry_after) = (response.status(), retry_after(&response));
    Ok(Answer { status, retry_after, excerpt: excerpt(response.into_body()).await })
}

/// Seconds (RFC 9110, section 10.2.3); a date is not understood.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

/// The beginning of the body. The status counts even when the rest never comes.
async fn excerpt(mut body: Incoming) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < EXCERPT {
        let Some(Ok(frame)) = body.frame().await else { break };
        bytes.extend(frame.into_data().unwrap_or_default());
    }
    bytes.truncate(EXCERPT);
    String::from_utf8_lossy(&bytes).trim().to_owned()
}
