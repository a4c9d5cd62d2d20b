//! Server-sent events that survive a restart of the worker (WHATWG HTML, section 9.2).
//!
//! ```text
//! open ──► reading ──event──► reading
//!             │ broken or ended
//!             ▼
//!          open again behind the last id; given up when that brings no event RESUMES times in a row
//! ```

use std::marker::PhantomData;

use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::connection;
use super::lines::Lines;
use crate::{Client, ClientError};

/// How often in a row a broken stream is opened again without any new event.
const RESUMES: u32 = 5;

/// Things as they come, in order.
#[derive(Debug)]
pub struct Followed<T> {
    client: Client,
    /// Path and query, but for `after`.
    path: String,
    after: u64,
    body: Incoming,
    lines: Lines,
    resumes: u32,
    id: Option<u64>,
    error: bool,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Followed<T> {
    pub(super) async fn open(client: Client, path: String, after: u64) -> Result<Self, ClientError> {
        let body = request(&client, &path, after).await?;
        let (lines, kind) = (Lines::default(), PhantomData);
        Ok(Self { client, path, after, body, lines, resumes: 0, id: None, error: false, kind })
    }

    /// The next one. The stream ends only with an error.
    ///
    /// Not cancel-safe while it opens a broken stream again.
    ///
    /// # Errors
    /// When the stream broke and could not be resumed, or the daemon says it cannot go on.
    pub async fn next(&mut self) -> Result<T, ClientError> {
        loop {
            while let Some(line) = self.lines.next().map(<[u8]>::to_vec) {
                if let Some(found) = self.field(&line)? {
                    return Ok(found);
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.lines.take(frame.data_ref().map_or(&[][..], |data| data))?,
                Some(Err(e)) => self.resume(Some(ClientError::Broken(e))).await?,
                None => self.resume(None).await?,
            }
        }
    }

    /// One line: a field, a comment, or the end of an event. The server writes data in one line.
    fn field(&mut self, line: &[u8]) -> Result<Option<T>, ClientError> {
        let (name, value) = match line.iter().position(|b| *b == b':') {
            Some(at) => (line.get(..at), line.get(at + 1..)),
            None => (Some(line), None),
        };
        let value = value.map_or(&[][..], |value| value.strip_prefix(b" ").unwrap_or(value));
        match name {
            Some(b"id") => self.id = serde_json::from_slice(value).map(Some).map_err(ClientError::Decode)?,
            Some(b"event") => self.error = value == b"error",
            Some(b"data") if self.error => {
                let problem = serde_json::from_slice(value).map_err(ClientError::Decode)?;
                return Err(ClientError::problem(problem));
            }
            Some(b"data") => {
                let found = serde_json::from_slice(value).map_err(ClientError::Decode)?;
                self.passed();
                self.resumes = 0;
                return Ok(Some(found));
            }
            Some(b"") if line.is_empty() => {
                self.passed();
                self.error = false;
            }
            _ => {}
        }
        Ok(None)
    }

    /// What came so far needs not come again.
    fn passed(&mut self) {
        self.after = self.id.take().unwrap_or(self.after).max(self.after);
    }

    async fn resume(&mut self, mut broken: Option<ClientError>) -> Result<(), ClientError> {
        loop {
            if self.resumes == RESUMES {
                return Err(broken.unwrap_or_else(|| ClientError::gone(&self.client.target)));
            }
            self.resumes += 1;
            match request(&self.client, &self.path, self.after).await {
                Ok(body) => {
                    self.body = body;
                    (self.lines, self.id, self.error) = (Lines::default(), None, false);
                    return Ok(());
                }
                Err(e @ ClientError::Broken(_)) => broken = Some(e),
                Err(e) => return Err(e),
            }
        }
    }
}

async fn request(client: &Client, path: &str, after: u64) -> Result<Incoming, ClientError> {
    let path = format!("{path}&after={after}");
    let answer = connection::follow(&client.target, Method::GET, &path).await?;
    Ok(answer.into_body())
}
