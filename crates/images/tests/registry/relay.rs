//! A way to a registry that does what it likes with what passes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Whether an answer is that of a big blob.
const BIG: usize = 1 << 20;

/// What it does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    /// Nothing.
    Pass,
    /// It cuts the first big answer after so many bytes.
    CutOnce(usize),
    /// It cuts every big answer after so many bytes, and passes nothing behind them any more.
    CutAll(usize),
    /// It changes the last byte of what is asked for with this in its path.
    Bend(&'static str),
    /// It changes this byte of a big answer.
    BendBig(usize),
    /// It answers with this in the path without end.
    Endless(&'static str),
    /// It wants a token, gives one for a password, and says that blobs are at another port.
    Tokens { blobs_at: u16 },
    /// It says nothing.
    Silent,
    /// It redirects to itself.
    Redirects,
    /// It redirects there.
    RedirectTo(&'static str),
}

/// A relay on the loopback, in threads of its own that end with the test.
pub(crate) struct Relay {
    pub(crate) port: u16,
    state: Arc<State>,
}

struct State {
    upstream: u16,
    port: u16,
    mode: Mutex<Mode>,
    heads: Mutex<Vec<String>>,
    sent: AtomicUsize,
}

impl Relay {
    pub(crate) fn start(upstream: u16, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heads, sent) = (Mutex::default(), AtomicUsize::new(0));
        let state = Arc::new(State { upstream, port, mode: Mutex::new(mode), heads, sent });
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                // The client may go away at any time; that is what some tests are about.
                std::thread::spawn(move || drop(state.serve(stream)));
            }
        });
        Self { port, state }
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
    }

    /// The heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.state.heads.lock().unwrap().clone()
    }

    /// The first bytes that were asked for by range.
    pub(crate) fn ranges(&self) -> Vec<u64> {
        let from = |head: &String| {
            let (_, rest) = head.split_once("range: bytes=")?;
            rest.split('-').next()?.parse().ok()
        };
        self.heads().iter().filter_map(from).collect()
    }

    /// Bytes of all answers so far.
    pub(crate) fn sent(&self) -> usize {
        self.state.sent.load(Ordering::SeqCst)
    }
}

impl State {
    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let head = read_head(&mut client)?;
        self.heads.lock().unwrap().push(head.clone());
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let mode = *self.mode.lock().unwrap();
        match mode {
            Mode::Silent => return client.read(&mut [0]).map(|_| ()),
            Mode::Redirects => return redirect(&mut client, &path),
            Mode::RedirectTo(place) => return redirect(&mut client, place),
            Mode::Endless(part) if path.contains(part) => return endless(&mut client),
            Mode::Tokens { .. } if path.starts_with("/token") => {
                return self.token(&mut client, &head, &path);
            }
            Mode::Tokens { .. } if !head.contains("Bearer t0ken") => return self.challenge(&mut client),
            Mode::Tokens { blobs_at } if path.contains("/blobs/") => {
                return redirect(&mut client, &format!("http://127.0.0.1:{blobs_at}{path}"));
            }
            _ => {}
        }
        let mut answer = self.ask(&head)?;
        let start = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
        let big = answer.len() > BIG;
        match mode {
            Mode::CutOnce(at) if big => {
                answer.truncate(at);
                *self.mode.lock().unwrap() = Mode::Pass;
            }
            Mode::CutAll(at) if big || head.contains("range: ") => {
                answer.truncate(if head.contains("range: ") { start } else { at });
            }
            Mode::Bend(part) if path.contains(part) && answer.len() > start => {
                *answer.last_mut().unwrap() ^= 1
            }
            Mode::BendBig(at) if big => answer[at] ^= 1,
            _ => {}
        }
        self.sent.fetch_add(answer.len(), Ordering::SeqCst);
        client.write_all(&answer)?;
        client.shutdown(Shutdown::Write)
    }

    /// The whole answer of the registry.
    fn ask(&self, head: &str) -> std::io::Result<Vec<u8>> {
        let mut upstream = TcpStream::connect(("127.0.0.1", self.upstream))?;
        let mut lines: Vec<_> = head.trim_end().lines().filter(|line| !line.contains("Bearer")).collect();
        lines.push("connection: close");
        upstream.write_all((lines.join("\r\n") + "\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer)?;
        Ok(answer)
    }

    fn challenge(&self, client: &mut TcpStream) -> std::io::Result<()> {
        let realm = format!("http://127.0.0.1:{}/token", self.port);
        let head = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n";
        write!(client, "{head}WWW-Authenticate: Bearer realm=\"{realm}\",service=\"a b\"\r\n\r\n")
    }

    fn token(&self, client: &mut TcpStream, head: &str, path: &str) -> std::io::Result<()> {
        let right = head.contains("Basic ") && path.contains("scope=repository:team/app:pull&service=a%20b");
        let (status, body) =
            if right { ("200 OK", r#"{"token":"t0ken"}"#) } else { ("401 Unauthorized", "") };
        write!(
            client,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

fn redirect(client: &mut TcpStream, to: &str) -> std::io::Result<()> {
    let head = "HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\nConnection: close\r\n";
    write!(client, "{head}Location: {to}\r\n\r\n")
}

fn endless(client: &mut TcpStream) -> std::io::Result<()> {
    write!(client, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    loop {
        write!(client, "10000\r\n{}\r\n", " ".repeat(0x10000))?;
    }
}

fn read_head(client: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
