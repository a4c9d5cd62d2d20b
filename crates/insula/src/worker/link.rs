//! The worker's end of the lifeline, in the runtime.

use std::io;

use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::lifeline::{self, Lifeline, ToParent, ToWorker};

/// The worker's end.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
}

impl Link {
    /// Registers it with the runtime.
    pub(super) fn new(lifeline: Lifeline) -> io::Result<Self> {
        Ok(Self { stream: UnixStream::from_std(lifeline.into_stream()?)? })
    }

    /// The next message; `None` when the parent is gone. Cancel-safe.
    pub(super) async fn next(&mut self) -> io::Result<Option<ToWorker>> {
        let recv = || lifeline::recv(&self.stream, &mut Vec::new());
        self.stream.async_io(Interest::READABLE, recv).await
    }

    /// Tells the parent something.
    pub(super) fn send(&self, message: &ToParent) -> io::Result<()> {
        lifeline::send(&self.stream, message, &[])
    }
}
