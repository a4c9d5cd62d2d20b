//! Which name the first bytes of a connection tell: the server name of a TLS `ClientHello` (RFC 8446, section
//! 4.1.2; RFC 6066, section 3), or the `Host` of an HTTP/1 request. Bounded; nothing is believed beyond that.

/// Most bytes that are looked at.
pub(crate) const SNIFF_MAX: usize = 16 * 1024;
/// Most header lines of a request.
const HEADERS_MAX: usize = 64;

/// What the first bytes tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum First {
    /// TLS, and the name of the server that is wanted.
    Tls(Option<String>),
    /// HTTP/1, and the host that is wanted.
    Http(Option<String>),
    /// Something else.
    Other,
    /// Not decided: there are too few bytes.
    More,
}

/// Looks at the bytes so far.
pub(crate) fn first(bytes: &[u8]) -> First {
    match bytes.first() {
        None => First::More,
        Some(0x16) => tls(bytes),
        Some(b) if b.is_ascii_uppercase() => http(bytes),
        Some(_) => First::Other,
    }
}

fn tls(bytes: &[u8]) -> First {
    let mut hello = Vec::new();
    let mut rest = bytes;
    // A handshake message may be cut into several records.
    loop {
        let Some((head, after)) = rest.split_first_chunk::<5>() else { return First::More };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if head[0] != 0x16 || head[1] != 3 || length == 0 || length > SNIFF_MAX {
            return First::Other;
        }
        let Some(record) = after.get(..length) else {
            hello.extend(after);
            return match whole(&hello) {
                Some(body) => First::Tls(server_name(body)),
                None => First::More,
            };
        };
        hello.extend(record);
        if hello.first().is_some_and(|kind| *kind != 1) {
            return First::Other;
        }
        if let Some(body) = whole(&hello) {
            return First::Tls(server_name(body));
        }
        rest = &after[length..];
    }
}

/// The body of a handshake message, when all of it is there.
fn whole(hello: &[u8]) -> Option<&[u8]> {
    let (head, rest) = hello.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes([0, head[1], head[2], head[3]])).ok()?;
    rest.get(..length)
}

fn server_name(body: &[u8]) -> Option<String> {
    let mut at = Cursor(body);
    // Version and random.
    at.take(34)?;
    at.vector8()?;
    at.vector16()?;
    at.vector8()?;
    let mut extensions = Cursor(at.vector16()?);
    loop {
        let kind = extensions.u16()?;
        let data = extensions.vector16()?;
        if kind == 0 {
            let mut names = Cursor(Cursor(data).vector16()?);
            // Only host names exist.
            let name = (names.take(1)? == [0]).then(|| names.vector16())??;
            return String::from_utf8(name.to_vec()).ok();
        }
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.take(1)?[0]);
        self.take(length)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        self.take(length)
    }
}

fn http(bytes: &[u8]) -> First {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {
            let mut hosts = request.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("host"));
            // Two hosts are none: servers differ in which one they take.
            let host = hosts.next().filter(|_| hosts.next().is_none());
            let host = host.and_then(|h| std::str::from_utf8(h.value).ok()).map(|h| h.trim().to_owned());
            First::Http(host)
        }
        Ok(httparse::Status::Partial) => First::More,
        Err(_) => First::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A `ClientHello` as clients send it, with this server name.
    pub(crate) fn hello(name: &str) -> Vec<u8> {
        let mut list = vec![0];
        list.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        list.extend(name.as_bytes());
        let mut data = u16::try_from(list.len()).unwrap().to_be_bytes().to_vec();
        data.extend(list);
        let mut extensions = vec![0, 23, 0, 0, 0, 0];
        extensions.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        extensions.extend(data);
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        let mut message = vec![1, 0];
        message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        message.extend(body);
        message
    }

    fn record(message: &[u8]) -> Vec<u8> {
        let mut record = vec![0x16, 3, 1];
        record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
        record.extend(message);
        record
    }

    #[test]
    fn the_name_is_found_however_the_hello_is_cut() {
        let message = hello("api.example.com");
        let whole = record(&message);
        assert_eq!(first(&whole), First::Tls(Some("api.example.com".to_owned())));
        for cut in 1..message.len() {
            let (a, b) = message.split_at(cut);
            let two = [record(a), record(b)].concat();
            assert_eq!(first(&two), First::Tls(Some("api.example.com".to_owned())), "records cut at {cut}");
        }
        for end in 0..whole.len() {
            assert_eq!(first(&whole[..end]), First::More, "{end} bytes");
        }
    }

    #[test]
    fn the_host_of_a_request_is_found_and_two_are_none() {
        let ask = |text: &str| first(text.as_bytes());
        assert_eq!(ask("GET / HTTP/1.1\r\nHost: a.com:80\r\n\r\n"), First::Http(Some("a.com:80".to_owned())));
        assert_eq!(ask("GET / HTTP/1.1\r\nHost: a.com\r\nhost: b.com\r\n\r\n"), First::Http(None));
        assert_eq!(ask("GET / HTTP/1.1\r\nHo"), First::More);
        assert_eq!(ask("SSH-2.0-x\r\n"), First::Other);
        assert_eq!(ask("\x01\x02"), First::Other);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            first(&bytes);
            first(&record(&bytes));
        }
    }
}
