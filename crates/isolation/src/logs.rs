//! Captured output on its way from an agent to whoever stores it.

use std::time::SystemTime;

use tokio::sync::{mpsc, watch};

/// Which stream of the workload a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One captured line, without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Position among all lines of this set of walls, both streams together, from 0.
    pub seq: u64,
    /// When the agent read it.
    pub time: SystemTime,
    /// Where it came from.
    pub output: Output,
    /// The bytes, at most 16 KiB; a longer line continues in the next one.
    pub bytes: Vec<u8>,
}

/// Lines lost because nobody took them before the agent's buffers were full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogGap {
    /// First lost sequence number.
    pub from: u64,
    /// First sequence number after the gap.
    pub to: u64,
}

/// Some lines in order, perhaps after a gap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogBatch {
    /// What was lost just before `lines`.
    pub gap: Option<LogGap>,
    /// The lines.
    pub lines: Vec<LogLine>,
}

/// The receiving end of a sandbox's output. Ends when the sandbox is gone and everything was delivered.
#[derive(Debug)]
pub struct LogStream {
    rx: mpsc::Receiver<LogBatch>,
    acker: LogAcker,
}

impl LogStream {
    /// Joins a channel of batches with the watch that carries acknowledgements back.
    #[must_use]
    pub fn new(rx: mpsc::Receiver<LogBatch>, acked: watch::Sender<u64>) -> Self {
        Self { rx, acker: LogAcker { acked } }
    }

    /// The next batch; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<LogBatch> {
        self.rx.recv().await
    }

    /// The next batch, if it is there already.
    pub fn ready(&mut self) -> Option<LogBatch> {
        self.rx.try_recv().ok()
    }

    /// Tells the agent that all lines before `next_seq` are stored, so that it may forget them.
    pub fn ack(&self, next_seq: u64) {
        self.acker.ack(next_seq);
    }
}

/// Carries acknowledgements back to the agent.
#[derive(Debug)]
pub struct LogAcker {
    acked: watch::Sender<u64>,
}

impl LogAcker {
    fn ack(&self, next_seq: u64) {
        self.acked.send_if_modified(|seq| {
            let newer = next_seq > *seq;
            *seq = next_seq.max(*seq);
            newer
        });
    }
}

impl From<insula_frames::Line> for LogLine {
    fn from(line: insula_frames::Line) -> Self {
        Self {
            seq: line.seq,
            time: std::time::UNIX_EPOCH + std::time::Duration::from_micros(line.micros),
            output: if line.stderr { Output::Stderr } else { Output::Stdout },
            bytes: line.bytes,
        }
    }
}
