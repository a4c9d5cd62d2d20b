//! One request to a workload that speaks HTTP/2, as a connection of HTTP/1.1 that is asked once.
//!
//! ```text
//! write: head ──HEADERS──► body ──DATA, trailers──► over
//! read:  (interim heads) ──► head ──► body ──► end
//! ```
//! Dropped before its end, the stream is reset; the session goes on for the others.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, Uri, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::inbound::{Coding, Inbound, field};
use super::outbound::Outbound;
use super::{broken, lines};
use crate::public::framing::bodiless;
use crate::public::head::Kind;
use crate::public::text::push_decimal;

/// One stream of a session with a workload, written and read as HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Origin {
    request: Asking,
    answer: Answer,
    to_head: bool,
    /// Whether the session was there before.
    reused: bool,
}

#[derive(Debug)]
enum Asking {
    /// Its head is not whole yet.
    Head {
        session: SendRequest<Bytes>,
        held: Vec<u8>,
    },
    Body(Outbound),
}

#[derive(Debug)]
enum Answer {
    /// Nobody was asked yet; who waits for it.
    Unasked(Option<Waker>),
    /// Interim heads may come before it.
    Awaited {
        response: ResponseFuture,
        interim: Vec<u8>,
    },
    Body(Inbound),
}

impl Origin {
    /// A stream yet to be opened in a session that has room for it.
    pub(crate) fn new(session: SendRequest<Bytes>, reused: bool) -> Self {
        let request = Asking::Head { session, held: Vec::new() };
        Self { request, answer: Answer::Unasked(None), to_head: false, reused }
    }

    /// Whether the session was there before, and so may be ending.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Takes bytes of the head; once it is whole it goes out.
    fn head(&mut self, input: &[u8]) -> io::Result<usize> {
        let Asking::Head { session, held } = &mut self.request else { return Ok(0) };
        held.extend_from_slice(input);
        let Some(end) = lines::end(held) else { return Ok(input.len()) };
        let taken = input.len() - (held.len() - end);
        let head = lines::Head::of(&held[..end])?;
        let request = request(&head)?;
        self.to_head = request.method() == Method::HEAD;
        let chunked = head.value(Kind::TransferEncoding).is_some();
        let length = head.length().filter(|_| !chunked);
        let empty = !chunked && length.is_none_or(|n| n == 0);
        let (response, stream) = session.send_request(request, empty).map_err(broken)?;
        self.request =
            Asking::Body(if empty { Outbound::over(stream) } else { Outbound::new(stream, length) });
        let answer = Answer::Awaited { response, interim: Vec::new() };
        if let Answer::Unasked(Some(waker)) = std::mem::replace(&mut self.answer, answer) {
            waker.wake();
        }
        Ok(taken)
    }
}

impl AsyncWrite for Origin {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match &mut this.request {
            Asking::Head { .. } => Poll::Ready(this.head(buf)),
            Asking::Body(body) => body.poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Origin {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.answer {
                Answer::Unasked(waker) => {
                    *waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Answer::Awaited { interim, .. } if !interim.is_empty() => {
                    let n = interim.len().min(buf.remaining());
                    buf.put_slice(&interim[..n]);
                    interim.drain(..n);
                    return Poll::Ready(Ok(()));
                }
                Answer::Awaited { response, interim } => {
                    let body = ready!(poll_response(cx, response, interim, this.to_head))?;
                    if let Some(body) = body {
                        this.answer = Answer::Body(body);
                    }
                }
                Answer::Body(body) => return body.poll_read(cx, buf),
            }
        }
    }
}

/// Waits for the next head: an interim one goes to `interim`, the last one comes with its body.
fn poll_response(
    cx: &mut Context<'_>,
    response: &mut ResponseFuture,
    interim: &mut Vec<u8>,
    to_head: bool,
) -> Poll<io::Result<Option<Inbound>>> {
    if let Poll::Ready(Some(head)) = response.poll_informational(cx) {
        text(interim, &head.map_err(broken)?);
        interim.extend_from_slice(b"\r\n");
        return Poll::Ready(Ok(None));
    }
    let response = ready!(Pin::new(response).poll(cx)).map_err(broken)?;
    Poll::Ready(Ok(Some(answer(response, to_head))))
}

/// The answer as HTTP/1.1.
fn answer(response: Response<RecvStream>, to_head: bool) -> Inbound {
    let mut out = Vec::with_capacity(512);
    text(&mut out, &response);
    let sized = response.headers().contains_key(header::CONTENT_LENGTH);
    let bodiless = to_head || bodiless(response.status().as_u16());
    let coding = match (bodiless || response.body().is_end_stream(), sized) {
        (true, _) => Coding::Empty,
        (false, true) => Coding::Raw,
        (false, false) => Coding::Chunked,
    };
    match coding {
        Coding::Empty if !bodiless && !sized => field(&mut out, "content-length", b"0"),
        Coding::Chunked => field(&mut out, "transfer-encoding", b"chunked"),
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
    Inbound::new(out, response.into_body(), coding)
}

/// Status line and fields.
fn text<B>(out: &mut Vec<u8>, response: &Response<B>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, u64::from(response.status().as_u16()));
    out.extend_from_slice(b" \r\n");
    for (name, value) in response.headers() {
        field(out, name.as_str(), value.as_bytes());
    }
}

/// The request, without what only HTTP/1.1 has.
fn request(head: &lines::Head<'_>) -> io::Result<Request<()>> {
    let mut words = head.line.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(lines::invalid("a request line"));
    };
    let host = head.value(Kind::Host).ok_or_else(|| lines::invalid("a head without a host"))?;
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(Authority::try_from(host).map_err(|_| lines::invalid("a host"))?);
    uri.path_and_query = Some(PathAndQuery::try_from(target).map_err(|_| lines::invalid("a target"))?);
    let mut request = Request::new(());
    *request.method_mut() = method.parse().map_err(|_| lines::invalid("a method"))?;
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| lines::invalid("a target"))?;
    *request.version_mut() = http::Version::HTTP_2;
    for (kind, name, value) in head.fields() {
        let ends = matches!(
            kind,
            Kind::Connection | Kind::TransferEncoding | Kind::HopByHop | Kind::Host | Kind::Upgrade
        );
        if !ends {
            lines::add(request.headers_mut(), name, value)?;
        }
    }
    Ok(request)
}
