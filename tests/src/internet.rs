//! An internet of one's own: a resolver, and servers that are said to be at public addresses.
//!
//! Everything is on the loopback. The server is told by `INSULA_TEST_INTERNET`, which only a program with debug
//! assertions looks at, where an address really is; what may be reached is judged by the address alone.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::{Options, Place};

/// Answers by name; each question takes the next one in turn.
type Zone = BTreeMap<String, Vec<Vec<IpAddr>>>;

/// The internet of one test.
#[derive(Debug)]
pub struct Internet {
    resolver: SocketAddr,
    places: Vec<(SocketAddr, SocketAddr)>,
    zone: Arc<Mutex<Zone>>,
}

impl Internet {
    /// One with a resolver that knows no name.
    #[must_use]
    pub fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (resolver, zone) = (socket.local_addr().unwrap(), Arc::new(Mutex::new(Zone::new())));
        let known = Arc::clone(&zone);
        thread::spawn(move || answer_all(&socket, &known));
        Self { resolver, places: Vec::new(), zone }
    }

    /// Gives a name addresses: those of the first list at the first question, and so on, the last for ever.
    pub fn name(&self, name: &str, answers: &[&[&str]]) {
        let parse = |list: &&[&str]| list.iter().map(|a| a.parse().unwrap()).collect();
        self.zone.lock().unwrap().insert(name.to_owned(), answers.iter().map(parse).collect());
    }

    /// A server at this address. It says `hello from WHO`, then repeats what it hears.
    pub fn server(&mut self, at: &str, who: &'static str) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.places.push((at.parse().unwrap(), listener.local_addr().unwrap()));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || repeat(stream, who));
            }
        });
    }

    /// A server of HTTP at this address that sends every client elsewhere.
    pub fn redirect(&mut self, at: &str, location: &str) {
        self.http(at, &format!("302 Found\r\nLocation: {location}"), "");
    }

    /// A server of HTTP at this address that says `hello from WHO`.
    pub fn page(&mut self, at: &str, who: &str) {
        self.http(at, "200 OK", &format!("hello from {who}"));
    }

    fn http(&mut self, at: &str, head: &str, body: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.places.push((at.parse().unwrap(), listener.local_addr().unwrap()));
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                // A client that has gone concerns nobody else.
                if stream.read(&mut [0; 4096]).is_ok() {
                    drop(stream.write_all(answer.as_bytes()));
                }
            }
        });
    }

    /// Where the server at this address really is.
    #[must_use]
    pub fn place(&self, at: &str) -> SocketAddr {
        let at: SocketAddr = at.parse().unwrap();
        self.places.iter().find(|(said, _)| *said == at).unwrap().1
    }

    /// A server told about this internet.
    #[must_use]
    pub fn options(&self, place: &Place) -> Options {
        let file = place.path().join("internet.json");
        let text = serde_json::json!({ "resolver": self.resolver, "places": self.places });
        std::fs::write(&file, text.to_string()).unwrap();
        let env = vec![("INSULA_TEST_INTERNET".to_owned(), file.to_str().unwrap().to_owned())];
        Options { env, ..Options::default() }
    }
}

fn repeat(mut stream: TcpStream, who: &str) {
    if stream.write_all(format!("hello from {who}\n").as_bytes()).is_err() {
        return;
    }
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

fn answer_all(socket: &UdpSocket, zone: &Mutex<Zone>) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let answer = answer(&buffer[..length], &mut zone.lock().unwrap());
        drop(socket.send_to(&answer, from));
    }
}

/// A message of RFC 1035, made by hand: the claims must not rest on the code that they are about.
fn answer(question: &[u8], zone: &mut Zone) -> Vec<u8> {
    let (mut at, mut labels) = (12, Vec::new());
    while question[at] != 0 {
        let length = usize::from(question[at]);
        labels.push(String::from_utf8(question[at + 1..=at + length].to_vec()).unwrap());
        at += length + 1;
    }
    let v6 = question[at + 2] == 28;
    let end = at + 5;
    let mut found = Vec::new();
    let known = zone.get_mut(&labels.join("."));
    let code = if known.is_some() { 0 } else { 3 };
    if let Some(answers) = known {
        found = answers[0].iter().copied().filter(|a| a.is_ipv6() == v6).collect();
        // Only a question that was answered counts: programs ask for both families.
        if answers.len() > 1 && !found.is_empty() {
            answers.remove(0);
        }
    }
    let mut bytes = question[..2].to_vec();
    bytes.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(found.len()).unwrap(), 0, 0, 0, 0]);
    bytes.extend(&question[12..end]);
    for address in found {
        let octets = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        // Holds for 300 seconds.
        bytes.extend([0xc0, 12, 0, if v6 { 28 } else { 1 }, 0, 1, 0, 0, 1, 44, 0]);
        bytes.push(u8::try_from(octets.len()).unwrap());
        bytes.extend(octets);
    }
    bytes
}

impl Default for Internet {
    fn default() -> Self {
        Self::new()
    }
}
