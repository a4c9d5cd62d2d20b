//! One request over one connection.

use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::{ClientError, PROBLEM_JSON, Problem};

/// Longest answer that is read whole, in bytes.
const ANSWER_MAX: usize = 16 << 20;

/// Sends one request; an answer that is a problem becomes an error.
pub(super) async fn send(
    socket: &Path,
    method: Method,
    path: &str,
    body: String,
) -> Result<Response<Incoming>, ClientError> {
    let stream = UnixStream::connect(socket).await.map_err(|e| ClientError::connect(socket, e))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::Broken)?;
    // Drives the connection; ends by itself once the answer was read or dropped. What fails there fails
    // the request or the body too, so its result says nothing new.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "insula")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(ClientError::Request)?;
    let answer = sender.send_request(request).await.map_err(ClientError::Broken)?;
    if answer.status().is_success() { Ok(answer) } else { Err(problem(answer).await) }
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
