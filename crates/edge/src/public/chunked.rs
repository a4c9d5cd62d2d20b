//! The chunked coding of RFC 9112, section 7.1, checked byte by byte.
//!
//! ```text
//!        ┌───────────────────────── next chunk ─────────────────────────┐
//!        ▼                                                              │
//! Size ──';'──► Ext ──CR──► SizeLf ──size > 0──► Data ──► DataCr ──► DataLf
//!   └──────────CR─────────────▲  └────size = 0──► Trailers ──► Done
//! ```
//! The decoder copies nothing. It says of the bytes at hand which are framing, which are data, and where
//! the trailer section is; the caller forwards or drops them. Only what every reader understands in the
//! same way gets through: no bare line feeds, no signs, no white space, no size that could overflow.

use memchr::memmem;

/// Most hexadecimal digits of a chunk size; 15 digits fit in a signed 64-bit number.
const SIZE_DIGITS: u8 = 15;

/// Most bytes that the chunk extensions of one body may have together.
pub(crate) const EXTENSIONS_MAX: usize = 16 * 1024;

/// Most bytes of a trailer section.
pub(crate) const TRAILERS_MAX: usize = 8 * 1024;

/// Why a body was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// A chunk size is missing or has a byte that is not a hexadecimal digit.
    #[error("a chunk size is not a hexadecimal number")]
    ChunkSize,
    /// A chunk size has more than 15 digits.
    #[error("a chunk size has more than 15 digits")]
    ChunkSizeTooLong,
    /// A chunk extension holds a control character.
    #[error("a chunk extension holds a control character")]
    Extension,
    /// The chunk extensions of the body have more than 16 KiB together.
    #[error("the chunk extensions are larger than 16 KiB")]
    ExtensionsTooLarge,
    /// A chunk or its size line does not end with CR LF.
    #[error("a chunk is not ended by CR LF")]
    ChunkEnd,
    /// The trailer section cannot be parsed.
    #[error("the trailer section is malformed")]
    Trailers,
    /// The trailer section has more than 8 KiB.
    #[error("the trailer section is larger than 8 KiB")]
    TrailersTooLarge,
    /// The sender closed before the body was complete.
    #[error("the body ended before it was complete")]
    Truncated,
}

impl BadBody {
    /// What the sender should do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::ExtensionsTooLarge | Self::Extension => "send chunks without extensions",
            Self::TrailersTooLarge | Self::Trailers => "send fewer and well-formed trailer fields",
            Self::Truncated => "send as many bytes as announced",
            Self::ChunkSize | Self::ChunkSizeTooLong | Self::ChunkEnd => {
                "send chunks as in RFC 9112, section 7.1"
            }
        }
    }
}

/// What the next bytes of the input are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// So many bytes of sizes, extensions and line ends.
    Frame(usize),
    /// So many bytes of data.
    Data(usize),
    /// So many bytes of a complete trailer section, its last empty line included.
    Trailers(usize),
    /// Nothing can be said before more bytes are there.
    More,
    /// The body is complete; the input belongs to the next message.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Ext,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// Where in a chunked body the reader is.
#[derive(Debug)]
pub(crate) struct ChunkDecoder {
    state: State,
    digits: u8,
    left: u64,
    extensions: usize,
}

impl ChunkDecoder {
    pub(crate) fn new() -> Self {
        Self { state: State::Size, digits: 0, left: 0, extensions: 0 }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Looks at the next bytes. The caller takes as many as told before it asks again.
    pub(crate) fn next(&mut self, input: &[u8]) -> Result<Piece, BadBody> {
        match self.state {
            State::Done => Ok(Piece::Done),
            _ if input.is_empty() => Ok(Piece::More),
            State::Data => Ok(Piece::Data(self.data(input.len()))),
            State::Trailers => self.trailers(input),
            _ => self.frame(input).map(Piece::Frame),
        }
    }

    /// As [`Self::next`], but stops in front of the trailer section.
    pub(crate) fn next_before_trailers(&mut self, input: &[u8]) -> Result<Piece, BadBody> {
        if self.state == State::Trailers { Ok(Piece::More) } else { self.next(input) }
    }

    fn data(&mut self, have: usize) -> usize {
        let n = usize::try_from(self.left).map_or(have, |left| left.min(have));
        self.left -= n as u64;
        if self.left == 0 {
            self.state = State::DataCr;
        }
        n
    }

    /// Walks over framing until data, trailers or the end of the input; the number of bytes walked.
    fn frame(&mut self, input: &[u8]) -> Result<usize, BadBody> {
        for (at, &byte) in input.iter().enumerate() {
            self.state = match (self.state, byte) {
                (State::Size, _) => self.size(byte)?,
                (State::Ext, b'\r') | (State::DataCr, b'\r') => self.after_cr(),
                (State::Ext, _) => self.extension(byte)?,
                (State::SizeLf, b'\n') => self.after_size(),
                (State::DataLf, b'\n') => State::Size,
                (State::Data | State::Trailers | State::Done, _) => return Ok(at),
                _ => return Err(BadBody::ChunkEnd),
            };
        }
        Ok(input.len())
    }

    fn size(&mut self, byte: u8) -> Result<State, BadBody> {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.digits > 0 => return Ok(State::SizeLf),
            b';' if self.digits > 0 => return Ok(State::Ext),
            b'\n' => return Err(BadBody::ChunkEnd),
            _ => return Err(BadBody::ChunkSize),
        };
        if self.digits == SIZE_DIGITS {
            return Err(BadBody::ChunkSizeTooLong);
        }
        self.digits += 1;
        self.left = self.left << 4 | u64::from(value);
        Ok(State::Size)
    }

    fn extension(&mut self, byte: u8) -> Result<State, BadBody> {
        self.extensions += 1;
        match byte {
            b'\n' => Err(BadBody::ChunkEnd),
            _ if byte.is_ascii_control() && byte != b'\t' => Err(BadBody::Extension),
            _ if self.extensions > EXTENSIONS_MAX => Err(BadBody::ExtensionsTooLarge),
            _ => Ok(State::Ext),
        }
    }

    fn after_cr(&self) -> State {
        if self.state == State::DataCr { State::DataLf } else { State::SizeLf }
    }

    fn after_size(&mut self) -> State {
        self.digits = 0;
        if self.left == 0 { State::Trailers } else { State::Data }
    }

    fn trailers(&mut self, input: &[u8]) -> Result<Piece, BadBody> {
        let end = match input {
            [b'\r'] => return Ok(Piece::More),
            [b'\r', b'\n', ..] => Some(2),
            _ => memmem::find(input, b"\r\n\r\n").map(|at| at + 4),
        };
        match end {
            Some(end) if end <= TRAILERS_MAX => {
                self.state = State::Done;
                Ok(Piece::Trailers(end))
            }
            None if input.len() < TRAILERS_MAX => Ok(Piece::More),
            _ => Err(BadBody::TrailersTooLarge),
        }
    }
}

#[cfg(test)]
mod tests;
