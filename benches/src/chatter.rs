//! The application whose output is captured: `GET /ROUND/LINES` writes so many lines, and one that ends the round.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::TcpListener;

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
        if let (Some(round), Some(lines)) = (words.next(), words.next()) {
            chat(round, lines)?;
        }
    }
    Ok(())
}

fn chat(round: u64, lines: u64) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    for n in 0..lines {
        writeln!(out, "{}", line(round * lines + n))?;
    }
    writeln!(out, "{}", crate::logs::end(round))?;
    Ok(out.flush()?)
}
