//! The application that makes the load of `egress` from behind walls: `GET /ADDRESS:PORT/CONNECTIONS/SECONDS` runs
//! `wrk` and answers what it told: requests, requests for each second, milliseconds of the 99th of 100.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::Context;

use crate::wrk;

/// Most of a request that is looked at.
const HEAD_MAX: usize = 4096;

/// Serves until killed, one request after the other.
pub(crate) fn serve() -> anyhow::Result<()> {
    let port: u16 = std::env::var("PORT").context("`PORT` is not set")?.parse().context("`PORT`")?;
    let listener = TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("port {port}"))?;
    for client in listener.incoming() {
        let mut client = client?;
        // Who connects without a word only looks whether somebody listens.
        let Some(path) = path(&mut client)? else { continue };
        let (status, body) = match load(&path) {
            Ok(body) => ("200 OK", body),
            Err(error) => ("500 Internal Server Error", format!("{error:#}")),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        client.write_all((head + &body).as_bytes())?;
    }
    Ok(())
}

fn path(client: &mut TcpStream) -> anyhow::Result<Option<String>> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") && head.len() < HEAD_MAX {
        match client.read(&mut piece)? {
            0 => return Ok(None),
            n => head.extend_from_slice(&piece[..n]),
        }
    }
    Ok(String::from_utf8_lossy(&head).split(' ').nth(1).map(str::to_owned))
}

fn load(path: &str) -> anyhow::Result<String> {
    let words: Vec<_> = path.trim_start_matches('/').split('/').collect();
    let [to, connections, seconds] = words[..] else { anyhow::bail!("`{path}` is no load") };
    let to: SocketAddr = to.parse()?;
    let load = wrk::load_at(to, "app", connections.parse()?, seconds.parse()?)?;
    Ok(format!("{} {} {}", load.requests, load.rate, load.p99))
}
