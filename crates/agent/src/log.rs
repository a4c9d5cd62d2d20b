//! The captured output until somebody has stored it.
//!
//! ```text
//! acked ≤ … spill file … │ … ring in memory … │ next
//! ```
//! Lines enter the ring; when it is full the oldest move to the spill file; when that is full the oldest are
//! lost. What is lost is told as a gap when the reader comes to it.

use std::collections::VecDeque;
use std::fs::File;
use std::time::{SystemTime, UNIX_EPOCH};

use insula_frames::{FromAgent, Line};

use crate::spill::Spill;

/// Bytes of lines kept in memory.
const RING: usize = 64 * 1024;
/// What a line costs beyond its bytes.
const LINE_COST: usize = 48;
/// Bytes of the spill file.
const SPILL: u64 = 16 * 1024 * 1024;
/// Bytes of lines in one frame.
const BATCH: usize = 48 * 1024;
/// Frames that may be under way without an acknowledgement. The host counts on it.
const WINDOW: usize = insula_frames::LOG_WINDOW;

/// All lines that were not acknowledged yet, as far as there is room.
pub(crate) struct Log {
    ring: VecDeque<Line>,
    bytes: usize,
    spill: Option<Spill>,
    next: u64,
    sent: u64,
    /// For each frame under way, the line after its last.
    under_way: VecDeque<u64>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { ring: VecDeque::new(), bytes: 0, spill: None, next: 0, sent: 0, under_way: VecDeque::new() }
    }

    /// Gives it a file to spill into.
    pub(crate) fn spill_into(&mut self, file: File) {
        self.spill = Some(Spill::new(file, SPILL));
    }

    /// Number that the next line will get.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Adds a line, read now.
    pub(crate) fn push(&mut self, stderr: bool, bytes: &[u8]) {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros());
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        self.ring.push_back(Line { seq: self.next, micros, stderr, bytes: bytes.to_vec() });
        self.bytes += bytes.len() + LINE_COST;
        self.next += 1;
        while self.bytes > RING {
            self.move_oldest();
        }
    }

    /// Moves the oldest line of the ring to the spill file. Where that fails (no file, disk full) the line
    /// is lost, and the reader will see the gap.
    fn move_oldest(&mut self) {
        let Some(line) = self.ring.pop_front() else { return };
        self.bytes -= line.bytes.len() + LINE_COST;
        if let Some(spill) = &mut self.spill {
            drop(spill.push(&line));
        }
    }

    /// Sending starts over from here; everything before is stored.
    pub(crate) fn start_from(&mut self, seq: u64) {
        self.sent = seq.min(self.next);
        self.under_way.clear();
        self.ack(seq);
    }

    /// Forgets all lines before `next`.
    pub(crate) fn ack(&mut self, next: u64) {
        while self.ring.front().is_some_and(|l| l.seq < next) {
            if let Some(line) = self.ring.pop_front() {
                self.bytes -= line.bytes.len() + LINE_COST;
            }
        }
        if let Some(spill) = &mut self.spill {
            spill.release(next);
        }
        while self.under_way.front().is_some_and(|end| *end <= next) {
            self.under_way.pop_front();
        }
        if self.ring.is_empty() {
            self.ring = VecDeque::new();
        }
    }

    /// Whether there is something to send, and room under way for it.
    pub(crate) fn has_news(&self) -> bool {
        self.sent < self.next && self.under_way.len() < WINDOW
    }

    /// The next lines to send, with the gap before them, as one frame.
    pub(crate) fn take_batch(&mut self) -> Option<FromAgent> {
        let start = self.sent;
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH {
            let Some(line) = self.find(self.sent) else { break };
            if !lines.is_empty() && line.seq != self.sent {
                break;
            }
            self.sent = line.seq + 1;
            bytes += line.bytes.len() + LINE_COST;
            lines.push(line);
        }
        let first = lines.first().map_or(self.next, |l| l.seq);
        if lines.is_empty() {
            self.sent = self.next;
        }
        let gap = (first > start).then_some((start, first));
        self.under_way.push_back(self.sent);
        (gap.is_some() || !lines.is_empty()).then_some(FromAgent::Log { gap, lines })
    }

    /// The line with this number, or the first after it that still exists.
    fn find(&mut self, seq: u64) -> Option<Line> {
        let in_ring = self.ring.front().map(|l| l.seq);
        let spilled = self.spill.as_ref().and_then(Spill::first);
        if spilled.is_some() && in_ring.is_none_or(|first| seq < first) {
            // A damaged spill file reads as lost lines, which the gap tells.
            if let Some(line) = self.spill.as_mut().and_then(|s| s.read(seq).ok().flatten()) {
                return Some(line);
            }
        }
        let offset = usize::try_from(seq.saturating_sub(in_ring?)).ok()?;
        self.ring.get(offset).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(log: &mut Log) -> (Vec<u64>, u64) {
        let (mut seen, mut lost) = (Vec::new(), 0);
        while let Some(FromAgent::Log { gap, lines }) = log.take_batch() {
            lost += gap.map_or(0, |(from, to)| to - from);
            seen.extend(lines.iter().map(|l| l.seq));
        }
        (seen, lost)
    }

    fn spilling(lines: u64, size: usize) -> Log {
        let mut log = Log::new();
        log.spill_into(tempfile::tempfile().unwrap());
        for n in 0..lines {
            let mut bytes = vec![b'.'; size];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            log.push(false, &bytes);
        }
        log
    }

    #[test]
    fn beyond_the_ring_lines_come_from_the_file_in_order() {
        let mut log = spilling(5_000, 100);
        let (seen, lost) = drain(&mut log);
        assert_eq!(seen, (0..5_000).collect::<Vec<_>>());
        assert_eq!(lost, 0);
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_from_where_the_reader_says() {
        let mut log = spilling(3_000, 100);
        drain(&mut log);
        log.start_from(1_200);
        let (seen, lost) = drain(&mut log);
        assert_eq!((seen.first(), seen.len(), lost), (Some(&1_200), 1_800, 0));
    }

    #[test]
    fn beyond_the_file_the_oldest_are_lost_and_counted() {
        let mut log = spilling(40_000, 1_000);
        let (seen, lost) = drain(&mut log);
        assert!(lost > 20_000, "16 MiB cannot hold 40 MB, yet only {lost} were lost");
        assert_eq!(seen.len() as u64 + lost, 40_000);
        assert_eq!(seen.last(), Some(&39_999));
        assert!(seen.windows(2).all(|w| w[1] == w[0] + 1));
    }

    #[test]
    fn without_a_file_the_ring_is_all_there_is() {
        let mut log = Log::new();
        for _ in 0..5_000 {
            log.push(true, &[b'x'; 100]);
        }
        let (seen, lost) = drain(&mut log);
        assert_eq!(seen.len() as u64 + lost, 5_000);
        assert!(seen.len() < 500);
    }

    #[test]
    fn acknowledged_lines_free_the_file() {
        let mut log = spilling(20_000, 1_000);
        let (_, lost) = drain(&mut log);
        log.ack(log.next());
        for _ in 0..10_000 {
            log.push(false, &[b'y'; 1_000]);
        }
        let (seen, more) = drain(&mut log);
        assert_eq!((seen.len(), more), (10_000, 0), "{lost} had been lost before");
    }
}
