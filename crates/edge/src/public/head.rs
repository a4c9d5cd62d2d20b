//! Request and response heads, parsed strictly.
//!
//! `httparse` finds the parts; this module refuses what it would tolerate (bare line feeds, bytes outside
//! ASCII in the target) and sorts the header fields into the few kinds that a proxy must know. Nothing is
//! copied: a head borrows from the buffer it was read into.

use std::mem::MaybeUninit;

use httparse::{Error, Header, ParserConfig, Status};
use memchr::{memchr2_iter, memmem};

/// Most bytes of a head, its last empty line included.
pub(crate) const HEAD_MAX: usize = 64 * 1024;

/// Most header fields of a head.
pub(crate) const FIELDS_MAX: usize = 100;

/// Longest method that is let in, in bytes.
const METHOD_MAX: usize = 32;

/// Why a head was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// It has more than 64 KiB.
    #[error("the head is larger than 64 KiB")]
    TooLarge,
    /// It has more than 100 header fields.
    #[error("the head has more than 100 header fields")]
    TooManyFields,
    /// A line feed without a carriage return, or the other way round.
    #[error("a line is not ended by CR LF")]
    LineEnd,
    /// The method is not a token, or longer than 32 bytes.
    #[error("the method is not a token")]
    Method,
    /// The request target is not one that a server can be asked for.
    #[error("the request target is malformed")]
    Target,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("the protocol version is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
    /// The status line is malformed.
    #[error("the status line is malformed")]
    StatusLine,
    /// A field name is not a token followed at once by a colon; folded lines count as this.
    #[error("a header field name is malformed")]
    FieldName,
    /// A field value holds a control character.
    #[error("a header field value holds a control character")]
    FieldValue,
}

impl BadHead {
    /// What the sender should do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooLarge | Self::TooManyFields => "send fewer or shorter header fields",
            Self::Version => "use HTTP/1.1",
            _ => "send a message as in RFC 9112, sections 2 to 5",
        }
    }
}

impl From<Error> for BadHead {
    fn from(e: Error) -> Self {
        match e {
            Error::HeaderName => Self::FieldName,
            Error::HeaderValue => Self::FieldValue,
            Error::NewLine => Self::LineEnd,
            Error::Status => Self::StatusLine,
            Error::Token => Self::Method,
            Error::TooManyHeaders => Self::TooManyFields,
            Error::Version => Self::Version,
        }
    }
}

/// What a header field means to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Passes untouched.
    Other,
    ContentLength,
    TransferEncoding,
    Connection,
    Host,
    Expect,
    Upgrade,
    Te,
    /// Ends at this hop.
    HopByHop,
    ForwardedFor,
    ForwardedProto,
    ForwardedHost,
    /// Another claim about where the request came from; believed from trusted proxies only.
    Claim,
    RequestId,
    /// Spelled so that some servers would take it for one of the above (`_` for `-`).
    Disguised,
}

const KINDS: [(&str, Kind); 18] = [
    ("te", Kind::Te),
    ("host", Kind::Host),
    ("expect", Kind::Expect),
    ("upgrade", Kind::Upgrade),
    ("forwarded", Kind::Claim),
    ("x-real-ip", Kind::Claim),
    ("connection", Kind::Connection),
    ("keep-alive", Kind::HopByHop),
    // What the control API is told of its client by us alone.
    ("insula-client", Kind::HopByHop),
    ("content-length", Kind::ContentLength),
    ("x-forwarded-for", Kind::ForwardedFor),
    ("x-forwarded-host", Kind::ForwardedHost),
    ("proxy-connection", Kind::HopByHop),
    ("x-forwarded-proto", Kind::ForwardedProto),
    ("transfer-encoding", Kind::TransferEncoding),
    ("proxy-authenticate", Kind::HopByHop),
    ("insula-request-id", Kind::RequestId),
    ("proxy-authorization", Kind::HopByHop),
];

/// Prefix of a family of claims.
const CLAIMS: &str = "x-forwarded-";

/// Sorts a field by its name.
pub(crate) fn kind(name: &str) -> Kind {
    let same = |known: &str| {
        known.len() == name.len()
            && known
                .bytes()
                .zip(name.bytes())
                .all(|(k, n)| k == n.to_ascii_lowercase() || (k == b'-' && n == b'_'))
    };
    let found = KINDS.iter().find(|(known, _)| same(known)).map(|(_, kind)| *kind);
    let claim = || name.get(..CLAIMS.len()).is_some_and(|p| p.replace('_', "-").eq_ignore_ascii_case(CLAIMS));
    let first = name.as_bytes().first().map_or(0, u8::to_ascii_lowercase);
    match found {
        Some(_) if name.contains('_') => Kind::Disguised,
        Some(kind) => kind,
        None if first == b'x' && claim() => Kind::Claim,
        None => Kind::Other,
    }
}

