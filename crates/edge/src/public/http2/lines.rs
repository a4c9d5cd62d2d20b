//! Heads that this program itself has written, taken apart again.
//!
//! [`forward`](crate::public::forward) wrote them from heads that were parsed strictly, so nothing is checked here
//! beyond what taking them apart needs.

use std::io;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;

use crate::public::head::{Kind, kind};

/// A head: its first line, and its fields.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    /// The first line, without its end.
    pub(crate) line: &'a str,
    rest: &'a [u8],
}

/// Length of the head that `bytes` begin with, once it is whole.
pub(crate) fn end(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

pub(crate) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<'a> Head<'a> {
    /// Takes apart a whole head.
    pub(crate) fn of(bytes: &'a [u8]) -> io::Result<Self> {
        let end = memmem::find(bytes, b"\r\n").ok_or_else(|| invalid("a head without a line"))?;
        let line = std::str::from_utf8(&bytes[..end]).map_err(|_| invalid("a first line that is no text"))?;
        Ok(Self { line, rest: &bytes[end + 2..] })
    }

    /// Every field, with its kind.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (Kind, &'a str, &'a [u8])> + use<'a> {
        fields(self.rest)
    }

    /// The value of the first field of this kind.
    pub(crate) fn value(&self, wanted: Kind) -> Option<&'a [u8]> {
        self.fields().find(|(kind, ..)| *kind == wanted).map(|(.., value)| value)
    }

    /// The length that the head declares.
    pub(crate) fn length(&self) -> Option<u64> {
        std::str::from_utf8(self.value(Kind::ContentLength)?).ok()?.parse().ok()
    }
}

/// The fields of a section, up to its empty line.
pub(crate) fn fields<'a>(section: &'a [u8]) -> impl Iterator<Item = (Kind, &'a str, &'a [u8])> + use<'a> {
    section.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_end).take_while(|l| !l.is_empty()).filter_map(
        |line| {
            let colon = line.iter().position(|b| *b == b':')?;
            let name = std::str::from_utf8(&line[..colon]).ok()?;
            Some((kind(name), name, line[colon + 1..].trim_ascii()))
        },
    )
}

/// Adds a field to a map.
pub(crate) fn add(map: &mut HeaderMap, name: &str, value: &[u8]) -> io::Result<()> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("a field name"))?;
    let value = HeaderValue::from_bytes(value).map_err(|_| invalid("a field value"))?;
    map.try_append(name, value).map(drop).map_err(|_| invalid("too many fields"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_apart_as_it_was_put_together() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-a: b: c\r\nx-empty:\r\n\r\nhello";
        let end = end(text).unwrap();
        assert_eq!(&text[end..], b"hello");
        let head = Head::of(&text[..end]).unwrap();
        assert_eq!((head.line, head.length()), ("HTTP/1.1 200 OK", Some(5)));
        let fields: Vec<_> = head.fields().map(|(_, name, value)| (name, value)).collect();
        assert_eq!(fields[1..], [("x-a", &b"b: c"[..]), ("x-empty", b"")]);
    }
}
