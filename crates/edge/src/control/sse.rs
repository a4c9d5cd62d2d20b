//! Server-sent events (WHATWG HTML, section 9.2): what comes, as it comes.
//!
//! ```text
//! page ──events──► channel (bounded) ──► body
//!  ▲ │ no more
//!  │ └─► wait: the store tells ── or ── HEARTBEAT: a comment, and how far we are
//!  └──────────┘
//! ```
//! `id` is the cursor. A reader that comes back with it as `Last-Event-ID` gets what is behind it: nothing
//! twice, nothing left out. A slow reader makes only this task wait.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use hyper::body::Frame;
use insula_api::Problem;
use insula_store::{Cursor, EventQuery, Heads, LogFilter, LogOrder};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::error::ControlError;
use super::handlers::Shared;
use super::operations::Operations;
use super::redact::ForTenant;

/// Media type of the answer.
pub(super) const EVENT_STREAM: &str = "text/event-stream";
/// Pages that may wait for a slow reader.
const PAGES_WAITING: usize = 2;
/// Lines or events of a page.
const PAGE: usize = 500;
/// Silence after which a comment is sent, so that both sides notice a connection that is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Some events, written out, and how far they reach.
pub(super) struct Page {
    text: Vec<u8>,
    /// The next page begins behind this.
    at: u64,
    /// Whether this was all there is now.
    end: bool,
}

/// Where events come from.
pub(super) trait Source: Send + 'static {
    /// What is behind `after`, oldest first.
    fn read<O: Operations>(
        &self,
        app: &Shared<O>,
        after: u64,
    ) -> impl Future<Output = Result<Page, ControlError>> + Send;

    /// How far the store is.
    fn head(heads: &Heads) -> u64;

    /// What the reader is told of a failure.
    fn told(&self, error: &ControlError) -> Problem {
        error.problem()
    }
}

/// Captured lines.
pub(super) struct Lines {
    pub(super) filter: LogFilter,
    /// Whether the reader may hear about the host.
    pub(super) admin: bool,
}

impl Source for Lines {
    async fn read<O: Operations>(&self, app: &Shared<O>, after: u64) -> Result<Page, ControlError> {
        let filter = LogFilter {
            after: Some(Cursor(after)),
            order: LogOrder::Oldest,
            limit: Some(PAGE),
            ..self.filter.clone()
        };
        let found = app.operations.find_logs(filter).await?;
        let mut text = Vec::new();
        for entry in &found.lines {
            write(&mut text, entry.line.cursor, entry)?;
        }
        Ok(Page { text, at: found.next.unwrap_or(found.head).max(after), end: found.next.is_none() })
    }

    fn head(heads: &Heads) -> u64 {
        heads.log.0
    }

    fn told(&self, error: &ControlError) -> Problem {
        if self.admin { error.problem() } else { error.problem().for_tenant() }
    }
}

/// Events of the event log.
pub(super) struct Events {
    pub(super) query: EventQuery,
}

impl Source for Events {
    async fn read<O: Operations>(&self, app: &Shared<O>, after: u64) -> Result<Page, ControlError> {
        let query =
            EventQuery { after: Some(after), newest_first: false, limit: Some(PAGE), ..self.query.clone() };
        let found = app.operations.find_events(query).await?;
        let mut text = Vec::new();
        for event in &found.events {
            write(&mut text, event.id, event)?;
        }
        let last = found.events.last().map(|event| event.id);
        let end = found.events.len() < PAGE;
        let at = if end { last.unwrap_or(after).max(found.head) } else { last.unwrap_or(after) };
        Ok(Page { text, at: at.max(after), end })
    }

    fn head(heads: &Heads) -> u64 {
        heads.event
    }
}

fn write<T: Serialize>(text: &mut Vec<u8>, id: u64, data: &T) -> Result<(), ControlError> {
    text.extend_from_slice(format!("id: {id}\ndata: ").as_bytes());
    serde_json::to_writer(&mut *text, data).map_err(ControlError::Encode)?;
    text.extend_from_slice(b"\n\n");
    Ok(())
}

/// Reads the first page now, so that what cannot be meant is an error of the request. Without `after` it
/// begins with what comes from now on.
pub(super) async fn stream<O: Operations, S: Source>(
    app: Arc<Shared<O>>,
    source: S,
    after: Option<u64>,
) -> Result<impl IntoResponse, ControlError> {
    let heads = app.operations.follow();
    let after = after.unwrap_or_else(|| S::head(&heads.borrow()));
    let first = source.read(&app, after).await?;
    let (sender, receiver) = mpsc::channel(PAGES_WAITING);
    tokio::spawn(async move {
        let stop = app.stop.clone();
        let pump = pump(Pump { app, source, sender }, first, heads);
        // A dropped future leaves nothing behind: what was not sent is asked for again by its id.
        stop.run_until_cancelled_owned(pump).await;
    });
    let kind = HeaderValue::from_static(EVENT_STREAM);
    let fresh = HeaderValue::from_static("no-store");
    let head = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, fresh)];
    let answer: Response = (head, Body::new(Pages(receiver))).into_response();
    Ok(answer)
}

struct Pump<O, S> {
    app: Arc<Shared<O>>,
    source: S,
    sender: mpsc::Sender<Bytes>,
}

async fn pump<O: Operations, S: Source>(to: Pump<O, S>, mut page: Page, mut heads: watch::Receiver<Heads>) {
    // Says at once that the stream is open, and from where.
    page.text.splice(..0, comment(page.at));
    loop {
        let at = page.at;
        if !page.text.is_empty() && to.sender.send(page.text.into()).await.is_err() {
            return;
        }
        if page.end && !news::<S>(&to.sender, &mut heads, at).await {
            return;
        }
        page = match to.source.read(&to.app, at).await {
            Ok(page) => page,
            Err(error) => {
                // A reader that went away needs not be told.
                drop(to.sender.send(farewell(&to.source.told(&error))).await);
                return;
            }
        };
    }
}

/// Waits until something is behind `at`, with a heartbeat; `false` when nobody reads, or nobody writes.
async fn news<S: Source>(sender: &mpsc::Sender<Bytes>, heads: &mut watch::Receiver<Heads>, at: u64) -> bool {
    loop {
        let told = tokio::select! {
            told = timeout(HEARTBEAT, heads.wait_for(|heads| S::head(heads) > at)) => told.map(|t| t.is_ok()),
            () = sender.closed() => return false,
        };
        match told {
            Ok(told) => return told,
            Err(_) if sender.send(comment(at).into()).await.is_err() => return false,
            Err(_) => {}
        }
    }
}

/// An event without data: readers remember the id and show nothing.
fn comment(at: u64) -> Vec<u8> {
    format!(": so far\nid: {at}\n\n").into_bytes()
}

fn farewell(problem: &Problem) -> Bytes {
    let problem = serde_json::to_string(problem).unwrap_or_default();
    format!("event: error\ndata: {problem}\n\n").into()
}

/// A body of pages.
#[derive(Debug)]
struct Pages(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
