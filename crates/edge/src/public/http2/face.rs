//! One stream of a client, as a connection of HTTP/1.1 that asks once.
//!
//! ```text
//! HEADERS ──text──► read: head ──► body ──► waits for a reset ──► end
//! write: head ──HEADERS──► body ──DATA, trailers──► answered
//! ```
//! What is read here goes through the same parser as the bytes of any other client, so nothing passes that HTTP/1.1
//! would not let pass. Dropped before the answer is complete, the stream is reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::inbound::{Coding, Inbound, field};
use super::outbound::Outbound;
use super::tally::Tally;
use super::{broken, lines};
use crate::public::framing::bodiless;
use crate::public::grpc;
use crate::public::head::Kind;
use crate::public::route::Authority;

/// One stream, read and written as HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Face {
    request: Inbound,
    answer: Answer,
    to_head: bool,
    grpc: bool,
    /// Whether the client has no room for what was written last.
    full: bool,
    tally: Arc<Tally>,
}

#[derive(Debug)]
enum Answer {
    /// Its head is not whole yet.
    Head {
        respond: SendResponse<Bytes>,
        held: Vec<u8>,
    },
    Body(Outbound),
}

impl Face {
    /// A stream that has just begun; `None` if its request is malformed in a way that HTTP/1.1 has no words for.
    /// The stream is reset then (RFC 9113, section 8.1.1).
    pub(crate) fn new(
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        tally: Arc<Tally>,
    ) -> Option<Self> {
        let (parts, body) = request.into_parts();
        let Some((head, coding)) = text(&parts, body.is_end_stream()) else {
            respond.send_reset(Reason::PROTOCOL_ERROR);
            return None;
        };
        Some(Self {
            request: Inbound::new(head, body, coding),
            answer: Answer::Head { respond, held: Vec::new() },
            to_head: parts.method == Method::HEAD,
            grpc: grpc::is_asked_by(parts.headers.get(header::CONTENT_TYPE).map(|v| v.as_bytes())),
            full: false,
            tally,
        })
    }

    fn is_answered(&self) -> bool {
        matches!(&self.answer, Answer::Body(body) if body.is_over())
    }

    /// Ready once the client has reset the stream, or its connection is gone.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, h2::Error>> {
        match &mut self.answer {
            Answer::Head { respond, .. } => respond.poll_reset(cx),
            Answer::Body(body) => body.stream().poll_reset(cx),
        }
    }

    /// Takes bytes of a head; once it is whole it goes out.
    fn head(&mut self, input: &[u8]) -> io::Result<usize> {
        let Answer::Head { respond, held } = &mut self.answer else { return Ok(0) };
        held.extend_from_slice(input);
        let Some(end) = lines::end(held) else { return Ok(input.len()) };
        let taken = input.len() - (held.len() - end);
        let head = lines::Head::of(&held[..end])?;
        let response = response(&head)?;
        let status = response.status();
        if status.is_informational() {
            respond.send_informational(response).map_err(broken)?;
            held.clear();
            return Ok(taken);
        }
        let chunked = head.value(Kind::TransferEncoding).is_some();
        let length = head.length().filter(|_| !chunked);
        let empty = self.to_head || bodiless(status.as_u16()) || (!chunked && length.is_none_or(|n| n == 0));
        let stream = respond.send_response(response, empty).map_err(broken)?;
        self.answer =
            Answer::Body(if empty { Outbound::over(stream) } else { Outbound::new(stream, length) });
        Ok(taken)
    }
}

