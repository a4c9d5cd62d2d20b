//! Lines of an answer that comes in pieces.

use super::ClientError;

/// Longest line, in bytes: a captured one has at most 16 KiB, written as hexadecimal and escaped text.
const LINE_MAX: usize = 1 << 20;

/// What came and was not read yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    /// How many bytes of `buffer` were given out already.
    used: usize,
}

impl Lines {
    /// The next whole line, without its end.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let rest = self.buffer.get(self.used..)?;
        let end = rest.iter().position(|b| *b == b'\n')?;
        self.used += end + 1;
        rest.get(..end)
    }

    /// Takes the next piece.
    pub(super) fn take(&mut self, data: &[u8]) -> Result<(), ClientError> {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.extend_from_slice(data);
        if self.buffer.len() > LINE_MAX && !self.buffer.contains(&b'\n') {
            return Err(ClientError::TooLong { limit: LINE_MAX });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_come() {
        let mut lines = Lines::default();
        lines.take(b"on").unwrap();
        assert_eq!(lines.next(), None);
        lines.take(b"e\n\ntw").unwrap();
        assert_eq!(lines.next(), Some(&b"one"[..]));
        assert_eq!(lines.next(), Some(&b""[..]));
        assert_eq!(lines.next(), None);
        lines.take(b"o\n").unwrap();
        assert_eq!(lines.next(), Some(&b"two"[..]));
        lines.take(&[b'x'; LINE_MAX]).unwrap();
        assert!(matches!(lines.take(b"x"), Err(ClientError::TooLong { .. })));
    }
}
