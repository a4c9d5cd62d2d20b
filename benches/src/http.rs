//! A client that measures: one request, up to the first byte of its answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

/// How often a server that is not up yet is tried, where the time does not matter.
pub(crate) const SELDOM: Duration = Duration::from_millis(5);
/// How long anything may take before the run is called broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A port of the loopback that is free at this moment.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// One request on a connection of its own: the time from the connect to the first byte, in milliseconds.
pub(crate) fn first_byte(port: u16, host: &str) -> anyhow::Result<f64> {
    let started = Instant::now();
    ask(port, host).with_context(|| format!("no answer for `{host}`"))?;
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}

/// Tries again and again, this often, until there is an answer.
pub(crate) fn first_answer(port: u16, host: &str, every: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match ask(port, host) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(error),
            // Another program's listener has no event that could be waited for.
            Err(_) => thread::park_timeout(every),
        }
    }
}

/// The body of the answer to one request on a connection of its own.
pub(crate) fn body(port: u16, host: &str) -> anyhow::Result<String> {
    body_at(port, host, "/")
}

/// The same at a path.
pub(crate) fn body_at(port: u16, host: &str, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("no answer for `{host}`"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not whole")?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "the answer of `{host}` is not 200: {answer}");
    Ok(body.to_owned())
}

fn ask(port: u16, host: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => anyhow::bail!("the connection ended without an answer"),
            Ok(n) => answer.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e.into()),
        }
        if answer.len() >= 12 {
            let ok = answer.starts_with(b"HTTP/1.1 200") || answer.starts_with(b"HTTP/1.0 200");
            anyhow::ensure!(ok, "the answer is not 200: {}", String::from_utf8_lossy(&answer));
            return Ok(());
        }
    }
}
