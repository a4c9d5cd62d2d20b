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
use crate::{Client, ClientError};

/// How often in a row a broken stream is opened again without any new event.
const RESUMES: u32 = 5;
/// Longest line of the stream, in bytes.
const LINE_MAX: usize = 1 << 20;

/// Things as they come, in order.
#[derive(Debug)]
pub struct Followed<T> {
    client: Client,
    /// Path and query, but for `after`.
    path: String,
    after: u64,
    body: Incoming,
    buffer: Vec<u8>,
    /// How many bytes of `buffer` were used already.
    used: usize,
    resumes: u32,
    id: Option<u64>,
    error: bool,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Followed<T> {
    pub(super) async fn open(client: Client, path: String, after: u64) -> Result<Self, ClientError> {
        let body = request(&client, &path, after).await?;
        let (buffer, kind) = (Vec::new(), PhantomData);
        Ok(Self { client, path, after, body, buffer, used: 0, resumes: 0, id: None, error: false, kind })
    }

    /// The next one. The stream ends only with an error.
    ///
    /// Not cancel-safe while it opens a broken stream again.
    ///
    /// # Errors
    /// When the stream broke and could not be resumed, or the daemon says it cannot go on.
    pub async fn next(&mut self) -> Result<T, ClientError> {
        loop {
            while let Some(line) = self.line() {
                if let Some(found) = self.field(&line)? {
                    return Ok(found);
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.take(frame.data_ref().map_or(&[][..], |data| data))?,
                Some(Err(e)) => self.resume(Some(ClientError::Broken(e))).await?,
                None => self.resume(None).await?,
            }
        }
    }

    /// Takes the next whole line out of the buffer.
    fn line(&mut self) -> Option<Vec<u8>> {
        let rest = self.buffer.get(self.used..)?;
        let end = rest.iter().position(|b| *b == b'\n')?;
        let line = rest.get(..end)?.to_vec();
        self.used += end + 1;
        Some(line)
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

    fn take(&mut self, data: &[u8]) -> Result<(), ClientError> {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.extend_from_slice(data);
        if self.buffer.len() > LINE_MAX && !self.buffer.contains(&b'\n') {
            return Err(ClientError::TooLong { limit: LINE_MAX });
        }
        Ok(())
    }

    async fn resume(&mut self, mut broken: Option<ClientError>) -> Result<(), ClientError> {
        loop {
            if self.resumes == RESUMES {
                return Err(broken.unwrap_or_else(|| self.gone()));
            }
            self.resumes += 1;
            match request(&self.client, &self.path, self.after).await {
                Ok(body) => {
                    self.body = body;
                    self.buffer.clear();
                    (self.used, self.id, self.error) = (0, None, false);
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

async fn request(client: &Client, path: &str, after: u64) -> Result<Incoming, ClientError> {
    let path = format!("{path}&after={after}");
    let answer = connection::follow(&client.target, Method::GET, &path).await?;
    Ok(answer.into_body())
}
