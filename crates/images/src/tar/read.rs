//! Reading, entry by entry.

use std::io::Read;

use super::header::{Entry, Header, Kind, until_nul};
use super::pax::{Pax, decimal};
use super::sparse::{self, CHUNKS_MAX, Chunk};
use super::{BLOCK, EXTRA_MAX, TarError};

/// Reads an archive from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    inner: R,
    /// Content of this entry that was not read yet.
    left: u64,
    /// Bytes between the content and the next header.
    padding: u64,
}

/// What stands in front of the header that it is about.
#[derive(Default)]
struct Ahead {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Pax,
    bytes: u64,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, left: 0, padding: 0 }
    }

    /// What is read from.
    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry; `None` at the end. Content that was not read is passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let mut ahead = Ahead::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            if header.is_end() {
                return Ok(None);
            }
            header.check()?;
            let size = header.number(124..136, "size")?;
            match header.flag() {
                b'x' => ahead.pax = Pax::parse(&self.extra(size, &mut ahead.bytes)?)?,
                b'L' => ahead.path = Some(until_nul(&self.extra(size, &mut ahead.bytes)?).to_vec()),
                b'K' => ahead.link = Some(until_nul(&self.extra(size, &mut ahead.bytes)?).to_vec()),
                // Records about the whole archive, and its label.
                b'g' | b'V' => self.content(size)?,
                _ => return self.entry(&header, ahead).map(Some),
            }
        }
    }

    /// Reads content of the entry that came last; 0 at its end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let got = self.inner.read(&mut buffer[..most])?;
        if got == 0 {
            return Err(TarError::Short);
        }
        self.left -= got as u64;
        Ok(got)
    }

    fn entry(&mut self, header: &Header, ahead: Ahead) -> Result<Entry, TarError> {
        let flag = header.flag();
        let kind = match flag {
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' | b'4' => Kind::Device,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => return Err(TarError::Kind(other)),
        };
        let pax = ahead.pax;
        let path = pax.sparse.name.or(pax.path).or(ahead.path).unwrap_or_else(|| header.path());
        // Before POSIX, a slash at the end was what made a directory.
        let kind = if flag == 0 && path.ends_with(b"/") { Kind::Directory } else { kind };
        let stored = pax.size.map_or_else(|| header.number(124..136, "size"), Ok)?;
        let stored = if kind == Kind::File { stored } else { 0 };
        let mtime = pax.mtime.map_or_else(|| Ok::<_, TarError>((header.mtime()?, 0)), Ok)?;
        let mut entry = Entry {
            kind,
            path,
            link: pax.link.or(ahead.link).unwrap_or_else(|| header.text(157..257).to_vec()),
            mode: u32::try_from(header.number(100..108, "mode")? & 0o7777).unwrap_or_default(),
            uid: pax.uid.map_or_else(|| header.id(108..116, "uid"), Ok)?,
            gid: pax.gid.map_or_else(|| header.id(116..124, "gid"), Ok)?,
            mtime,
            size: stored,
            attributes: pax.attributes,
            sparse: None,
        };
        let gnu = (flag == b'S').then(|| self.gnu_map(header)).transpose()?;
        self.content(stored)?;
        let (chunks, real) = match (gnu, pax.sparse.major, pax.sparse.real_size) {
            (Some((chunks, real)), _, _) => (chunks, real),
            (None, Some(1), Some(real)) => (self.map_in_front()?, real),
            (None, _, Some(real)) if !pax.sparse.map.is_empty() => (sparse::chunks(&pax.sparse.map)?, real),
            (None, Some(_), _) => return Err(TarError::Sparse),
            (None, None, _) => return Ok(entry),
        };
        sparse::check(&chunks, real, self.left)?;
        entry.size = real;
        entry.sparse = Some(chunks);
        Ok(entry)
    }

    /// The map in the header of a sparse file of GNU, and in the blocks behind it.
    fn gnu_map(&mut self, header: &Header) -> Result<(Vec<Chunk>, u64), TarError> {
        let mut chunks = Vec::new();
        sparse::take_pairs(&header.0[386..482], &mut chunks)?;
        let real = header.number(483..495, "real size")?;
        let mut more = header.0[482] != 0;
        while more {
            let next = self.header()?.ok_or(TarError::Short)?;
            sparse::take_pairs(&next.0[..504], &mut chunks)?;
            more = next.0[504] != 0;
            if more && chunks.len() > CHUNKS_MAX {
                return Err(TarError::Sparse);
            }
        }
        Ok((chunks, real))
    }

    /// The map at the beginning of the content: decimal numbers, each on a line, filled up to whole blocks.
    fn map_in_front(&mut self) -> Result<Vec<Chunk>, TarError> {
        let (mut numbers, mut line, mut wanted) = (Vec::new(), Vec::new(), None);
        let mut block = [0; BLOCK];
        loop {
            let mut got = 0;
            while got < BLOCK {
                match self.read(&mut block[got..])? {
                    0 => return Err(TarError::Sparse),
                    more => got += more,
                }
            }
            for &byte in &block {
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                let number = decimal(&line).ok_or(TarError::Sparse)?;
                line.clear();
                match wanted {
                    None => wanted = usize::try_from(number).ok().filter(|&n| n <= CHUNKS_MAX),
                    Some(_) => numbers.push(number),
                }
                let wanted = wanted.ok_or(TarError::Sparse)?;
                if numbers.len() == 2 * wanted {
                    return sparse::chunks(&numbers);
                }
            }
            if line.len() > BLOCK {
                return Err(TarError::Sparse);
            }
        }
    }

    /// Content of this length comes next.
    fn content(&mut self, size: u64) -> Result<(), TarError> {
        let block = BLOCK as u64;
        size.checked_add(block).ok_or(TarError::Number("size"))?;
        (self.left, self.padding) = (size, (block - size % block) % block);
        Ok(())
    }

    /// A name or records, as a whole.
    fn extra(&mut self, size: u64, total: &mut u64) -> Result<Vec<u8>, TarError> {
        *total = total.saturating_add(size);
        if *total > EXTRA_MAX {
            return Err(TarError::Extra);
        }
        self.content(size)?;
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| TarError::Extra)?];
        let mut got = 0;
        while got < bytes.len() {
            got += self.read(&mut bytes[got..])?;
        }
        Ok(bytes)
    }

    fn skip(&mut self) -> Result<(), TarError> {
        let rest = self.left + self.padding;
        let skipped = std::io::copy(&mut self.inner.by_ref().take(rest), &mut std::io::sink())?;
        // The last block of an archive may lack its padding.
        if skipped < self.left {
            return Err(TarError::Short);
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// The next block; `None` if nothing comes any more.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut block = [0; BLOCK];
        let mut got = 0;
        while got < BLOCK {
            match self.inner.read(&mut block[got..])? {
                0 if got == 0 => return Ok(None),
                0 => return Err(TarError::Short),
                more => got += more,
            }
        }
        Ok(Some(Header(block)))
    }
}
