//! A stream of captured lines that survives a restart of the worker.
//!
//! ```text
//! open ──► reading ──line──► reading
//!             │ broken or ended while following
//!             ▼
//!          open again behind the last cursor; given up when that brings no line RESUMES times in a row
//! ```

use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use insula_spec::InstanceName;

use super::connection;
use super::lines::Lines;
use crate::{Client, ClientError, LogFrame, LogLine, LogsQuery, PREFIX};

/// How often in a row a broken stream is opened again without any new line.
const RESUMES: u32 = 5;

/// Captured lines, in order.
#[derive(Debug)]
pub struct LogStream {
    client: Client,
    name: InstanceName,
    query: LogsQuery,
    body: Incoming,
    lines: Lines,
    resumes: u32,
}

impl LogStream {
    pub(super) async fn open(
        client: Client,
        name: InstanceName,
        query: LogsQuery,
    ) -> Result<Self, ClientError> {
        let body = request(&client, &name, query).await?.into_body();
        Ok(Self { client, name, query, body, lines: Lines::default(), resumes: 0 })
    }

    /// The next line; `None` at the end, which a stream that follows reaches only by an error.
    ///
    /// Not cancel-safe while it opens a broken stream again.
    ///
    /// # Errors
    /// When the stream broke and could not be resumed, or the daemon says it cannot go on.
    pub async fn next(&mut self) -> Result<Option<LogLine>, ClientError> {
        loop {
            if let Some(line) = self.lines.next() {
                return match serde_json::from_slice(line).map_err(ClientError::Decode)? {
                    LogFrame::Line(line) => {
                        self.query.after = Some(line.cursor);
                        self.query.tail = None;
                        self.resumes = 0;
                        Ok(Some(line))
                    }
                    LogFrame::Error(problem) => Err(ClientError::problem(problem)),
                };
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.lines.take(frame.data_ref().map_or(&[][..], |data| data))?,
                Some(Err(e)) => self.resume(Some(e)).await?,
                None if self.query.follow => self.resume(None).await?,
                None => return Ok(None),
            }
        }
    }

    async fn resume(&mut self, broken: Option<hyper::Error>) -> Result<(), ClientError> {
        let mut broken = broken.map(ClientError::Broken);
        loop {
            if !self.query.follow || self.resumes == RESUMES {
                return Err(broken.unwrap_or_else(|| ClientError::gone(&self.client.target)));
            }
            self.resumes += 1;
            match request(&self.client, &self.name, self.query).await {
                Ok(answer) => {
                    self.body = answer.into_body();
                    self.lines = Lines::default();
                    return Ok(());
                }
                Err(e @ ClientError::Broken(_)) => broken = Some(e),
                Err(e) => return Err(e),
            }
        }
    }
}

async fn request(
    client: &Client,
    name: &InstanceName,
    query: LogsQuery,
) -> Result<Response<Incoming>, ClientError> {
    let path = format!("{PREFIX}/instances/{name}/logs?{}", query.to_query());
    connection::send(&client.target, Method::GET, &path, String::new()).await
}
