//! What the superblock of an ext4 image says (kernel documentation, `filesystems/ext4/super.rst`).
//!
//! An image tells its own limit: it is in the volume label, so that limit and reservation change in one write.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the superblock begins, in bytes.
const AT: u64 = 1024;
/// Length of the part that is read.
const LEN: usize = 1024;
/// Blocks that the kernel keeps back for metadata are one in so many.
const KEPT_BACK: u64 = 50;
/// And at most so many (`ext4_calculate_resv_clusters`).
const KEPT_BACK_MAX: u64 = 4096;

/// Numbers of one file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Size of a block in bytes.
    pub block: u64,
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Free blocks that only root may take.
    pub reserved: u64,
    /// What its volume label says.
    pub label: Label,
}

impl Superblock {
    /// Reads it from an image that is not mounted; from one that is, the counts may be old.
    ///
    /// # Errors
    /// When the file cannot be read, or is no ext4 image.
    pub fn read(image: &Path) -> io::Result<Self> {
        let mut bytes = [0; LEN];
        File::open(image)?.read_exact_at(&mut bytes, AT)?;
        Self::parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no ext4 file system"))
    }

    fn parse(bytes: &[u8; LEN]) -> Option<Self> {
        let word = |at: usize| bytes[at..].first_chunk::<4>().map(|b| u64::from(u32::from_le_bytes(*b)));
        let long = |low: usize, high: usize| Some(word(low)? | word(high)? << 32);
        if bytes[0x38..0x3a] != [0x53, 0xef] {
            return None;
        }
        let shift = word(0x18).filter(|shift| *shift <= 6)?;
        Some(Self {
            block: 1024 << shift,
            blocks: long(0x04, 0x150)?,
            reserved: long(0x08, 0x154)?,
            free: long(0x0c, 0x158)?,
            label: Label::parse(&bytes[0x78..0x88]),
        })
    }

    /// What somebody who is not root can still store, in bytes.
    #[must_use]
    pub fn available(&self) -> u64 {
        let kept_back = (self.blocks / KEPT_BACK).min(KEPT_BACK_MAX);
        self.free.saturating_sub(self.reserved + kept_back) * self.block
    }
}

/// What an image says of itself in its volume label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Its owner may store so many bytes.
    Limit(u64),
    /// It is being resized, and holds so many bytes.
    Resizing(u64),
    /// It was not made here.
    Other,
}

impl Label {
    /// As it is written; at most 16 bytes for anything a disk can hold.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Limit(bytes) => format!("q{bytes:x}"),
            Self::Resizing(bytes) => format!("r{bytes:x}"),
            Self::Other => String::new(),
        }
    }

    fn parse(label: &[u8]) -> Self {
        let text = std::str::from_utf8(label).unwrap_or_default().trim_end_matches('\0');
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let limit = text.strip_prefix('q').and_then(number).map(Self::Limit);
        limit.or(text.strip_prefix('r').and_then(number).map(Self::Resizing)).unwrap_or(Self::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let mut set = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        set(0x04, 20_480);
        set(0x08, 100);
        set(0x0c, 19_117);
        set(0x18, 2);
        set(0x38, 0xef53);
        bytes[0x78..0x7e].copy_from_slice(b"q10000");
        bytes
    }

    #[test]
    fn the_counts_are_read() {
        let found = Superblock::parse(&bytes()).unwrap();
        let label = Label::Limit(65_536);
        assert_eq!(found, Superblock { block: 4096, blocks: 20_480, free: 19_117, reserved: 100, label });
        assert_eq!(found.available(), (19_117 - 100 - 409) * 4096, "as statfs(2) says it of such an image");
    }

    #[test]
    fn the_upper_halves_of_the_counts_are_read() {
        let mut large = bytes();
        large[0x150] = 1;
        large[0x158] = 1;
        let found = Superblock::parse(&large).unwrap();
        assert_eq!((found.blocks, found.free), ((1 << 32) + 20_480, (1 << 32) + 19_117));
    }

    #[test]
    fn other_files_are_refused() {
        assert_eq!(Superblock::parse(&[0; LEN]), None);
        let mut odd = bytes();
        odd[0x18] = 60;
        assert_eq!(Superblock::parse(&odd), None);
    }

    #[test]
    fn a_limit_is_read_back_from_its_label() {
        for bytes in [0, 1 << 20, u64::MAX >> 4] {
            for label in [Label::Limit(bytes), Label::Resizing(bytes)] {
                assert!(label.text().len() <= 16);
                let mut field = [0; 16];
                field[..label.text().len()].copy_from_slice(label.text().as_bytes());
                assert_eq!(Label::parse(&field), label);
            }
        }
        for other in
            [*b"data\0\0\0\0\0\0\0\0\0\0\0\0", [0; 16], [0xff; 16], *b"q\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"]
        {
            assert_eq!(Label::parse(&other), Label::Other);
        }
    }
}
