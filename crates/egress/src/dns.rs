//! Messages of the domain name system (RFC 1035), as much of them as is needed: one question for addresses, and
//! an answer to it. Strict: what is not understood is an error, never a guess.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use insula_spec::canonical_name;

/// Longest message over UDP without extensions (RFC 1035, section 4.2.1).
pub(crate) const UDP_MAX: usize = 512;
/// Longest message that is read.
pub(crate) const MESSAGE_MAX: usize = 4096;
/// The class of the internet.
const IN: u16 = 1;
/// Kinds of records.
const A: u16 = 1;
const AAAA: u16 = 28;
/// Most jumps inside one compressed name.
const JUMPS_MAX: usize = 16;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// IPv4 addresses.
    V4,
    /// IPv6 addresses.
    V6,
    /// Something else, which is not answered.
    Other,
}

/// How an answer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// There is an answer, perhaps an empty one.
    Ok = 0,
    /// The question is malformed.
    Malformed = 1,
    /// It cannot be answered now.
    Failed = 2,
    /// There is no such name.
    NoName = 3,
    /// Such questions are not answered.
    Refused = 5,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) id: u16,
    /// In its canonical form; `None` for what cannot be a host's name.
    pub(crate) name: Option<String>,
    pub(crate) kind: Kind,
    /// The question as it was asked, to be repeated in the answer.
    section: Vec<u8>,
}

/// An answer from upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: u8,
    /// Whether there is more than fitted.
    pub(crate) cut: bool,
    pub(crate) addresses: Vec<IpAddr>,
    /// Shortest time to live among them, in seconds.
    pub(crate) ttl: u32,
}

/// Reads a question. `None` for what is not even one: nothing is answered then.
pub(crate) fn question(bytes: &[u8]) -> Option<Question> {
    let head = bytes.first_chunk::<12>()?;
    let (flags, count) = (u16::from_be_bytes([head[2], head[3]]), u16::from_be_bytes([head[4], head[5]]));
    // A query, of the standard kind, with one question.
    if flags & 0xf800 != 0 || count != 1 {
        return None;
    }
    let (labels, end) = plain_name(bytes, 12)?;
    let tail = bytes.get(end..end + 4)?;
    let class = u16::from_be_bytes([tail[2], tail[3]]);
    let kind = match u16::from_be_bytes([tail[0], tail[1]]) {
        A if class == IN => Kind::V4,
        AAAA if class == IN => Kind::V6,
        _ => Kind::Other,
    };
    let name = canonical_name(&labels.join("."));
    let section = bytes.get(12..end + 4)?.to_vec();
    Some(Question { id: u16::from_be_bytes([head[0], head[1]]), name, kind, section })
}

/// A name without jumps: its labels, and where it ends.
fn plain_name(bytes: &[u8], mut at: usize) -> Option<(Vec<String>, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels, at));
        }
        if length > 63 || labels.len() > 127 {
            return None;
        }
        let label = bytes.get(at..at + length)?;
        // Whatever is not text cannot be the name of a host; it must still be no other one.
        labels.push(
            label
                .iter()
                .map(|b| if b.is_ascii_graphic() && *b != b'.' { char::from(*b) } else { '!' })
                .collect(),
        );
        at += length;
    }
}

/// A question for the addresses of a name in its canonical form.
pub(crate) fn ask(id: u16, name: &str, kind: Kind) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 18);
    bytes.extend(id.to_be_bytes());
    // Recursion is wanted.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(63));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(if kind == Kind::V6 { AAAA } else { A }.to_be_bytes());
    bytes.extend(IN.to_be_bytes());
    bytes
}

/// Reads the answer to a question that [`ask`] made. `None` for what is not one.
pub(crate) fn answer(asked: &[u8], bytes: &[u8]) -> Option<Answer> {
    let head = bytes.first_chunk::<12>()?;
    let section = &asked[12..];
    let same = bytes.get(12..12 + section.len())?.eq_ignore_ascii_case(section);
    let flags = u16::from_be_bytes([head[2], head[3]]);
    if head[..2] != asked[..2] || flags & 0x8000 == 0 || head[4..6] != [0, 1] || !same {
        return None;
    }
    let wanted = u16::from_be_bytes([section[section.len() - 4], section[section.len() - 3]]);
    let count = u16::from_be_bytes([head[6], head[7]]);
    let cut = flags & 0x0200 != 0;
    let mut answer = Answer { code: head[3] & 0x0f, cut, addresses: Vec::new(), ttl: u32::MAX };
    let mut at = 12 + section.len();
    for _ in 0..count {
        match record(bytes, at) {
            Some((kind, ttl, data, end)) => {
                if kind == wanted {
                    answer.addresses.extend(address(data));
                    answer.ttl = answer.ttl.min(ttl);
                }
                at = end;
            }
            None if cut => break,
            None => return None,
        }
    }
    Some(answer)
}

