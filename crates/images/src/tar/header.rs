//! One header block, and what an entry is.

use super::{BLOCK, Chunk, TarError};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    Device,
    Directory,
    Fifo,
}

/// One entry, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// As it stands in the archive.
    pub(crate) path: Vec<u8>,
    /// What a link leads to.
    pub(crate) link: Vec<u8>,
    /// Permission bits, 12 of them.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970, and nanoseconds.
    pub(crate) mtime: (i64, u32),
    /// Length of the file, holes included.
    pub(crate) size: u64,
    /// Extended attributes.
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the content of a sparse file goes.
    pub(crate) sparse: Option<Vec<Chunk>>,
}

/// One block, as it was read.
pub(super) struct Header(pub(super) [u8; BLOCK]);

impl Header {
    /// Whether it is all zeros: the end.
    pub(super) fn is_end(&self) -> bool {
        self.0.iter().all(|&b| b == 0)
    }

    /// Checks the sum of its bytes, which some have summed up as signed ones.
    pub(super) fn check(&self) -> Result<(), TarError> {
        let told = self.number(148..156, "checksum")?;
        let blank = |i: usize, b: u8| if (148..156).contains(&i) { b' ' } else { b };
        let bytes = || self.0.iter().enumerate().map(|(i, &b)| blank(i, b));
        let plain: u64 = bytes().map(u64::from).sum();
        let signed: i64 = bytes().map(|b| i64::from(b.cast_signed())).sum();
        match plain == told || u64::try_from(signed) == Ok(told) {
            true => Ok(()),
            false => Err(TarError::Checksum),
        }
    }

    pub(super) fn flag(&self) -> u8 {
        self.0[156]
    }

    /// A number that is not negative: octal digits, or base 256 if the first bit is set.
    pub(super) fn number(&self, at: std::ops::Range<usize>, what: &'static str) -> Result<u64, TarError> {
        number(&self.0[at]).ok_or(TarError::Number(what))
    }

    /// Seconds since 1970. Negative ones are brought to zero: nothing depends on them.
    pub(super) fn mtime(&self) -> Result<i64, TarError> {
        if self.0[136] == 0xff {
            return Ok(0);
        }
        let seconds = self.number(136..148, "mtime")?;
        i64::try_from(seconds).map_err(|_| TarError::Number("mtime"))
    }

    pub(super) fn id(&self, at: std::ops::Range<usize>, what: &'static str) -> Result<u32, TarError> {
        id(self.number(at, what)?).ok_or(TarError::Number(what))
    }

    /// Text up to the first NUL.
    pub(super) fn text(&self, at: std::ops::Range<usize>) -> &[u8] {
        until_nul(&self.0[at])
    }

    /// The path: prefix and name. Only POSIX has the prefix; GNU has times at that place.
    pub(super) fn path(&self) -> Vec<u8> {
        let (name, prefix) = (self.text(0..100), self.text(345..500));
        if &self.0[257..263] != b"ustar\0" || prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }
}

/// A user or group id. The highest number means "nobody" to the kernel.
pub(super) fn id(number: u64) -> Option<u32> {
    u32::try_from(number).ok().filter(|&id| id != u32::MAX)
}

/// Text up to the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or_default()
}

/// Octal digits between spaces and NULs; or base 256. Nothing at all is zero.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    if bytes.first()? & 0x80 != 0 {
        let mut value = u64::from(bytes[0] & 0x7f);
        for &byte in &bytes[1..] {
            value = value.checked_mul(256)? | u64::from(byte);
        }
        return Some(value);
    }
    let text = until_nul(bytes).trim_ascii();
    let digit = |b: &u8| (b'0'..=b'7').contains(b).then(|| u64::from(b - b'0'));
    text.iter().try_fold(0_u64, |value, byte| value.checked_mul(8)?.checked_add(digit(byte)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_two_spellings() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(&[0x80, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(b"9\0"), None);
        assert_eq!(number(&[0xff; 12]), None);
    }
}
