//! Files with holes.

use super::TarError;
use super::header::number;

/// Most pieces of a file with holes.
pub(super) const CHUNKS_MAX: usize = 100_000;

/// One piece of a file with holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Where it goes in the file.
    pub(crate) offset: u64,
    /// How long it is.
    pub(crate) length: u64,
}

/// Reads offset and length pairs of a GNU header: 12 octal digits each. Returns whether the list goes on.
pub(super) fn take_pairs(pairs: &[u8], chunks: &mut Vec<Chunk>) -> Result<(), TarError> {
    for pair in pairs.chunks_exact(24) {
        if pair[0] == 0 {
            return Ok(());
        }
        let part = |bytes| number(bytes).ok_or(TarError::Sparse);
        chunks.push(Chunk { offset: part(&pair[..12])?, length: part(&pair[12..])? });
        if chunks.len() > CHUNKS_MAX {
            return Err(TarError::Sparse);
        }
    }
    Ok(())
}

/// Pairs of numbers as chunks.
pub(super) fn chunks(numbers: &[u64]) -> Result<Vec<Chunk>, TarError> {
    if !numbers.len().is_multiple_of(2) || numbers.len() > 2 * CHUNKS_MAX {
        return Err(TarError::Sparse);
    }
    Ok(numbers.chunks_exact(2).map(|pair| Chunk { offset: pair[0], length: pair[1] }).collect())
}

/// Whether the pieces follow each other, fit into the file, and are as long together as what is there.
pub(super) fn check(chunks: &[Chunk], file: u64, stored: u64) -> Result<(), TarError> {
    let (mut end, mut sum) = (0, 0_u64);
    for chunk in chunks {
        let next = chunk.offset.checked_add(chunk.length).ok_or(TarError::Sparse)?;
        if chunk.offset < end || next > file {
            return Err(TarError::Sparse);
        }
        end = next;
        sum += chunk.length;
    }
    if sum == stored { Ok(()) } else { Err(TarError::Sparse) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_must_agree_with_the_file() {
        let chunk = |offset, length| Chunk { offset, length };
        let good = [chunk(0, 10), chunk(100, 5), chunk(200, 0)];
        check(&good, 200, 15).unwrap();
        for (bad, file, stored) in [
            (&[chunk(0, 10)][..], 9, 10),
            (&[chunk(0, 10), chunk(5, 10)], 100, 20),
            (&[chunk(0, 10)], 10, 11),
            (&[chunk(u64::MAX, 2)], u64::MAX, 2),
        ] {
            assert!(check(bad, file, stored).is_err(), "{bad:?}");
        }
        assert!(chunks(&[1, 2, 3]).is_err());
    }
}
