use proptest::prelude::*;

use super::*;

/// A body as a slow, plain reader sees it: data, trailer section, bytes that follow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Read {
    data: Vec<u8>,
    trailers: Vec<u8>,
    rest: Vec<u8>,
}

/// Decodes with the decoder under test; the input arrives in pieces that end at `cuts`.
fn decode(input: &[u8], cuts: &[usize]) -> Result<Option<Read>, BadBody> {
    let mut decoder = ChunkDecoder::new();
    let mut read = Read::default();
    let (mut at, mut have) = (0, 0);
    let mut cuts = cuts.iter().copied().chain([input.len()]);
    loop {
        match decoder.next(&input[at..have])? {
            Piece::Frame(n) => at += n,
            Piece::Data(n) => {
                read.data.extend_from_slice(&input[at..at + n]);
                at += n;
            }
            Piece::Trailers(n) => {
                read.trailers = input[at..at + n].to_vec();
                at += n;
            }
            Piece::Done => {
                read.rest = input[at..].to_vec();
                return Ok(Some(read));
            }
            Piece::More => match cuts.next() {
                Some(cut) => have = have.max(cut.min(input.len())),
                None => return Ok(None),
            },
        }
    }
}

/// The reference: whole lines, whole chunks, everything in memory.
fn reference(input: &[u8]) -> Option<Read> {
    let mut read = Read::default();
    let mut rest = input;
    loop {
        let line_end = rest.windows(2).position(|w| w == b"\r\n")?;
        let line = std::str::from_utf8(&rest[..line_end]).ok()?;
        let digits = line.split(';').next()?;
        if digits.is_empty() || digits.len() > 15 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        if line.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
            return None;
        }
        let size = usize::from_str_radix(digits, 16).ok()?;
        rest = &rest[line_end + 2..];
        if size == 0 {
            break;
        }
        read.data.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
    let end = match rest {
        [b'\r', b'\n', ..] => 2,
        _ => rest.windows(4).position(|w| w == b"\r\n\r\n")? + 4,
    };
    read.trailers = rest[..end].to_vec();
    read.rest = rest[end..].to_vec();
    Some(read)
}

fn encode(chunks: &[(Vec<u8>, String)], trailers: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (data, extension) in chunks.iter().filter(|(data, _)| !data.is_empty()) {
        out.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    out
}

proptest! {
    #[test]
    fn any_split_of_a_valid_body_reads_the_same(
        chunks in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), "(;[a-z]{1,5}(=[a-z0-9]{1,5})?)?"), 0..8),
        trailers in "([a-z]{1,6}: [a-z]{0,6}\r\n){0,3}",
        follow in prop::collection::vec(any::<u8>(), 0..16),
        cuts in prop::collection::vec(0_usize..400, 0..20),
    ) {
        let mut input = encode(&chunks, &trailers);
        input.extend_from_slice(&follow);
        let mut cuts = cuts;
        cuts.sort_unstable();
        let read = decode(&input, &cuts).unwrap().unwrap();
        let data: Vec<u8> = chunks.iter().flat_map(|(d, _)| d.clone()).collect();
        prop_assert_eq!(&read.data, &data);
        prop_assert_eq!(read.trailers, format!("{trailers}\r\n").into_bytes());
        prop_assert_eq!(read.rest, follow);
        prop_assert_eq!(reference(&input).unwrap().data, data);
    }

    #[test]
    fn noise_is_judged_as_the_reference_judges_it(
        input in prop::collection::vec(prop::sample::select(&b"012aF;x \r\n\r\n\r\n\t\0-+"[..]), 0..60),
        cuts in prop::collection::vec(0_usize..60, 0..10),
    ) {
        let mut cuts = cuts;
        cuts.sort_unstable();
        let read = decode(&input, &cuts);
        match reference(&input) {
            Some(expected) => prop_assert_eq!(read, Ok(Some(expected))),
            None => prop_assert!(!matches!(read, Ok(Some(_))), "{:?} was let in as {:?}", input, read),
        }
    }
}

#[test]
fn what_is_refused_is_next_to_what_is_let_in() {
    for (good, bad, why) in [
        ("5\r\nhello\r\n0\r\n\r\n", "g\r\nhello\r\n0\r\n\r\n", BadBody::ChunkSize),
        ("5\r\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", BadBody::ChunkSize),
        ("5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", BadBody::ChunkSize),
        ("5\r\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", BadBody::ChunkSize),
        ("5\r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", BadBody::ChunkEnd),
        ("5\r\nhello\r\n0\r\n\r\n", "5\r\nhello!\r\n0\r\n\r\n", BadBody::ChunkEnd),
        ("5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", BadBody::ChunkEnd),
        ("5;a=b\r\nhello\r\n0\r\n\r\n", "5;a\nb\r\nhello\r\n0\r\n\r\n", BadBody::ChunkEnd),
        ("5;a=b\r\nhello\r\n0\r\n\r\n", "5;a\0b\r\nhello\r\n0\r\n\r\n", BadBody::Extension),
        ("000000000000005\r\nhello\r\n0\r\n\r\n", "0000000000000005\r\n", BadBody::ChunkSizeTooLong),
        ("0\r\n\r\n", "fffffffffffffffff\r\n", BadBody::ChunkSizeTooLong),
    ] {
        assert!(matches!(decode(good.as_bytes(), &[]), Ok(Some(_))), "{good:?} was refused");
        assert_eq!(decode(bad.as_bytes(), &[]), Err(why), "{bad:?}");
    }
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let body = |n: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(n));
    assert!(matches!(decode(body(EXTENSIONS_MAX).as_bytes(), &[]), Ok(Some(_))));
    assert_eq!(decode(body(EXTENSIONS_MAX + 1).as_bytes(), &[]), Err(BadBody::ExtensionsTooLarge));
    let body = |n: usize| format!("0\r\na:{}\r\n\r\n", "t".repeat(n));
    assert!(matches!(decode(body(TRAILERS_MAX - 6).as_bytes(), &[]), Ok(Some(_))));
    assert_eq!(decode(body(TRAILERS_MAX - 5).as_bytes(), &[]), Err(BadBody::TrailersTooLarge));
}