/// The header fields of a head, each with its kind.
#[derive(Debug)]
pub(crate) struct Fields<'h, 'b> {
    headers: &'h [Header<'b>],
    kinds: [Kind; FIELDS_MAX],
}

impl<'h, 'b> Fields<'h, 'b> {
    pub(crate) fn new(headers: &'h [Header<'b>]) -> Self {
        let mut kinds = [Kind::Other; FIELDS_MAX];
        for (slot, header) in kinds.iter_mut().zip(headers) {
            *slot = kind(header.name);
        }
        Self { headers, kinds }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Kind, &'h Header<'b>)> + '_ {
        self.kinds.iter().copied().zip(self.headers)
    }

    /// The values of all fields of one kind.
    pub(crate) fn values(&self, wanted: Kind) -> impl Iterator<Item = &'b [u8]> + '_ {
        self.iter().filter(move |(kind, _)| *kind == wanted).map(|(_, header)| header.value)
    }

    /// Whether a comma-separated list of this kind has the token.
    pub(crate) fn has_token(&self, wanted: Kind, token: &str) -> bool {
        self.values(wanted).flat_map(tokens).any(|t| t.eq_ignore_ascii_case(token.as_bytes()))
    }
}

/// The members of a comma-separated list.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

/// The two versions spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
}

impl Version {
    fn of(minor: Option<u8>) -> Self {
        if minor == Some(1) { Self::Http11 } else { Self::Http10 }
    }

    /// As a request line has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// Room for the fields of one head, on the stack.
pub(crate) type Slots<'b> = [MaybeUninit<Header<'b>>; FIELDS_MAX];

/// A fresh [`Slots`].
pub(crate) const fn slots<'b>() -> Slots<'b> {
    [const { MaybeUninit::uninit() }; FIELDS_MAX]
}

/// A request head.
#[derive(Debug)]
pub(crate) struct RequestHead<'h, 'b> {
    pub(crate) method: &'b str,
    pub(crate) target: &'b str,
    pub(crate) version: Version,
    pub(crate) fields: Fields<'h, 'b>,
}

/// A response head.
#[derive(Debug)]
pub(crate) struct ResponseHead<'h, 'b> {
    pub(crate) status: u16,
    pub(crate) reason: &'b str,
    pub(crate) version: Version,
    pub(crate) fields: Fields<'h, 'b>,
}

/// Length of the head that `bytes` start with, once all of it is there. `scanned` remembers how far an
/// earlier call has looked, so that a head sent byte by byte is not read over and over.
pub(crate) fn end_of_head(bytes: &[u8], scanned: &mut usize) -> Result<Option<usize>, BadHead> {
    let from = scanned.saturating_sub(3);
    *scanned = bytes.len();
    let end = bytes.get(from..).and_then(|tail| memmem::find(tail, b"\r\n\r\n")).map(|at| from + at + 4);
    match end {
        Some(end) if end > HEAD_MAX => Err(BadHead::TooLarge),
        None if bytes.len() >= HEAD_MAX => Err(BadHead::TooLarge),
        // A head of bare line feeds would never end; say so instead of waiting.
        None if memmem::find(&bytes[from..], b"\n\n").is_some() => Err(BadHead::LineEnd),
        end => Ok(end),
    }
}

/// Parses a whole request head.
pub(crate) fn parse_request<'h, 'b>(
    bytes: &'b [u8],
    slots: &'h mut Slots<'b>,
) -> Result<RequestHead<'h, 'b>, BadHead> {
    let mut request = httparse::Request::new(&mut []);
    let parsed = ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, slots)?;
    check_lines(bytes)?;
    let (Status::Complete(_), Some(method), Some(target)) = (parsed, request.method, request.path) else {
        return Err(BadHead::LineEnd);
    };
    if method.len() > METHOD_MAX {
        return Err(BadHead::Method);
    }
    if target.is_empty() || !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(BadHead::Target);
    }
    let version = Version::of(request.version);
    Ok(RequestHead { method, target, version, fields: Fields::new(request.headers) })
}

/// Parses a whole response head.
pub(crate) fn parse_response<'h, 'b>(
    bytes: &'b [u8],
    slots: &'h mut Slots<'b>,
) -> Result<ResponseHead<'h, 'b>, BadHead> {
    let mut response = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, slots)?;
    check_lines(bytes)?;
    let (Status::Complete(_), Some(status)) = (parsed, response.code) else {
        return Err(BadHead::LineEnd);
    };
    if !(100..1000).contains(&status) {
        return Err(BadHead::StatusLine);
    }
    let (reason, version) = (response.reason.unwrap_or(""), Version::of(response.version));
    Ok(ResponseHead { status, reason, version, fields: Fields::new(response.headers) })
}