/// Kind, time to live and data of the record at this place, and where it ends.
fn record(bytes: &[u8], at: usize) -> Option<(u16, u32, &[u8], usize)> {
    let at = skip_name(bytes, at)?;
    let head = bytes.get(at..at + 10)?;
    let kind = u16::from_be_bytes([head[0], head[1]]);
    let class = u16::from_be_bytes([head[2], head[3]]);
    let ttl = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    let end = at + 10 + usize::from(u16::from_be_bytes([head[8], head[9]]));
    let data = bytes.get(at + 10..end)?;
    Some((if class == IN { kind } else { 0 }, ttl, data, end))
}

fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..128 + JUMPS_MAX {
        let length = *bytes.get(at)?;
        match length {
            0 => return Some(at + 1),
            // A jump ends the name.
            0xc0.. => return bytes.get(at + 1).map(|_| at + 2),
            1..64 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
    None
}

fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => data.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into()),
        16 => data.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into()),
        _ => None,
    }
}

impl Question {
    /// The answer with these addresses, of which as many go in as fit into `max` bytes.
    pub(crate) fn answered(&self, code: Code, addresses: &[IpAddr], ttl: u32, max: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(UDP_MAX);
        bytes.extend(self.id.to_be_bytes());
        // An answer; recursion was wanted and is there.
        bytes.extend([0x81, 0x80 | code as u8, 0, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend(&self.section);
        let mut count: u16 = 0;
        for address in addresses {
            let (kind, octets) = match address {
                IpAddr::V4(v4) => (A, v4.octets().to_vec()),
                IpAddr::V6(v6) => (AAAA, v6.octets().to_vec()),
            };
            if bytes.len() + 12 + octets.len() > max {
                bytes[2] |= 0x02;
                break;
            }
            bytes.extend([0xc0, 12]);
            bytes.extend(kind.to_be_bytes());
            bytes.extend(IN.to_be_bytes());
            bytes.extend(ttl.to_be_bytes());
            bytes.extend(u16::try_from(octets.len()).unwrap_or_default().to_be_bytes());
            bytes.extend(octets);
            count += 1;
        }
        bytes[6..8].copy_from_slice(&count.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_question_is_answered_and_the_answer_is_read_back() {
        let asked = ask(7, "api.example.com", Kind::V4);
        let question = question(&asked).unwrap();
        assert_eq!((question.name.as_deref(), question.kind), (Some("api.example.com"), Kind::V4));
        let addresses: Vec<IpAddr> = vec!["1.2.3.4".parse().unwrap(), "5.6.7.8".parse().unwrap()];
        let said = question.answered(Code::Ok, &addresses, 60, UDP_MAX);
        let read = answer(&asked, &said).unwrap();
        assert_eq!(read, Answer { code: 0, cut: false, addresses, ttl: 60 });
        let none = question.answered(Code::NoName, &[], 0, UDP_MAX);
        assert_eq!(answer(&asked, &none).unwrap().code, 3);
    }

    #[test]
    fn what_does_not_fit_is_cut_and_said_to_be() {
        let asked = ask(7, "a.example", Kind::V6);
        let many: Vec<IpAddr> = (0..40).map(|n| Ipv6Addr::from(n).into()).collect();
        let said = question(&asked).unwrap().answered(Code::Ok, &many, 60, UDP_MAX);
        assert!(said.len() <= UDP_MAX);
        assert!(answer(&asked, &said).unwrap().cut);
    }

    #[test]
    fn an_answer_to_something_else_is_none() {
        let asked = ask(7, "a.example", Kind::V4);
        let said = question(&asked).unwrap().answered(Code::Ok, &["1.2.3.4".parse().unwrap()], 1, UDP_MAX);
        assert!(answer(&ask(8, "a.example", Kind::V4), &said).is_none(), "another id");
        assert!(answer(&ask(7, "b.example", Kind::V4), &said).is_none(), "another name");
        assert!(answer(&ask(7, "a.example", Kind::V6), &said).is_none(), "another kind");
        assert!(answer(&asked, &asked).is_none(), "a question");
    }

    #[test]
    fn a_label_with_a_dot_in_it_is_no_name() {
        let mut bytes = ask(1, "axb.example", Kind::V4);
        bytes[14] = b'.';
        assert_eq!(question(&bytes).unwrap().name, None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            question(&bytes);
            let asked = ask(0, "a.example", Kind::V4);
            answer(&asked, &bytes);
            let mut begun = asked.clone();
            begun[2] = 0x81;
            begun[7] = 3;
            begun.extend(&bytes);
            answer(&asked, &begun);
        }
    }
}
