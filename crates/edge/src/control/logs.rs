//! Captured lines as a stream of NDJSON.
//!
//! ```text
//! page ──lines──► channel (bounded) ──► body
//!  ▲ │ no more lines
//!  │ └─ follow? ── no ──► end
//!  └── the store tells that something was committed
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;
use insula_api::{LogFrame, LogsQuery};
use insula_spec::InstanceName;
use tokio::sync::mpsc;

use super::error::ControlError;
use super::handlers::Shared;
use super::operations::{LogPage, Operations};

/// A piece of the body; one that could not be written breaks the stream off, so that no reader takes it for whole.
type Piece = serde_json::Result<Bytes>;

/// Pages that may wait for a slow reader.
const PAGES_WAITING: usize = 2;

/// Reads the first page now, so that an unknown instance is an error of the request, and the rest as it is
/// taken.
pub(super) async fn stream<O: Operations>(
    app: Arc<Shared<O>>,
    name: InstanceName,
    query: LogsQuery,
) -> Result<Body, ControlError> {
    let heads = app.operations.follow();
    let tail = query.tail.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let first = app.operations.logs(&name, tail, query.after).await?;
    let (sender, receiver) = mpsc::channel(PAGES_WAITING);
    tokio::spawn(async move {
        let stop = app.stop.clone();
        let pump = pump(Pump { app, name, follow: query.follow, sender }, first, heads);
        // A dropped future leaves nothing behind: what was not sent is asked for again by cursor.
        stop.run_until_cancelled_owned(pump).await;
    });
    Ok(Body::new(Pages(receiver)))
}

struct Pump<O> {
    app: Arc<Shared<O>>,
    name: InstanceName,
    follow: bool,
    sender: mpsc::Sender<Piece>,
}

async fn pump<O: Operations>(
    to: Pump<O>,
    mut page: LogPage,
    mut heads: tokio::sync::watch::Receiver<insula_store::Heads>,
) {
    loop {
        let empty = page.lines.is_empty();
        if !empty && to.sender.send(encode(page.lines.into_iter().map(LogFrame::Line))).await.is_err() {
            return;
        }
        if empty {
            if !to.follow {
                return;
            }
            // Also ends when the reader goes away while nothing is written.
            let told = tokio::select! {
                told = heads.wait_for(|heads| heads.log.0 > page.next) => told.is_ok(),
                () = to.sender.closed() => false,
            };
            if !told {
                return;
            }
        }
        let next = to.app.operations.logs(&to.name, None, Some(page.next)).await;
        page = match next {
            Ok(next) => next,
            Err(error) => {
                let frame = LogFrame::Error(error.problem());
                // A reader that went away needs not be told.
                drop(to.sender.send(encode([frame])).await);
                return;
            }
        };
    }
}

/// Frames in newline-delimited JSON.
fn encode(frames: impl IntoIterator<Item = LogFrame>) -> Piece {
    let mut bytes = Vec::new();
    for frame in frames {
        serde_json::to_writer(&mut bytes, &frame)?;
        bytes.push(b'\n');
    }
    Ok(bytes.into())
}

/// A body of pages.
#[derive(Debug)]
struct Pages(mpsc::Receiver<Piece>);

impl hyper::body::Body for Pages {
    type Data = Bytes;
    type Error = serde_json::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<serde_json::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
