//! Pipes of the workload, cut into lines.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use insula_frames::MAX_LINE;
use rustix::io::Errno;

/// Reads that empty the largest pipe (`/proc/sys/fs/pipe-max-size`).
const MOST_READS: usize = 64;

/// One output stream of the workload.
pub(crate) struct OutputPipe {
    pipe: OwnedFd,
    pub(crate) stderr: bool,
    partial: Vec<u8>,
}

/// What a read found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// More may come.
    More,
    /// Nothing now.
    Nothing,
    /// Nothing ever again.
    End,
}

impl OutputPipe {
    pub(crate) fn new(pipe: OwnedFd, stderr: bool) -> Self {
        Self { pipe, stderr, partial: Vec::new() }
    }

    /// Reads once and hands every whole line to `line`.
    pub(crate) fn read(&mut self, mut line: impl FnMut(&[u8])) -> io::Result<Found> {
        let mut buffer = [0u8; 16 * 1024];
        match rustix::io::read(&self.pipe, &mut buffer) {
            Ok(0) => {
                if !self.partial.is_empty() {
                    line(&std::mem::take(&mut self.partial));
                }
                Ok(Found::End)
            }
            Ok(n) => {
                split(&mut self.partial, &buffer[..n], &mut line);
                Ok(Found::More)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Found::Nothing),
            Err(e) => Err(e.into()),
        }
    }
}

impl OutputPipe {
    /// Reads what is there, and hands out what is not a whole line as one. It may be written again later.
    pub(crate) fn settle(&mut self, mut line: impl FnMut(&[u8])) -> io::Result<()> {
        // As much as any pipe holds: whoever writes for ever is not read for ever.
        for _ in 0..MOST_READS {
            if self.read(&mut line)? != Found::More {
                break;
            }
        }
        if !self.partial.is_empty() {
            line(&std::mem::take(&mut self.partial));
        }
        Ok(())
    }
}

impl AsFd for OutputPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Hands out whole lines of `partial` and `bytes` together; the rest stays in `partial`. A line that would
/// pass [`MAX_LINE`] is cut there.
fn split(partial: &mut Vec<u8>, mut bytes: &[u8], line: &mut impl FnMut(&[u8])) {
    while !bytes.is_empty() {
        let room = MAX_LINE - partial.len();
        let window = &bytes[..room.min(bytes.len())];
        let (taken, whole) = match window.iter().position(|b| *b == b'\n') {
            Some(at) => (at, true),
            None => (window.len(), window.len() == room),
        };
        if whole && partial.is_empty() {
            line(&bytes[..taken]);
        } else {
            partial.extend_from_slice(&bytes[..taken]);
            if whole {
                line(partial);
                partial.clear();
            }
        }
        let newline = usize::from(bytes.get(taken) == Some(&b'\n'));
        bytes = &bytes[taken + newline..];
    }
    if partial.is_empty() {
        *partial = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines_of(chunks: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (mut partial, mut lines) = (Vec::new(), Vec::new());
        for chunk in chunks {
            split(&mut partial, chunk, &mut |l| lines.push(l.to_vec()));
        }
        if !partial.is_empty() {
            lines.push(partial);
        }
        lines
    }

    #[test]
    fn a_long_line_is_cut_and_nothing_of_it_is_lost() {
        let text = [vec![b'x'; MAX_LINE * 2 + 5], b"\nend\n".to_vec()].concat();
        let lines = lines_of(&[text]);
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_LINE, MAX_LINE, 5, 3]);
    }

    proptest! {
        #[test]
        fn chunks_do_not_change_the_lines(
            text in "[ab\n]{0,200}",
            cuts in proptest::collection::vec(1usize..20, 0..40),
        ) {
            let mut chunks = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                chunks.push(head.to_vec());
                rest = tail;
            }
            chunks.push(rest.to_vec());
            let mut expected: Vec<&str> = text.split('\n').collect();
            if expected.last() == Some(&"") {
                expected.pop();
            }
            let expected: Vec<Vec<u8>> = expected.iter().map(|l| l.as_bytes().to_vec()).collect();
            prop_assert_eq!(lines_of(&chunks), expected);
        }
    }
}
