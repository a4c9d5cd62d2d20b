//! One request over one connection.

use super::target::Target;
use crate::{Bearer, ClientError, PROBLEM_JSON, Problem};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;

/// Media type of server-sent events.
const EVENT_STREAM: &str = "text/event-stream";
/// Longest answer that is read whole, in bytes.
const ANSWER_MAX: usize = 16 << 20;

/// Sends one request; an answer that is a problem becomes an error.
pub(super) async fn send(
    target: &Target,
    method: Method,
    path: &str,
    body: String,
) -> Result<Response<Incoming>, ClientError> {
    exchange(target, method, path, (body, "*/*")).await
}

/// Sends one request whose answer is a stream of events.
pub(super) async fn follow(
    target: &Target,
    method: Method,
    path: &str,
) -> Result<Response<Incoming>, ClientError> {
    exchange(target, method, path, (String::new(), EVENT_STREAM)).await
}

async fn exchange(
    target: &Target,
    method: Method,
    path: &str,
    (body, accept): (String, &str),
) -> Result<Response<Incoming>, ClientError> {
    let stream = target.connect().await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::Broken)?;
    // Drives the connection; ends by itself once the answer was read or dropped. What fails there fails
    // the request or the body too, so its result says nothing new.
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, target.host_field())
        .header(header::ACCEPT, accept)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(bearer) = target.bearer() {
        request = request.header(header::AUTHORIZATION, secret(bearer)?);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(ClientError::Request)?;
    let answer = sender.send_request(request).await.map_err(ClientError::Broken)?;
    if answer.status().is_success() { Ok(answer) } else { Err(problem(answer).await) }
}

/// Asks for another protocol, and gives the connection that speaks it.
pub(super) async fn upgrade(
    target: &Target,
    request: http::request::Builder,
    body: Empty<Bytes>,
) -> Result<TokioIo<Upgraded>, ClientError> {
    let stream = target.connect().await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::Broken)?;
    // As in `exchange`.
    tokio::spawn(connection.with_upgrades());
    let mut request = request.header(header::HOST, target.host_field());
    if let Some(bearer) = target.bearer() {
        request = request.header(header::AUTHORIZATION, secret(bearer)?);
    }
    let request = request.body(body).map_err(ClientError::Request)?;
    let answer = sender.send_request(request).await.map_err(ClientError::Broken)?;
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => {
            hyper::upgrade::on(answer).await.map(TokioIo::new).map_err(ClientError::Broken)
        }
        status if status.is_success() => Err(ClientError::Protocol),
        _ => Err(problem(answer).await),
    }
}

/// The header field of a token; marked so that nothing that prints headers prints it.
fn secret(bearer: &Bearer) -> Result<HeaderValue, ClientError> {
    let value = HeaderValue::try_from(format!("Bearer {}", bearer.expose()));
    let mut value = value.map_err(|_| ClientError::BadToken)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a whole answer of bounded length.
pub(super) async fn collect(answer: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|e| match e.downcast::<hyper::Error>() {
        Ok(broken) => ClientError::Broken(*broken),
        Err(_) => ClientError::TooLong { limit: ANSWER_MAX },
    })
}

async fn problem(answer: Response<Incoming>) -> ClientError {
    let status = answer.status();
    let typed = answer.headers().get(header::CONTENT_TYPE).is_some_and(|t| t == PROBLEM_JSON);
    let bytes = match collect(answer).await {
        Ok(bytes) => bytes,
        Err(e) => return e,
    };
    if !typed {
        return ClientError::problem(Problem::new(
            status.as_u16(),
            "unexpected_answer",
            format!("the daemon answered `{status}` without saying why"),
            "use the same version of `insula` for the command and the daemon",
        ));
    }
    serde_json::from_slice(&bytes).map_or_else(ClientError::Decode, ClientError::problem)
}
