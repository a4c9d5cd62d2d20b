//! Writing: ustar, with records of POSIX where it is too small. The same files make the same bytes.

use std::io::{self, Read, Write};

use super::{BLOCK, Kind};

/// One entry to write.
#[derive(Debug, Clone)]
pub(crate) struct Item<'a> {
    pub(crate) kind: Kind,
    /// Without a slash in front.
    pub(crate) path: &'a [u8],
    /// What a link leads to.
    pub(crate) link: &'a [u8],
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970.
    pub(crate) mtime: u64,
    /// Length of the content.
    pub(crate) size: u64,
    /// Extended attributes.
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Item<'a> {
    /// Of root, without content.
    pub(crate) fn new(kind: Kind, path: &'a [u8]) -> Self {
        let attributes = Vec::new();
        Self { kind, path, link: b"", mode: 0o644, uid: 0, gid: 0, mtime: 0, size: 0, attributes }
    }
}

/// Writes an archive.
#[derive(Debug)]
pub(crate) struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes an entry with its content, which has to be as long as the entry says.
    pub(crate) fn write(&mut self, item: &Item<'_>, content: impl Read) -> io::Result<()> {
        let records = records(item);
        if !records.is_empty() {
            let mut header = block(b"pax", records.len() as u64, b'x');
            finish(&mut header);
            self.out.write_all(&header)?;
            self.out.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.out.write_all(&header(item))?;
        let written = io::copy(&mut content.take(item.size), &mut self.out)?;
        if written != item.size {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a file became shorter while it was read",
            ));
        }
        self.pad(item.size)
    }

    /// Writes the end.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let block = BLOCK as u64;
        let padding = (block - size % block) % block;
        io::copy(&mut io::repeat(0).take(padding), &mut self.out).map(|_| ())
    }
}

fn header(item: &Item<'_>) -> [u8; BLOCK] {
    let flag = match item.kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::Device => b'3',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    };
    let mut header = block(item.path, item.size, flag);
    octal(&mut header[100..108], u64::from(item.mode & 0o7777));
    octal(&mut header[108..116], u64::from(item.uid));
    octal(&mut header[116..124], u64::from(item.gid));
    octal(&mut header[136..148], item.mtime);
    copy(&mut header[157..257], item.link);
    finish(&mut header);
    header
}

fn block(name: &[u8], size: u64, flag: u8) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    copy(&mut header[..100], name);
    octal(&mut header[100..108], 0o644);
    octal(&mut header[108..116], 0);
    octal(&mut header[116..124], 0);
    octal(&mut header[124..136], size);
    octal(&mut header[136..148], 0);
    header[156] = flag;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header
}

/// The sum of the bytes, with the place of the sum as spaces.
fn finish(header: &mut [u8; BLOCK]) {
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|&b| u64::from(b)).sum();
    octal(&mut header[148..155], sum);
}

fn copy(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// As many digits as fit before a NUL; what is too big stands in a record.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    let text = if text.len() > digits { "0".repeat(digits) } else { text };
    field[..digits].copy_from_slice(text.as_bytes());
}

/// What does not fit into the header.
fn records(item: &Item<'_>) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        records.extend_from_slice(format!("{length} ").as_bytes());
        records.extend([key, b"=", value, b"\n"].concat());
    };
    if item.path.len() > 100 {
        add(b"path", item.path);
    }
    if item.link.len() > 100 {
        add(b"linkpath", item.link);
    }
    for (key, value, most) in [
        ("size", item.size, 1 << 33),
        ("uid", item.uid.into(), 1 << 21),
        ("gid", item.gid.into(), 1 << 21),
        ("mtime", item.mtime, 1 << 33),
    ] {
        if value >= most {
            add(key.as_bytes(), value.to_string().as_bytes());
        }
    }
    for (name, value) in &item.attributes {
        add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    records
}
