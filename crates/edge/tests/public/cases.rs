//! The cases in `tests/smuggling`; its README says how they are written.

use std::fmt;
use std::path::Path;

use crate::h2_frames::{DATA, END_HEADERS, END_STREAM, Frame, HEADERS, block};

/// What must happen.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    Refuse(u16, String),
    Serve(Vec<u8>),
    Reset(String),
    GoAway(String),
    Cut,
    Partial,
}

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) enum Sent {
    Bytes(Vec<u8>),
    Frames(Vec<Frame>),
}

/// One message, and what must become of it.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) class: String,
    name: String,
    pub(crate) expected: Vec<Expected>,
    pub(crate) sent: Sent,
    /// What somebody who looks at nothing would make of the frames.
    pub(crate) naive: Vec<u8>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.name)
    }
}

/// Every case of every file.
pub(crate) fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smuggling");
    let mut cases = Vec::new();
    for file in ["framing.txt", "heads.txt", "chunks.txt", "h2.txt"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        cases.extend(text.split("--- ").skip(1).map(case));
    }
    cases
}

fn case(text: &str) -> Case {
    let mut lines = text.lines();
    let (class, name) = lines.next().unwrap().split_once(": ").unwrap();
    let (mut expected, mut bytes, mut blocks) = (Vec::new(), Vec::new(), Blocks::default());
    for line in lines.filter(|line| !line.is_empty()) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            ">" => bytes.extend(repeated(rest)),
            "headers" | "trailers" => blocks.begin(word == "trailers" || rest == "end"),
            ":" => blocks.field(rest),
            "data" => blocks.data(rest),
            _ => expected.push(expectation(word, rest)),
        }
    }
    let (class, name) = (class.to_owned(), name.to_owned());
    let (naive, frames) = blocks.finish();
    let sent = if frames.is_empty() { Sent::Bytes(bytes) } else { Sent::Frames(frames) };
    Case { class, name, expected, sent, naive }
}

fn expectation(word: &str, rest: &str) -> Expected {
    match word {
        "refuse" => {
            let (status, code) = rest.split_once(' ').unwrap();
            Expected::Refuse(status.parse().unwrap(), code.to_owned())
        }
        "serve" => Expected::Serve(unescaped(rest)),
        "reset" => Expected::Reset(rest.to_owned()),
        "goaway" => Expected::GoAway(rest.to_owned()),
        "cut" => Expected::Cut,
        "partial" => Expected::Partial,
        _ => panic!("`{word}` is not known"),
    }
}

fn repeated(text: &str) -> Vec<u8> {
    let Some((times, bytes)) = text.strip_prefix('*').and_then(|t| t.split_once(' ')) else {
        return unescaped(text);
    };
    unescaped(bytes).repeat(times.parse().unwrap())
}

fn unescaped(text: &str) -> Vec<u8> {
    let (mut out, mut chars) = (Vec::new(), text.chars());
    while let Some(char) = chars.next() {
        assert!(char.is_ascii(), "`{char}` needs an escape");
        out.push(match char {
            '\\' => match chars.next().unwrap() {
                'r' => b'\r',
                'n' => b'\n',
                't' => b'\t',
                '0' => 0,
                '\\' => b'\\',
                'x' => {
                    let digits: String = chars.by_ref().take(2).collect();
                    u8::from_str_radix(&digits, 16).unwrap()
                }
                other => panic!("`\\{other}` is no escape"),
            },
            _ => u8::try_from(char).unwrap(),
        });
    }
    out
}

/// Fields by name, in order.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// Frames as they are put together, and what a naive translation makes of them.
#[derive(Debug, Default)]
struct Blocks {
    frames: Vec<Frame>,
    open: Option<(bool, Fields)>,
    naive: Vec<u8>,
}

impl Blocks {
    fn begin(&mut self, ended: bool) {
        self.close();
        self.open = Some((ended, Vec::new()));
    }

    fn field(&mut self, text: &str) {
        // A pseudo field begins with the sign that stands between name and value elsewhere.
        let at = text[1..].find('=').map_or(0, |at| at + 1);
        let (name, value) = (unescaped(&text[..at]), unescaped(&text[at + 1..]));
        self.open.as_mut().unwrap().1.push((String::from_utf8(name).unwrap(), value));
    }

    fn data(&mut self, rest: &str) {
        self.close();
        let (ended, bytes) = match rest.strip_prefix("end") {
            Some(bytes) => (true, bytes.trim_start()),
            None => (false, rest),
        };
        self.naive.extend(unescaped(bytes));
        self.frames.push(Frame::new(DATA, u8::from(ended) * END_STREAM, 1, unescaped(bytes)));
    }

    /// Ends the block that is open.
    fn close(&mut self) {
        let Some((ended, mut fields)) = self.open.take() else { return };
        let first = self.frames.is_empty();
        if first && !fields.iter().any(|(name, _)| name.starts_with(':')) {
            let defaults = [
                ("method", "POST"),
                ("scheme", "http"),
                ("authority", "alice.notes.localhost"),
                ("path", "/p"),
            ];
            let defaults = defaults.map(|(name, value)| (format!(":{name}"), value.as_bytes().to_vec()));
            fields.splice(0..0, defaults);
        }
        if first {
            self.naive = naive_head(&fields);
        }
        let flags = END_HEADERS | (u8::from(ended) * END_STREAM);
        self.frames.push(Frame::new(HEADERS, flags, 1, block(&fields)));
    }

    fn finish(mut self) -> (Vec<u8>, Vec<Frame>) {
        self.close();
        (self.naive, self.frames)
    }
}

/// The fields as they are, one a line.
fn naive_head(fields: &[(String, Vec<u8>)]) -> Vec<u8> {
    let value = |wanted: &str| {
        fields.iter().find(|(name, _)| name == wanted).map_or(&b""[..], |(_, value)| value.as_slice())
    };
    let mut head =
        [value(":method"), b" ", value(":path"), b" HTTP/1.1\r\nhost: ", value(":authority")].concat();
    for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with(':')) {
        head.extend([b"\r\n", name.as_bytes(), b": ", value].concat());
    }
    head.extend(b"\r\n\r\n");
    head
}
