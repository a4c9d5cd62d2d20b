//! The application whose output is captured: `GET /ROUND/LINES/RATE` writes so many lines, and one that ends the
//! round; as fast as it can where the rate is 0.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::logs::line;

/// Serves one connection after the other on `PORT` until killed.
pub(crate) fn serve() -> anyhow::Result<()> {
    let port: u16 = std::env::var("PORT").context("`PORT` is not set")?.parse().context("`PORT`")?;
    let listener = TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("port {port}"))?;
    for stream in listener.incoming() {
        let mut stream = BufReader::new(stream?);
        let mut head = String::new();
        stream.read_line(&mut head)?;
        let mut rest = String::new();
        while stream.read_line(&mut rest)? > 2 {
            rest.clear();
        }
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        let mut words = head.split(['/', ' ']).filter_map(|word| word.parse::<u64>().ok());
        if let (Some(round), Some(lines), Some(rate)) = (words.next(), words.next(), words.next()) {
            chat(round, lines, rate)?;
        }
    }
    Ok(())
}

/// Lines between two looks at the clock, where there is a rate: one write of a busy program.
const PIECE: u64 = 20;

fn chat(round: u64, lines: u64, rate: u64) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    let started = Instant::now();
    for n in 0..lines {
        writeln!(out, "{}", line(round * lines + n))?;
        if rate > 0 && n.is_multiple_of(PIECE) {
            out.flush()?;
            // A line has its time; who is late does not wait.
            let due = started + Duration::from_micros(n * 1_000_000 / rate);
            thread::park_timeout(due.saturating_duration_since(Instant::now()));
        }
    }
    writeln!(out, "{}", crate::logs::end(round))?;
    Ok(out.flush()?)
}
