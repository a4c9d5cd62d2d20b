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
use crate::{Client, ClientError, LogFrame, LogLine, LogsQuery, PREFIX};

/// How often in a row a broken stream is opened again without any new line.
const RESUMES: u32 = 5;

/// Longest frame, in bytes: a captured line has at most 16 KiB, written as hexadecimal and escaped text.
const FRAME_MAX: usize = 1 << 20;

/// Captured lines, in order.
#[derive(Debug)]
pub struct LogStream {
    client: Client,
    name: InstanceName,
    query: LogsQuery,
    body: Incoming,
    buffer: Vec<u8>,
    /// How many bytes of `buffer` were given out already.
    used: usize,
    resumes: u32,
}

impl LogStream {
    pub(super) async fn open(
        client: Client,
        name: InstanceName,
        query: LogsQuery,
    ) -> Result<Self, ClientError> {
        let body = request(&client, &name, query).await?.into_body();
        Ok(Self { client, name, query, body, buffer: Vec::new(), used: 0, resumes: 0 })
    }

    /// The next line; `None` at the end, which a stream that follows reaches only by an error.
    ///
    /// Not cancel-safe while it opens a broken stream again.
    ///
    /// # Errors
    /// When the stream broke and could not be resumed, or the daemon says it cannot go on.
    pub async fn next(&mut self) -> Result<Option<LogLine>, ClientError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return match frame {
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
                Some(Ok(frame)) => self.take(frame.data_ref().map_or(&[][..], |data| data))?,
                Some(Err(e)) => self.resume(Some(e)).await?,
                None if self.query.follow => self.resume(None).await?,
                None => return Ok(None),
            }
        }
    }

    /// Takes the next whole frame out of the buffer.
    fn buffered(&mut self) -> Result<Option<LogFrame>, ClientError> {
        let rest = self.buffer.get(self.used..).unwrap_or_default();
        let Some(end) = rest.iter().position(|&b| b == b'\n') else { return Ok(None) };
        let frame = serde_json::from_slice(rest.get(..end).unwrap_or_default());
        self.used += end + 1;
        frame.map(Some).map_err(ClientError::Decode)
    }

    fn take(&mut self, data: &[u8]) -> Result<(), ClientError> {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.extend_from_slice(data);
        let whole = self.buffer.contains(&b'\n');
        if !whole && self.buffer.len() > FRAME_MAX {
            return Err(ClientError::TooLong { limit: FRAME_MAX });
        }
        Ok(())
    }

    async fn resume(&mut self, broken: Option<hyper::Error>) -> Result<(), ClientError> {
        let mut broken = broken.map(ClientError::Broken);
        loop {
            if !self.query.follow || self.resumes == RESUMES {
                return Err(broken.unwrap_or_else(|| self.gone()));
            }
            self.resumes += 1;
            match request(&self.client, &self.name, self.query).await {
                Ok(answer) => {
                    self.body = answer.into_body();
                    self.buffer.clear();
                    self.used = 0;
                    return Ok(());
                }
                Err(e @ ClientError::Broken(_)) => broken = Some(e),
                Err(e) => return Err(e),
            }
        }
    }

    fn gone(&self) -> ClientError {
        ClientError::NotRunning {
            at: self.client.target.to_string(),
            source: std::io::ErrorKind::ConnectionAborted.into(),
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