/// Every CR is followed by a LF, and every LF follows a CR.
pub(crate) fn check_lines(bytes: &[u8]) -> Result<(), BadHead> {
    let good = |at: usize| match bytes[at] {
        b'\r' => bytes.get(at + 1) == Some(&b'\n'),
        _ => at > 0 && bytes[at - 1] == b'\r',
    };
    if memchr2_iter(b'\r', b'\n', bytes).all(good) { Ok(()) } else { Err(BadHead::LineEnd) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(text: &str) -> Result<(String, String), BadHead> {
        let mut slots = slots();
        let head = parse_request(text.as_bytes(), &mut slots)?;
        Ok((head.method.to_owned(), head.target.to_owned()))
    }

    #[test]
    fn each_refused_head_has_a_good_neighbour() {
        for (good, bad, why) in [
            ("GET / HTTP/1.1\r\nA: b\r\n\r\n", "GET / HTTP/1.1\nA: b\r\n\r\n", BadHead::LineEnd),
            ("GET / HTTP/1.1\r\nA: b\r\n\r\n", "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", BadHead::FieldValue),
            ("GET / HTTP/1.1\r\nA: b\r\n\r\n", "GET / HTTP/1.1\r\nA : b\r\n\r\n", BadHead::FieldName),
            ("GET / HTTP/1.1\r\nA: b\r\n\r\n", "GET / HTTP/1.1\r\n A: b\r\n\r\n", BadHead::FieldName),
            ("GET / HTTP/1.1\r\nA: b\r\n\r\n", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", BadHead::FieldName),
            ("GET / HTTP/1.1\r\nA: \tb\r\n\r\n", "GET / HTTP/1.1\r\nA: \0b\r\n\r\n", BadHead::FieldValue),
            ("GET / HTTP/1.1\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", BadHead::Version),
            ("GET / HTTP/1.1\r\n\r\n", "G(T / HTTP/1.1\r\n\r\n", BadHead::Method),
            ("GET /a?b HTTP/1.1\r\n\r\n", "GET /a#b HTTP/1.1\r\n\r\n", BadHead::Target),
            ("GET /%c3%a4 HTTP/1.1\r\n\r\n", "GET /ä HTTP/1.1\r\n\r\n", BadHead::Target),
        ] {
            assert!(request(good).is_ok(), "{good:?} was refused");
            assert_eq!(request(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn fields_are_bounded() {
        let head = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(n));
        assert!(request(&head(FIELDS_MAX)).is_ok());
        assert_eq!(request(&head(FIELDS_MAX + 1)), Err(BadHead::TooManyFields));
    }

    #[test]
    fn the_end_is_found_across_reads() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest";
        let mut scanned = 0;
        for have in 0..head.len() {
            let end = end_of_head(&head[..have], &mut scanned).unwrap();
            assert_eq!(end, (have == 24).then_some(24), "with {have} bytes");
            if end.is_some() {
                return;
            }
        }
        panic!("the end was never found");
    }

    #[test]
    fn disguised_fields_are_known() {
        assert_eq!(kind("X-Forwarded-For"), Kind::ForwardedFor);
        assert_eq!(kind("x_forwarded-for"), Kind::Disguised);
        assert_eq!(kind("Content_Length"), Kind::Disguised);
        assert_eq!(kind("X-Forwarded-Port"), Kind::Claim);
        assert_eq!(kind("X_Forwarded_Port"), Kind::Claim);
        assert_eq!(kind("X-Forward"), Kind::Other);
        assert_eq!(kind("my_field"), Kind::Other);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut scanned = 0;
            let found = end_of_head(&bytes, &mut scanned);
            prop_assert!(!matches!(found, Ok(Some(end)) if end > bytes.len()));
            let (mut a, mut b) = (slots(), slots());
            let request = parse_request(&bytes, &mut a);
            let response = parse_response(&bytes, &mut b);
            prop_assert!(request.is_err() || response.is_err());
        }

        #[test]
        fn near_misses_do_not_panic(at in 0_usize..60, byte in any::<u8>()) {
            let mut bytes = b"POST /path?q HTTP/1.1\r\nHost: a.b.localhost\r\nContent-Length: 5\r\n\r\n".to_vec();
            bytes[at] = byte;
            let mut slots = slots();
            if let Ok(head) = parse_request(&bytes, &mut slots) {
                prop_assert!(head.target.is_ascii() && head.fields.iter().count() <= 2);
            }
        }
    }
}
