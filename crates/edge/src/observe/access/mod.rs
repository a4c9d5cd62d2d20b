//! The access log: lines of all shards, written by one thread.
//!
//! ```text
//!            first line after a sweep: wake
//! shard ────────────────────────────────────► writer, asleep ──► a second later: sweep all shards ──► file
//!   └── full chunk ──(room for 64)──► writer ──► file              (and asleep again)
//!            └ no room: dropped, counted
//! ```
//! While no request comes, nothing runs.

mod file;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use insula_spec::config::LineFormat;

use self::file::LogFile;
use super::shard::{Chunk, Shards, lock};

/// Longest time that a line waits to be written.
const FLUSH: Duration = Duration::from_secs(1);
/// Messages that may wait for the writer. With full chunks, 3 MiB.
const QUEUE: usize = 64;

/// An access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file; its directory exists.
    pub path: PathBuf,
    /// How lines are written.
    pub format: LineFormat,
    /// Whether they hold the query.
    pub query: bool,
    /// Bytes at which the file is put aside.
    pub size: u64,
    /// How many files put aside are kept.
    pub files: u32,
}

/// An access log that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the access log `{}`", path.display())]
pub struct OpenLogError {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl OpenLogError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "make its directory and let this user write there, or set `access_log = \"off\"` under `[observability]`"
    }
}

#[derive(Debug)]
enum Message {
    /// Lines to write.
    Lines(Chunk),
    /// Lines wait in the shards.
    Wake,
    /// Write what is there, then end.
    Close,
}

/// The access log of a proxy.
#[derive(Debug)]
pub(super) struct AccessLog {
    writer: SyncSender<Message>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer shares with those who bring lines.
#[derive(Debug, Default)]
struct Shared {
    /// Whether the writer knows that lines wait.
    told: AtomicBool,
    lost: AtomicU64,
}

impl AccessLog {
    /// Opens the file and starts the writer.
    pub(super) fn open(settings: Settings, shards: Arc<Shards>) -> Result<Self, OpenLogError> {
        let path = settings.path.clone();
        let fail = |source| OpenLogError { path: path.clone(), source };
        let file = LogFile::open(settings.path, settings.size, settings.files).map_err(fail)?;
        let (writer, messages) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let thread = Writer { file, shards, shared: Arc::clone(&shared), failing: false };
        let thread =
            std::thread::Builder::new().name("access-log".into()).spawn(move || thread.run(&messages));
        Ok(Self { writer, shared, thread: Mutex::new(Some(thread.map_err(fail)?)) })
    }

    /// Lines wait in a shard, or are `full` already.
    pub(super) fn lines_wait(&self, full: Option<Chunk>) {
        if let Some(chunk) = full {
            let lines = chunk.lines;
            if self.writer.try_send(Message::Lines(chunk)).is_err() {
                self.shared.lost.fetch_add(lines, Ordering::Relaxed);
            }
        }
        // A look first: most lines find the writer told already.
        let shared = &self.shared;
        if !shared.told.load(Ordering::Relaxed)
            && !shared.told.swap(true, Ordering::AcqRel)
            && self.writer.try_send(Message::Wake).is_err()
        {
            shared.told.store(false, Ordering::Release);
        }
    }

    /// Lines that are not in the file and never will be.
    pub(super) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Writes what is left and ends the writer.
    pub(super) fn close(&self) {
        let Some(thread) = lock(&self.thread).take() else { return };
        if self.writer.send(Message::Close).is_err() || thread.join().is_err() {
            tracing::warn!("the writer of the access log had ended before it was asked to");
        }
    }
}

/// The thread that writes.
struct Writer {
    file: LogFile,
    shards: Arc<Shards>,
    shared: Arc<Shared>,
    failing: bool,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut due: Option<Instant> = None;
        loop {
            let message = match due {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => messages.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match message {
                Ok(Message::Lines(chunk)) => self.write(&chunk),
                Ok(Message::Wake) => due = due.or_else(|| Some(Instant::now() + FLUSH)),
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => return self.sweep(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if due.is_some_and(|due| Instant::now() >= due) {
                due = None;
                self.sweep();
            }
        }
    }

    /// Writes the lines of all shards.
    fn sweep(&mut self) {
        // Before the shards are looked at: a line that comes after the look wakes the writer again.
        self.shared.told.store(false, Ordering::Release);
        let shards = Arc::clone(&self.shards);
        shards.sweep().for_each(|chunk| self.write(&chunk));
    }

    fn write(&mut self, chunk: &Chunk) {
        let written = self.file.write(&chunk.bytes);
        if let Err(error) = &written {
            self.shared.lost.fetch_add(chunk.lines, Ordering::Relaxed);
            if !self.failing {
                let path = self.file.path().display();
                tracing::warn!(%path, %error, "cannot write the access log; its lines are lost until it works");
            }
        } else if self.failing {
            tracing::info!(path = %self.file.path().display(), "the access log is written again");
        }
        self.failing = written.is_err();
    }
}

#[cfg(test)]
mod tests;
