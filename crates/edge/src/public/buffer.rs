//! Read buffers that an idle connection does not have.
//!
//! ```text
//! pool ──first byte to read──► buffer ──all bytes taken, nothing to read──► pool
//! ```
//! A [`Buffer`] holds storage only while there are bytes in it. A connection that waits for its next
//! request, an event stream between two events and a silent tunnel cost no buffer at all.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Size of a pooled buffer, in bytes; bodies are copied in pieces of at most this.
pub(crate) const PIECE: usize = 16 * 1024;

/// How many free buffers are kept; 2 MiB in all.
const KEPT: usize = 128;

/// Free storage, shared by all connections of a proxy.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    fn take(&self) -> Vec<u8> {
        let pooled = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        pooled.unwrap_or_else(|| vec![0; PIECE])
    }

    fn give(&self, storage: Vec<u8>) {
        if storage.len() != PIECE {
            return;
        }
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.push(storage);
        }
    }
}

/// Bytes read and not yet taken.
#[derive(Debug)]
pub(crate) struct Buffer {
    storage: Vec<u8>,
    start: usize,
    end: usize,
    pool: Arc<Pool>,
}

impl Buffer {
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        Self { storage: Vec::new(), start: 0, end: 0, pool: Arc::clone(pool) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Another, empty buffer from the same pool.
    pub(crate) fn sibling(&self) -> Self {
        Self::new(&self.pool)
    }

    /// Forgets the first `n` bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads once, holding at most `most` bytes; 0 is the end of the source.
    ///
    /// When nothing can be read and nothing is held, the storage goes back to the pool.
    pub(crate) fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        self.make_room(most);
        let mut room = ReadBuf::new(&mut self.storage[self.end..]);
        let read = Pin::new(source).poll_read(cx, &mut room);
        let n = room.filled().len();
        if read.is_pending() && self.is_empty() {
            self.release();
        }
        ready!(read)?;
        self.end += n;
        Poll::Ready(Ok(n))
    }

    /// Ensures that at least one byte can be read, unless `most` bytes are held already.
    fn make_room(&mut self, most: usize) {
        if self.storage.is_empty() {
            self.storage = self.pool.take();
        }
        if self.end < self.storage.len() {
            return;
        }
        if self.start > 0 {
            self.storage.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else if self.storage.len() < most {
            let grown = (self.storage.len() * 2).min(most);
            self.storage.resize(grown, 0);
        }
    }

    fn release(&mut self) {
        (self.start, self.end) = (0, 0);
        self.pool.give(std::mem::take(&mut self.storage));
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.storage.is_empty() {
            self.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn fill<R: AsyncRead + Unpin>(buffer: &mut Buffer, source: &mut R, most: usize) -> usize {
        poll_fn(|cx| buffer.poll_fill(cx, source, most)).await.unwrap()
    }

    #[tokio::test]
    async fn an_idle_buffer_holds_no_storage() {
        let pool = Arc::new(Pool::default());
        let mut buffer = Buffer::new(&pool);
        let (mut near, mut far) = tokio::io::duplex(64);
        near.write_all(b"hello").await.unwrap();
        assert_eq!(fill(&mut buffer, &mut far, PIECE).await, 5);
        assert_eq!((buffer.bytes(), buffer.storage.len()), (&b"hello"[..], PIECE));
        buffer.consume(5);
        let pending = poll_fn(|cx| Poll::Ready(buffer.poll_fill(cx, &mut far, PIECE).is_pending())).await;
        assert!(pending);
        assert_eq!((buffer.storage.len(), pool.free.lock().unwrap().len()), (0, 1));
    }

    #[tokio::test]
    async fn it_grows_to_its_bound_and_no_further() {
        let pool = Arc::new(Pool::default());
        let mut buffer = Buffer::new(&pool);
        let source = vec![7_u8; 5 * PIECE];
        let mut source = &source[..];
        while buffer.len() < 2 * PIECE {
            assert!(fill(&mut buffer, &mut source, 2 * PIECE).await > 0);
        }
        assert_eq!(buffer.storage.len(), 2 * PIECE);
        buffer.consume(PIECE);
        assert!(fill(&mut buffer, &mut source, 2 * PIECE).await > 0);
        assert_eq!(buffer.len(), 2 * PIECE);
    }
}
