//! Records of POSIX: `LENGTH KEY=VALUE\n`, again and again (pax(1), "pax Extended Header").

use super::TarError;
use super::header::id;

/// Most records of one entry.
const RECORDS_MAX: usize = 4096;

/// What the records of one entry say, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseKeys,
}

/// What the records say about holes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SparseKeys {
    /// The path of the file; `path` is another one then.
    pub(super) name: Option<Vec<u8>>,
    /// Version 1 has its map in front of the content.
    pub(super) major: Option<u64>,
    /// Length of the whole file.
    pub(super) real_size: Option<u64>,
    /// Offsets and lengths in turn, of version 0.
    pub(super) map: Vec<u64>,
}

impl Pax {
    /// Takes records apart.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, TarError> {
        let mut pax = Self::default();
        let mut count = 0;
        while !bytes.is_empty() {
            let space = bytes.iter().position(|&b| b == b' ').ok_or(TarError::Pax)?;
            let length =
                decimal(&bytes[..space]).and_then(|n| usize::try_from(n).ok()).ok_or(TarError::Pax)?;
            let record = bytes.get(space + 1..length).ok_or(TarError::Pax)?;
            let record = record.strip_suffix(b"\n").ok_or(TarError::Pax)?;
            let equals = record.iter().position(|&b| b == b'=').ok_or(TarError::Pax)?;
            pax.take(&record[..equals], &record[equals + 1..])?;
            bytes = &bytes[length..];
            count += 1;
            if count > RECORDS_MAX {
                return Err(TarError::Extra);
            }
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        let number = || decimal(value).ok_or(TarError::Pax);
        let id = || number().and_then(|n| id(n).ok_or(TarError::Pax));
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"GNU.sparse.name" => self.sparse.name = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(id()?),
            b"gid" => self.gid = Some(id()?),
            b"mtime" => self.mtime = Some(time(value).ok_or(TarError::Pax)?),
            b"GNU.sparse.major" => self.sparse.major = Some(number()?),
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse.real_size = Some(number()?),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse.map.push(number()?),
            b"GNU.sparse.map" => {
                let numbers: Option<_> = value.split(|&b| b == b',').map(decimal).collect();
                self.sparse.map = numbers.ok_or(TarError::Sparse)?;
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.attributes.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// A number in decimal digits.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// Seconds with a fraction, perhaps negative: then zero, since nothing depends on it.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    if text.starts_with(b"-") {
        return Some((0, 0));
    }
    let mut parts = text.splitn(2, |&b| b == b'.');
    let seconds = decimal(parts.next()?).and_then(|n| i64::try_from(n).ok())?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let padded: Vec<u8> = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9).collect();
    Some((seconds, u32::try_from(decimal(&padded)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> String {
        let mut length = text.len() + 2;
        while length.to_string().len() + text.len() + 2 != length {
            length = length.to_string().len() + text.len() + 2;
        }
        format!("{length} {text}\n")
    }

    #[test]
    fn records_are_read() {
        let text =
            ["path=a=b", "mtime=12.5", "uid=70000", "SCHILY.xattr.user.x=1\n2", "comment=?"].map(record);
        let pax = Pax::parse(text.concat().as_bytes()).unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a=b"[..]));
        assert_eq!((pax.mtime, pax.uid), (Some((12, 500_000_000)), Some(70_000)));
        assert_eq!(pax.attributes, [(b"user.x".to_vec(), b"1\n2".to_vec())]);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bad in
            ["x", "5 a=b", "99 a=b\n", "0 a=b\n", "-1 a=b\n", "4 ab\n", "9 uid=-1\n", "9 size=x\n", "3 \n"]
        {
            assert!(Pax::parse(bad.as_bytes()).is_err(), "`{bad}` was let in");
        }
    }
}
