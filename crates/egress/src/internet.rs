//! The outside: where names are looked up, and how an address is dialled.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::dns::{self, Answer, Kind};

/// Where the host says whom it asks for names.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Most resolvers that are asked (resolv.conf(5), `MAXNS`).
const RESOLVERS_MAX: usize = 3;
/// How long one resolver may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How often the resolvers are asked in turn.
const ROUNDS: usize = 2;
/// How long a connection may take to be opened.
const DIAL: Duration = Duration::from_secs(10);

/// An internet for tests: who answers questions, and where some addresses really are. Everything is judged by
/// the address that is asked for, never by where it is. Only a program built for tests takes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestInternet {
    /// The resolver to ask in the place of the host's.
    pub resolver: Option<SocketAddr>,
    /// Addresses, and where to connect to in their place.
    pub places: Vec<(SocketAddr, SocketAddr)>,
}

/// Why a name leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAddress {
    /// There is no such name.
    NoName,
    /// Nobody answered.
    Failed,
}

/// How an address would be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Not at all from here.
    None,
    /// It is this host.
    Own,
    /// Over a network.
    Out,
}

/// The outside.
#[derive(Debug, Default)]
pub(crate) struct Internet {
    test: Option<TestInternet>,
}

impl Internet {
    pub(crate) fn new(test: Option<TestInternet>) -> Self {
        Self { test }
    }

    /// Addresses of a name and how long they hold, in seconds.
    pub(crate) async fn lookup(&self, name: &str, kind: Kind) -> Result<(Vec<IpAddr>, u32), NoAddress> {
        let resolvers = match self.test.as_ref().and_then(|test| test.resolver) {
            Some(resolver) => vec![resolver],
            None => resolvers(Path::new(RESOLV_CONF)),
        };
        for resolver in resolvers.iter().cycle().take(resolvers.len() * ROUNDS) {
            match timeout(ANSWER, ask(*resolver, name, kind)).await {
                Ok(Ok(Answer { code: 0, addresses, ttl, .. })) => return Ok((addresses, ttl)),
                Ok(Ok(Answer { code: 3, .. })) => return Err(NoAddress::NoName),
                Ok(Ok(Answer { code, .. })) => tracing::debug!(%resolver, code, "a resolver does not answer"),
                Ok(Err(error)) => tracing::debug!(%resolver, %error, "a resolver cannot be asked"),
                Err(_) => tracing::debug!(%resolver, "a resolver takes too long"),
            }
        }
        Err(NoAddress::Failed)
    }

    /// How an address would be reached: a socket that is connected to it, without a packet being sent, has the
    /// same address itself where it is one of this host.
    pub(crate) fn way(&self, address: IpAddr) -> Way {
        if self.place(SocketAddr::new(address, 0)).is_some() {
            return Way::Out;
        }
        let any: IpAddr =
            if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let near = std::net::UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect((address, 9))?;
            socket.local_addr()
        });
        match near {
            Ok(near) if near.ip() == address => Way::Own,
            Ok(_) => Way::Out,
            Err(_) => Way::None,
        }
    }

    /// Opens a connection.
    pub(crate) async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let place = self.place(to).unwrap_or(to);
        let stream =
            timeout(DIAL, TcpStream::connect(place)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Where an address really is, in a test; port 0 asks for any.
    fn place(&self, to: SocketAddr) -> Option<SocketAddr> {
        let same = |at: &SocketAddr| at.ip() == to.ip() && (to.port() == 0 || at.port() == to.port());
        self.test.as_ref()?.places.iter().find(|(at, _)| same(at)).map(|(_, place)| *place)
    }
}

/// Whom the host asks.
fn resolvers(path: &Path) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        Some(SocketAddr::new(address.parse().ok()?, 53))
    };
    let found: Vec<_> = text.lines().filter_map(server).take(RESOLVERS_MAX).collect();
    // resolv.conf(5): without an entry, the one on this host.
    if found.is_empty() { vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53)] } else { found }
}

async fn ask(resolver: SocketAddr, name: &str, kind: Kind) -> io::Result<Answer> {
    let mut id = [0; 2];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    let question = dns::ask(u16::from_be_bytes(id), name, kind);
    let any: IpAddr =
        if resolver.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A fresh port for each question, and only the resolver's packets.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(&question).await?;
    let mut buffer = [0; dns::MESSAGE_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match dns::answer(&question, &buffer[..length]) {
            Some(answer) if answer.cut => return ask_whole(resolver, &question).await,
            Some(answer) => return Ok(answer),
            // Not an answer to this: perhaps somebody's guess.
            None => {}
        }
    }
}

/// Over TCP, where everything fits.
async fn ask_whole(resolver: SocketAddr, question: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut bytes).await?;
    dns::answer(question, &bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_says_whom_it_asks() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# x\nsearch a\nnameserver 10.0.0.2\nnameserver fd00::1\noptions x\n")
            .unwrap();
        let found: Vec<_> = resolvers(file.path()).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.2:53", "[fd00::1]:53"]);
        assert_eq!(resolvers(Path::new("/nowhere"))[0].to_string(), "127.0.0.1:53");
    }

    #[test]
    fn an_address_of_this_host_is_known_as_one() {
        let internet = Internet::default();
        assert_eq!(internet.way("127.0.0.1".parse().unwrap()), Way::Own);
        let unknown = internet.way("8.8.8.8".parse().unwrap());
        assert_ne!(unknown, Way::Own, "another's address was taken for one of this host");
    }
}
