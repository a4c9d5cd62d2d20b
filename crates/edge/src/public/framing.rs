//! How long a body is (RFC 9112, section 6).
//!
//! Two readers that disagree on where a message ends can be made to see different requests. So everything
//! ambiguous is refused, even where the RFC would let a recipient repair it: a length together with a
//! coding, more than one length, any coding but exactly `chunked`, a coding in HTTP/1.0.

use crate::public::head::{Fields, Kind, RequestHead, ResponseHead, Version};

/// Why the framing of a message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFraming {
    /// Both a length and a coding.
    #[error("both content-length and transfer-encoding are present")]
    LengthAndCoding,
    /// More than one length, equal or not.
    #[error("content-length is given more than once")]
    Lengths,
    /// The length is not a plain decimal number below 2^63.
    #[error("content-length is not a plain decimal number")]
    Length,
    /// The coding is not exactly `chunked`.
    #[error("transfer-encoding is not exactly `chunked`")]
    Coding,
    /// A coding in an HTTP/1.0 message.
    #[error("transfer-encoding is present in an HTTP/1.0 message")]
    CodingInOld,
}

impl BadFraming {
    /// What the sender should do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::LengthAndCoding => "send one of the two",
            Self::Lengths | Self::Length => "send one content-length of decimal digits",
            Self::Coding => "send the body as it is, or with `transfer-encoding: chunked`",
            Self::CodingInOld => "use HTTP/1.1",
        }
    }
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// The chunked coding.
    Chunked,
    /// The sender closes.
    UntilClose,
}

/// The framing of a request.
pub(crate) fn of_request(head: &RequestHead<'_, '_>) -> Result<Framing, BadFraming> {
    Ok(match declared(&head.fields, head.version)? {
        Some(Framing::Length(0)) | None => Framing::Empty,
        Some(framing) => framing,
    })
}

/// The framing of a final response to a request; `to_head` if the request was a HEAD.
pub(crate) fn of_response(head: &ResponseHead<'_, '_>, to_head: bool) -> Result<Framing, BadFraming> {
    let declared = declared(&head.fields, head.version)?;
    if to_head || bodiless(head.status) {
        return Ok(Framing::Empty);
    }
    Ok(match declared {
        Some(Framing::Length(0)) => Framing::Empty,
        Some(framing) => framing,
        None => Framing::UntilClose,
    })
}

/// Whether responses with this status never have a body.
pub(crate) fn bodiless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

/// The one `content-length`, if there is one.
pub(crate) fn length(fields: &Fields<'_, '_>) -> Result<Option<u64>, BadFraming> {
    let mut values = fields.values(Kind::ContentLength);
    let first = values.next();
    if values.next().is_some() {
        return Err(BadFraming::Lengths);
    }
    first.map(|text| decimal(text).ok_or(BadFraming::Length)).transpose()
}

fn declared(fields: &Fields<'_, '_>, version: Version) -> Result<Option<Framing>, BadFraming> {
    let mut codings = fields.values(Kind::TransferEncoding);
    let coding = codings.next();
    let lengths = fields.values(Kind::ContentLength).next();
    match (coding, lengths) {
        (Some(_), Some(_)) => Err(BadFraming::LengthAndCoding),
        (Some(_), None) if version == Version::Http10 => Err(BadFraming::CodingInOld),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none() => {
            Ok(Some(Framing::Chunked))
        }
        (Some(_), None) => Err(BadFraming::Coding),
        (None, _) => Ok(length(fields)?.map(Framing::Length)),
    }
}

/// A number of 1 to 19 digits below 2^63, nothing else.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text.iter().fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0'));
    (value <= i64::MAX as u64).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::public::head::{parse_request, parse_response, slots};

    fn request(fields: &str) -> Result<Framing, BadFraming> {
        let text = format!("POST / HTTP/1.1\r\n{fields}\r\n");
        let mut slots = slots();
        of_request(&parse_request(text.as_bytes(), &mut slots).unwrap())
    }

    fn response(status: u16, fields: &str, to_head: bool) -> Result<Framing, BadFraming> {
        let text = format!("HTTP/1.1 {status} X\r\n{fields}\r\n");
        let mut slots = slots();
        of_response(&parse_response(text.as_bytes(), &mut slots).unwrap(), to_head)
    }

    #[test]
    fn requests() {
        for (fields, expected) in [
            ("", Ok(Framing::Empty)),
            ("Content-Length: 0\r\n", Ok(Framing::Empty)),
            ("Content-Length: 5\r\n", Ok(Framing::Length(5))),
            ("content-length: 9223372036854775807\r\n", Ok(Framing::Length(i64::MAX as u64))),
            ("Transfer-Encoding: Chunked\r\n", Ok(Framing::Chunked)),
            ("Content-Length: 9223372036854775808\r\n", Err(BadFraming::Length)),
            ("Content-Length: +5\r\n", Err(BadFraming::Length)),
            ("Content-Length: -5\r\n", Err(BadFraming::Length)),
            ("Content-Length: 0x5\r\n", Err(BadFraming::Length)),
            ("Content-Length: 5, 5\r\n", Err(BadFraming::Length)),
            ("Content-Length: \r\n", Err(BadFraming::Length)),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Err(BadFraming::Lengths)),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(BadFraming::LengthAndCoding)),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Err(BadFraming::LengthAndCoding)),
            ("Transfer-Encoding: gzip, chunked\r\n", Err(BadFraming::Coding)),
            ("Transfer-Encoding: chunked, chunked\r\n", Err(BadFraming::Coding)),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(BadFraming::Coding)),
            ("Transfer-Encoding: xchunked\r\n", Err(BadFraming::Coding)),
            ("Transfer-Encoding: \"chunked\"\r\n", Err(BadFraming::Coding)),
            ("Transfer-Encoding:\r\n", Err(BadFraming::Coding)),
        ] {
            assert_eq!(request(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn responses() {
        assert_eq!(response(200, "", false), Ok(Framing::UntilClose));
        assert_eq!(response(200, "Content-Length: 3\r\n", false), Ok(Framing::Length(3)));
        assert_eq!(response(200, "Content-Length: 3\r\n", true), Ok(Framing::Empty));
        assert_eq!(response(304, "Content-Length: 3\r\n", false), Ok(Framing::Empty));
        assert_eq!(response(204, "", false), Ok(Framing::Empty));
        assert_eq!(response(200, "Transfer-Encoding: chunked\r\n", false), Ok(Framing::Chunked));
        let both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(response(200, both, false), Err(BadFraming::LengthAndCoding));
    }

    #[test]
    fn a_coding_needs_http_11() {
        let text = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut slots = slots();
        let head = parse_request(text.as_bytes(), &mut slots).unwrap();
        assert_eq!(of_request(&head), Err(BadFraming::CodingInOld));
    }
}
