//! What a blob is compressed with, found by its first bytes, and bounds on what comes out.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::{Bounds, UnpackError};
use crate::tar::TarError;

/// First bytes of a stream of gzip (RFC 1952).
const GZIP: &[u8] = &[0x1f, 0x8b];
/// First bytes of a frame of Zstandard (RFC 8878).
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Largest window of a frame that is taken, as a power of two: the decoder keeps that much in memory.
const WINDOW_LOG: u32 = 27;

/// Counts what goes into the decoder.
#[derive(Debug)]
pub(crate) struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.bytes += got as u64;
        Ok(got)
    }
}

type Source<R> = BufReader<Counted<R>>;

/// A blob with its decoder.
pub(crate) enum Compressed<R: Read> {
    Not(Source<R>),
    Gzip(MultiGzDecoder<Source<R>>),
    Zstd(zstd::Decoder<'static, Source<R>>),
}

impl<R: Read> Compressed<R> {
    /// Looks at the first bytes.
    pub(crate) fn new(inner: R) -> io::Result<Self> {
        let mut source = BufReader::with_capacity(64 << 10, Counted { inner, bytes: 0 });
        let start = source.fill_buf()?;
        Ok(if start.starts_with(GZIP) {
            Self::Gzip(MultiGzDecoder::new(source))
        } else if start.starts_with(ZSTD) {
            let mut decoder = zstd::Decoder::with_buffer(source)?;
            decoder.window_log_max(WINDOW_LOG)?;
            Self::Zstd(decoder)
        } else {
            Self::Not(source)
        })
    }

    fn taken(&self) -> u64 {
        match self {
            Self::Not(source) => source.get_ref().bytes,
            Self::Gzip(decoder) => decoder.get_ref().get_ref().bytes,
            Self::Zstd(decoder) => decoder.get_ref().get_ref().bytes,
        }
    }
}

impl<R: Read> Read for Compressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Not(source) => source.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// A blob as it was before it was compressed, up to its bounds.
pub(crate) struct Plain<R: Read> {
    inner: Compressed<R>,
    bounds: Bounds,
    bytes: u64,
}

/// More came out than may. It passes through the reader of archives as an I/O error.
#[derive(Debug, thiserror::Error)]
#[error("more than {limit} {what}")]
struct Beyond {
    what: &'static str,
    limit: u64,
}

impl<R: Read> Plain<R> {
    pub(crate) fn new(inner: R, bounds: Bounds) -> io::Result<Self> {
        Ok(Self { inner: Compressed::new(inner)?, bounds, bytes: 0 })
    }

    fn check(&self) -> Result<(), Beyond> {
        let Bounds { unpacked, ratio, ratio_from, .. } = self.bounds;
        if self.bytes > unpacked {
            return Err(Beyond { what: "bytes", limit: unpacked });
        }
        let most = self.inner.taken().saturating_mul(ratio);
        if self.bytes > ratio_from && self.bytes > most {
            return Err(Beyond { what: "times the bytes that it is sent as", limit: ratio });
        }
        Ok(())
    }
}

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.bytes += got as u64;
        self.check().map_err(io::Error::other)?;
        Ok(got)
    }
}

/// An I/O error, or the bound that it stands for.
pub(super) fn bound_of(error: io::Error, or: impl FnOnce(io::Error) -> UnpackError) -> UnpackError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Beyond>()) {
        Some(&Beyond { what, limit }) => UnpackError::TooMuch { what, limit },
        None => or(error),
    }
}

impl From<TarError> for UnpackError {
    /// A bound that was passed, a blob that cannot be read, or an archive that is none.
    fn from(error: TarError) -> Self {
        match error {
            TarError::Io(error) => bound_of(error, Self::Read),
            other => Self::Tar(other),
        }
    }
}
