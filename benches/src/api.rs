//! The control API, as programs use it: over its socket, one connection kept open.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::Context;
use serde_json::Value;

use crate::cloud::Cloud;
use crate::http::PATIENCE;

/// One connection to the control API.
#[derive(Debug)]
pub(crate) struct Api(BufReader<UnixStream>);

impl Api {
    /// Opens it.
    pub(crate) fn connect(cloud: &Cloud) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(cloud.control()).context("cannot reach the control socket")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks for something; what comes is read by [`Api::until`].
    pub(crate) fn ask(&mut self, path: &str, fields: &str) -> anyhow::Result<()> {
        self.say("GET", path, fields)
    }

    fn say(&mut self, method: &str, path: &str, fields: &str) -> anyhow::Result<()> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: insula\r\n{fields}\r\n");
        Ok(self.0.get_mut().write_all(head.as_bytes())?)
    }

    /// Orders something, and waits until it is done.
    pub(crate) fn post(&mut self, path: &str) -> anyhow::Result<Value> {
        self.say("POST", path, "Content-Length: 0\r\n")?;
        self.answer(path)
    }

    /// Asks for JSON of a known length.
    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.ask(path, "")?;
        self.answer(path)
    }

    fn answer(&mut self, path: &str) -> anyhow::Result<Value> {
        let (mut good, mut length, mut line) = (None, None, String::new());
        loop {
            line.clear();
            anyhow::ensure!(self.0.read_line(&mut line)? > 0, "`{path}`: no answer");
            if line == "\r\n" {
                break;
            }
            good = good.or(Some(line.starts_with("HTTP/1.1 2")));
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = Some(value.trim().parse::<usize>()?);
            }
        }
        let mut body = vec![0; length.with_context(|| format!("`{path}`: no length"))?];
        self.0.read_exact(&mut body)?;
        anyhow::ensure!(good == Some(true), "`{path}`: {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body)?)
    }

    /// Reads lines until one begins so.
    pub(crate) fn until(&mut self, begin: &str) -> anyhow::Result<()> {
        let mut line = String::new();
        while !line.starts_with(begin) {
            line.clear();
            anyhow::ensure!(self.0.read_line(&mut line)? > 0, "the stream ended before `{begin}`");
        }
        Ok(())
    }
}