impl AsyncRead for Face {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_answered() {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if !this.request.is_over() {
            ready!(this.request.poll_read(cx, buf))?;
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
        // Nothing more will come, but that is no farewell: the client waits for its answer.
        this.poll_reset(cx).map(|_| Ok(()))
    }
}

impl AsyncWrite for Face {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.answer {
            Answer::Head { .. } => Poll::Ready(this.head(buf)),
            Answer::Body(body) => body.poll_write(cx, buf),
        };
        this.full = written.is_pending();
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Face {
    fn drop(&mut self) {
        if self.is_answered() {
            return self.tally.answered();
        }
        if self.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready() {
            return self.tally.cancelled();
        }
        match &mut self.answer {
            Answer::Head { respond, .. } => respond.send_reset(Reason::INTERNAL_ERROR),
            Answer::Body(body) if self.grpc && !self.full => {
                if let Err(error) = body.stream().send_trailers(grpc::broken_off()) {
                    tracing::debug!(%error, "a stream ended before it could be told why");
                }
            }
            Answer::Body(body) => body.stream().send_reset(Reason::INTERNAL_ERROR),
        }
    }
}

/// The request as a head of HTTP/1.1, and how its body is written.
fn text(parts: &http::request::Parts, ended: bool) -> Option<(Vec<u8>, Coding)> {
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let path = parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str);
    let target = if parts.method == Method::CONNECT { authority } else { path };
    let target = target.filter(|t| parts.method == Method::CONNECT || t.starts_with('/') || *t == "*")?;
    let mut out = Vec::with_capacity(512);
    for part in [parts.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    hosts(&mut out, authority, &parts.headers);
    let mut cookies: Vec<u8> = Vec::new();
    for (name, value) in &parts.headers {
        let value = value.as_bytes();
        if value.trim_ascii().len() != value.len() {
            return None;
        }
        match name {
            &header::HOST => {}
            &header::CONNECTION | &header::TRANSFER_ENCODING | &header::UPGRADE => return None,
            &header::COOKIE if !cookies.is_empty() => cookies.extend([b"; ", value].concat()),
            &header::COOKIE => cookies.extend(value),
            _ => field(&mut out, name.as_str(), value),
        }
    }
    if !cookies.is_empty() {
        field(&mut out, "cookie", &cookies);
    }
    let coding = coding(&mut out, parts, ended);
    out.extend_from_slice(b"\r\n");
    Some((out, coding))
}

/// One `Host` where all agree. Where they do not, both are written, and the parser refuses that.
fn hosts(out: &mut Vec<u8>, authority: Option<&str>, fields: &HeaderMap) {
    let first = authority.and_then(|text| Authority::parse(text).ok());
    if let Some(authority) = authority {
        field(out, "host", authority.as_bytes());
    }
    for host in fields.get_all(header::HOST) {
        let given = host.to_str().ok().and_then(|text| Authority::parse(text).ok());
        let same = first.zip(given).is_some_and(|(first, given)| first.same(&given));
        if !same {
            field(out, "host", host.as_bytes());
        }
    }
}

/// Where a body follows without a length, it is chunked from here on.
fn coding(out: &mut Vec<u8>, parts: &http::request::Parts, ended: bool) -> Coding {
    let sized = parts.headers.contains_key(header::CONTENT_LENGTH);
    match (ended, sized) {
        (true, false) => {
            if [Method::POST, Method::PUT, Method::PATCH].contains(&parts.method) {
                // RFC 9110, section 8.6.
                field(out, "content-length", b"0");
            }
            Coding::Empty
        }
        (true, true) => Coding::Empty,
        (false, true) => Coding::Raw,
        (false, false) => {
            field(out, "transfer-encoding", b"chunked");
            Coding::Chunked
        }
    }
}

/// The head of an answer, without what only HTTP/1.1 has.
fn response(head: &lines::Head<'_>) -> io::Result<Response<()>> {
    let status = head.line.get(9..12).and_then(|code| StatusCode::from_bytes(code.as_bytes()).ok());
    let mut response = Response::new(());
    *response.status_mut() = status.ok_or_else(|| lines::invalid("a status line"))?;
    for (kind, name, value) in head.fields() {
        if !matches!(kind, Kind::Connection | Kind::TransferEncoding | Kind::HopByHop | Kind::Upgrade) {
            lines::add(response.headers_mut(), name, value)?;
        }
    }
    Ok(response)
}
