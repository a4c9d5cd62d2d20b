//! The hostile program: what runs behind the wall, and without one as the control.
//!
//! ```text
//! insula probe serve WORD     answers `GET /NAME?TARGET` with what came of an attempt
//!   └─ insula probe try NAME TARGET     one attempt, in a process of its own that ends with it
//! ```
//! It is this binary itself, so that nothing else has to be there on the other side.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::probes::Probe;
use super::{attempts, controls};
use crate::printer::Printer;

/// The name of the hidden verb.
pub(crate) const VERB: &str = "probe";
/// The variable that names its data directory.
pub(super) const DATA: &str = "DATA";
/// The file that a neighbour keeps in its data directory.
pub(super) const KEPT: &str = "kept";
/// Longest request line, in bytes.
const LINE_MAX: usize = 8 * 1024;

/// `insula probe`.
#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Answer on $PORT; the word is only there to be seen by others.
    Serve { word: String },
    /// Try once.
    Try { name: Probe, target: String },
    /// Build a network wall in a network of one's own.
    Wall,
    /// Connect a routed network on a host of one's own.
    Routed,
    /// Connect to the metadata address in a network of one's own, where somebody answers.
    Met,
    /// Wait until standard input ends.
    Idle,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Whether it got through.
    pub(crate) through: bool,
    /// What it saw, or what refused it.
    pub(crate) detail: String,
}

impl Outcome {
    /// Of an attempt that can only fail with an error of the kernel.
    pub(super) fn of(result: io::Result<String>) -> Self {
        match result {
            Ok(detail) => Self { through: true, detail },
            Err(error) => Self { through: false, detail: error.to_string() },
        }
    }
}

/// Runs the hostile program.
pub(crate) fn run(args: ProbeArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    match args.what {
        What::Serve { word } => {
            drop(word);
            serve()?;
        }
        What::Try { name, target } => printer.json_line(&Outcome::of(attempts::make(name, &target)))?,
        What::Wall => {
            let built = insula_linux::attempt::network_wall().map(|()| "built".to_owned());
            printer.json_line(&Outcome::of(built))?;
        }
        What::Routed => {
            let connected = insula_linux::attempt::routed_network().map(|()| "connected".to_owned());
            printer.json_line(&Outcome::of(connected))?;
        }
        What::Met => printer.json_line(&Outcome::of(controls::metadata()))?,
        What::Idle => {
            io::copy(&mut io::stdin(), &mut io::sink())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Answers one request after another.
fn serve() -> anyhow::Result<()> {
    let port = std::env::var("PORT").context("`PORT` is not set")?.parse::<u16>().context("`PORT`")?;
    if let Some(dir) = std::env::var_os(DATA) {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(Path::new(&dir).join(KEPT)).context("cannot write to the data directory")?;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("cannot listen on `PORT`")?;
    // Whoever leaves it behind waits for this word.
    writeln!(io::stdout(), "listening").context("cannot say that it listens")?;
    for stream in listener.incoming() {
        // A caller that went away concerns nobody else.
        drop(stream.and_then(|stream| reply(&stream)));
    }
    Ok(())
}

fn reply(mut stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(io::Read::take(stream, LINE_MAX as u64));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let asked = line.split(' ').nth(1).and_then(|path| path.strip_prefix('/')).map(str::to_owned);
    while line.trim_end() != "" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            break;
        }
    }
    let body = asked
        .as_deref()
        .and_then(tried)
        .map_or_else(|| "{}".to_owned(), |o| serde_json::json!(o).to_string());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The attempt that a path `NAME?TARGET` asks for.
fn tried(asked: &str) -> Option<Outcome> {
    let (name, target) = asked.split_once('?')?;
    let name = <Probe as clap::ValueEnum>::from_str(name, false).ok()?;
    Some(in_child(name, &unescaped(target)?))
}

/// Makes an attempt in a process of its own.
fn in_child(name: Probe, target: &str) -> Outcome {
    outcome_of(Command::new("/proc/self/exe").args([VERB, "try", name.id(), target]))
}

/// What a program that makes an attempt says came of it.
pub(super) fn outcome_of(command: &mut Command) -> Outcome {
    match command.stdin(Stdio::null()).stderr(Stdio::null()).output() {
        Ok(output) => serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| Outcome { through: false, detail: output.status.to_string() }),
        Err(error) => Outcome { through: false, detail: format!("it could not be started: {error}") },
    }
}

/// A target as part of a path (RFC 3986, section 2.1).
pub(super) fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The other way round; `None` where it is malformed.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let hex = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_travel_unchanged() {
        for text in ["/a b/ä?%", "127.0.0.1:80 word", ""] {
            assert_eq!(unescaped(&escaped(text)).as_deref(), Some(text));
        }
        assert_eq!((unescaped("%4"), unescaped("%zz")), (None, None));
    }
}
