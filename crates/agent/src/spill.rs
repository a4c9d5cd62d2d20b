//! Lines that nobody took yet and memory has no room for, in a file given by the host.
//!
//! ```text
//! ┌──── half 0 ────┬──── half 1 ────┐   lines are appended to one half; when it is full, the other half is
//! │ 17 18 19 20 .. │ 31 32 ..       │   emptied (its lines are lost, the oldest there are) and used next
//! └────────────────┴────────────────┘
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use insula_frames::{Line, MAX_LINE};

/// Fixed part of a record: length, sequence number, time, stream.
const HEAD: usize = 4 + 8 + 8 + 1;

/// A run of lines in one half of the file.
#[derive(Debug, Clone, Copy, Default)]
struct Half {
    len: u64,
    first: u64,
    next: u64,
}

impl Half {
    fn holds(&self, seq: u64) -> bool {
        self.first <= seq && seq < self.next
    }
}

/// Where reading goes on.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    half: usize,
    at: u64,
    seq: u64,
}

/// The file and what is where in it.
pub(crate) struct Spill {
    file: File,
    capacity: u64,
    halves: [Half; 2],
    active: usize,
    cursor: Option<Cursor>,
}

impl Spill {
    /// Takes over a file that may grow to `capacity` bytes.
    pub(crate) fn new(file: File, capacity: u64) -> Self {
        Self { file, capacity: capacity / 2, halves: [Half::default(); 2], active: 0, cursor: None }
    }

    /// Appends a line. The oldest lines go when there is no room.
    pub(crate) fn push(&mut self, line: &Line) -> io::Result<()> {
        let record = encode(line);
        let size = u64::try_from(record.len()).map_err(io::Error::other)?;
        if self.halves[self.active].len + size > self.capacity {
            self.active = 1 - self.active;
            self.empty(self.active);
        }
        let at = self.base(self.active) + self.halves[self.active].len;
        self.file.write_all_at(&record, at)?;
        let half = &mut self.halves[self.active];
        if half.len == 0 {
            half.first = line.seq;
        }
        half.len += size;
        half.next = line.seq + 1;
        Ok(())
    }

    /// First line still here.
    pub(crate) fn first(&self) -> Option<u64> {
        self.halves.iter().filter(|h| h.len > 0).map(|h| h.first).min()
    }

    /// Forgets all lines before `next`.
    pub(crate) fn release(&mut self, next: u64) {
        for half in 0..2 {
            if self.halves[half].len > 0 && self.halves[half].next <= next {
                self.empty(half);
            }
        }
    }

    /// The line with this number, or the first after it that is here.
    pub(crate) fn read(&mut self, seq: u64) -> io::Result<Option<Line>> {
        let Some(half) = self.half_for(seq) else { return Ok(None) };
        let wanted = seq.max(self.halves[half].first);
        let mut cursor = match self.cursor {
            Some(c) if c.half == half && c.seq <= wanted => c,
            _ => Cursor { half, at: 0, seq: self.halves[half].first },
        };
        loop {
            let line = self.record(&mut cursor)?;
            if line.seq >= wanted {
                self.cursor = Some(cursor);
                return Ok(Some(line));
            }
        }
    }

    /// The half that holds `seq`, else the one whose lines come next after it.
    fn half_for(&self, seq: u64) -> Option<usize> {
        let live = || (0..2).filter(|h| self.halves[*h].len > 0);
        live()
            .find(|h| self.halves[*h].holds(seq))
            .or_else(|| live().filter(|h| self.halves[*h].first > seq).min_by_key(|h| self.halves[*h].first))
    }

    fn record(&self, cursor: &mut Cursor) -> io::Result<Line> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "damaged spill file");
        let at = self.base(cursor.half) + cursor.at;
        let mut head = [0; HEAD];
        self.file.read_exact_at(&mut head, at)?;
        let (len, rest) = head.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (seq, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (micros, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| damaged())?;
        if len > MAX_LINE {
            return Err(damaged());
        }
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at + HEAD as u64)?;
        let seq = u64::from_le_bytes(*seq);
        cursor.at += (HEAD + len) as u64;
        cursor.seq = seq + 1;
        Ok(Line { seq, micros: u64::from_le_bytes(*micros), stderr: rest == [1], bytes })
    }

    fn base(&self, half: usize) -> u64 {
        if half == 0 { 0 } else { self.capacity }
    }

    fn empty(&mut self, half: usize) {
        self.halves[half] = Half::default();
        self.cursor = self.cursor.filter(|c| c.half != half);
    }
}

fn encode(line: &Line) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD + line.bytes.len());
    record.extend(u32::try_from(line.bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    record.extend(line.seq.to_le_bytes());
    record.extend(line.micros.to_le_bytes());
    record.push(u8::from(line.stderr));
    record.extend(&line.bytes);
    record
}
