//! Readers of HTTP/1.1 as servers have been seen to be: each understands something that others do not.

use crate::cases::Fields;

/// What a reader forgives.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reader {
    /// Lines may end with a line feed alone.
    pub(crate) bare_lf: bool,
    /// A length counts more than a coding.
    pub(crate) length_first: bool,
    /// Any coding that has `chunked` in it is chunked.
    pub(crate) any_coding: bool,
    /// White space around names is cut off, and `_` is `-`.
    pub(crate) loose_names: bool,
    /// Of several lengths the last one counts.
    pub(crate) last_length: bool,
    /// Lines that begin with white space go on with the line before.
    pub(crate) folds: bool,
}

/// A strict one, one for each weakness, and one that has them all.
pub(crate) fn all() -> Vec<Reader> {
    let strict = Reader::default();
    vec![
        strict,
        Reader { bare_lf: true, ..strict },
        Reader { length_first: true, ..strict },
        Reader { any_coding: true, ..strict },
        Reader { loose_names: true, any_coding: true, ..strict },
        Reader { last_length: true, ..strict },
        Reader { folds: true, any_coding: true, ..strict },
        Reader {
            bare_lf: true,
            length_first: true,
            any_coding: true,
            loose_names: true,
            last_length: true,
            folds: true,
        },
    ]
}

impl Reader {
    /// The whole requests at the front of `bytes`: method, target and body.
    pub(crate) fn requests(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (mut rest, mut found) = (bytes, Vec::new());
        while let Some((request, after)) = self.request(rest) {
            found.push(request);
            rest = after;
        }
        found
    }

    fn request<'b>(&self, bytes: &'b [u8]) -> Option<(Vec<u8>, &'b [u8])> {
        let (mut line, mut rest) = self.line(bytes)?;
        while line.is_empty() {
            (line, rest) = self.line(rest)?;
        }
        let mut words = line.split(|b| *b == b' ');
        let mut request = [words.next()?, b" ", words.next()?].concat();
        let (fields, after) = self.fields(rest)?;
        let (body, after) = self.body(&fields, after)?;
        if !body.is_empty() {
            request.push(b' ');
            request.extend(body);
        }
        Some((request, after))
    }

    fn line<'b>(&self, bytes: &'b [u8]) -> Option<(&'b [u8], &'b [u8])> {
        let end = if self.bare_lf {
            bytes.iter().position(|b| *b == b'\n')?
        } else {
            bytes.windows(2).position(|w| w == b"\r\n")? + 1
        };
        let line = &bytes[..end];
        Some((line.strip_suffix(b"\r").unwrap_or(line), &bytes[end + 1..]))
    }

    fn fields<'b>(&self, bytes: &'b [u8]) -> Option<(Fields, &'b [u8])> {
        let (mut fields, mut rest) = (Fields::new(), bytes);
        loop {
            let (line, after) = self.line(rest)?;
            rest = after;
            if line.is_empty() {
                return Some((fields, rest));
            }
            if self.folds
                && line[0].is_ascii_whitespace()
                && let Some((_, value)) = fields.last_mut()
            {
                value.extend(line);
                continue;
            }
            let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
            let name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
            let name = if self.loose_names { name.trim().replace('_', "-") } else { name };
            fields.push((name, line.get(colon + 1..).unwrap_or_default().to_vec()));
        }
    }

    fn body<'b>(&self, fields: &[(String, Vec<u8>)], rest: &'b [u8]) -> Option<(Vec<u8>, &'b [u8])> {
        let values = |wanted: &'static str| {
            fields.iter().filter(move |(name, _)| name == wanted).map(|(_, v)| String::from_utf8_lossy(v))
        };
        let chunked = values("transfer-encoding").any(|v| {
            let coding = v.trim().to_lowercase();
            coding == "chunked" || self.any_coding && coding.contains("chunked")
        });
        let mut lengths = values("content-length").map(|v| number(v.trim(), 10));
        let length = if self.last_length { lengths.next_back() } else { lengths.next() };
        match length {
            Some(length) if self.length_first || !chunked => {
                Some((rest.get(..length)?.to_vec(), &rest[length..]))
            }
            _ if chunked => self.chunks(rest),
            _ => Some((Vec::new(), rest)),
        }
    }

    fn chunks<'b>(&self, bytes: &'b [u8]) -> Option<(Vec<u8>, &'b [u8])> {
        let (mut body, mut rest) = (Vec::new(), bytes);
        loop {
            let (size, after) = self.line(rest)?;
            let size = number(String::from_utf8_lossy(size).trim(), 16);
            if size == 0 {
                return Some((body, self.fields(after)?.1));
            }
            body.extend(after.get(..size)?);
            rest = self.line(&after[size..])?.1;
        }
    }
}

/// The digits at the front, after a sign or a prefix, wrapped around as C does.
fn number(text: &str, base: u32) -> usize {
    let digits = text.trim_start_matches(['+', '0']).trim_start_matches('x');
    let value = digits
        .chars()
        .map_while(|c| c.to_digit(base))
        .fold(0_u64, |n, digit| n.wrapping_mul(u64::from(base)).wrapping_add(u64::from(digit)));
    usize::try_from(value).unwrap()
}
