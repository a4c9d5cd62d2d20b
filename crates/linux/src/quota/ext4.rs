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
    /// What its owner may store, in bytes, if the label tells.
    pub limit: Option<u64>,
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
            limit: limit_of(&bytes[0x78..0x88]),
        })
    }

    /// What somebody who is not root can still store, in bytes.
    #[must_use]
    pub fn available(&self) -> u64 {
        let kept_back = (self.blocks / KEPT_BACK).min(KEPT_BACK_MAX);
        self.free.saturating_sub(self.reserved + kept_back) * self.block
    }
}

/// The label that tells a limit in bytes.
#[must_use]
pub fn label(limit: u64) -> String {
    format!("q{limit:x}")
}

fn limit_of(label: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(label).ok()?.trim_end_matches('\0');
    u64::from_str_radix(text.strip_prefix('q')?, 16).ok()
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
        let limit = Some(65_536);
        assert_eq!(found, Superblock { block: 4096, blocks: 20_480, free: 19_117, reserved: 100, limit });
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
        for limit in [0, 1 << 20, u64::MAX >> 4] {
            assert!(label(limit).len() <= 16);
            let mut field = [0; 16];
            field[..label(limit).len()].copy_from_slice(label(limit).as_bytes());
            assert_eq!(limit_of(&field), Some(limit));
        }
        assert_eq!(limit_of(b"data\0\0\0\0\0\0\0\0\0\0\0\0"), None);
    }
}
