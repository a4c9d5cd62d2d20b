//! The listeners that the parent holds, so that a connection finds somebody even while no worker lives.

use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use insula_spec::InstanceName;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::activation::Given;
use super::plan::Plan;
use crate::home::Home;

/// Connections that may wait to be accepted. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How often another free port is tried when the one picked for IPv4 is taken for IPv6.
const PICKS: u32 = 16;

/// Why a listener was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// Another program listens there.
    #[error("port {port} of `{address}` is taken, wanted for {what}")]
    Taken {
        /// For what it was wanted.
        what: String,
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// This user may not listen there.
    #[error("this user may not listen on port {port}, wanted for {what}")]
    NotAllowed {
        /// For what it was wanted.
        what: String,
        /// The port.
        port: u16,
    },
    /// It failed for another reason.
    #[error("cannot listen on `{address}` port {port}")]
    Io {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The server is being stopped and listens to nobody.
    #[error("the server is being stopped")]
    Stopping,
    /// A socket in the home could not be made.
    #[error("cannot listen on `{}`", path.display())]
    Control {
        /// The socket.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl ListenError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Taken { .. } => {
                "choose another port (`--port`, `settings.port`, `listen_tcp`), or 0 for any free one"
                    .to_owned()
            }
            Self::NotAllowed { .. } => "choose a port from 1024 upward, or run as root".to_owned(),
            Self::Io { .. } => "check the addresses of this host".to_owned(),
            Self::Stopping => "start a server once that one has ended".to_owned(),
            Self::Control { .. } => "check that this user may write to the home".to_owned(),
        }
    }
}

/// Everything the parent listens on.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// The public proxy.
    pub(crate) http: Vec<TcpListener>,
    /// Its port.
    pub(crate) port: u16,
    /// One instance each, and its port.
    pub(crate) tcp: Vec<(InstanceName, u16, TcpListener)>,
    /// The control API.
    pub(crate) control: UnixListener,
    /// For workers that gave way, about the streams that they still have.
    pub(crate) heirs: UnixListener,
    /// Whether those for the public came from a service manager: then the file has no say about them.
    pub(crate) given: bool,
}

impl Listeners {
    /// Opens all that was not given. A domain of `localhost` is served on the loopback only.
    pub(crate) fn open(plan: &Plan, home: &Home, given: Given) -> Result<Self, ListenError> {
        let addresses = addresses(&plan.domain);
        let was_given = !given.http.is_empty() || !given.tcp.is_empty();
        let (http, port) = match given.http.first() {
            Some(first) => {
                let port = first.local_addr().map_err(copied)?.port();
                (given.http, port)
            }
            None => on_all(addresses, plan.port, "the public proxy")?,
        };
        let mut tcp = given.tcp;
        for (name, port) in &plan.tcp {
            if tcp.iter().all(|(known, ..)| known != name) {
                tcp.extend(open_tcp(addresses, name, *port)?);
            }
        }
        let at = |path: PathBuf| unix(&path).map_err(|source| ListenError::Control { path, source });
        let (control, heirs) = (at(home.control_socket())?, at(home.heirs_socket())?);
        Ok(Self { http, port, tcp, control, heirs, given: was_given })
    }

    /// Those of the next plan: what both have is shared, so that what waits in its queue is not lost; only
    /// what is new is opened.
    pub(crate) fn succeed(&self, old: &Plan, new: &Plan) -> Result<Self, ListenError> {
        let addresses = addresses(&new.domain);
        let same_place = self::addresses(&old.domain) == addresses;
        let same_port = new.port == 0 || new.port == self.port || new.port == old.port;
        let (http, port) = if self.given || same_place && same_port {
            (self.http.iter().map(copy).collect::<Result<_, _>>()?, self.port)
        } else {
            on_all(addresses, new.port, "the public proxy")?
        };
        let mut tcp = Vec::new();
        for (name, port) in &new.tcp {
            let same = |known: &InstanceName, at: u16| {
                if self.given { known == name } else { same_place && at == *port }
            };
            let known = self.tcp.iter().filter(|(known, at, _)| same(known, *at));
            let shared = known.map(|(_, port, l)| Ok((name.clone(), *port, copy(l)?)));
            let shared = shared.collect::<Result<Vec<_>, ListenError>>()?;
            tcp.extend(if shared.is_empty() { open_tcp(addresses, name, *port)? } else { shared });
        }
        let copy = |l: &UnixListener| l.try_clone().map_err(copied);
        let (control, heirs) = (copy(&self.control)?, copy(&self.heirs)?);
        Ok(Self { http, port, tcp, control, heirs, given: self.given })
    }
}

type TcpPort = (InstanceName, u16, TcpListener);

fn open_tcp(addresses: [IpAddr; 2], name: &InstanceName, port: u16) -> Result<Vec<TcpPort>, ListenError> {
    let (sockets, port) = on_all(addresses, port, &format!("`listen_tcp` of `{name}`"))?;
    Ok(sockets.into_iter().map(|socket| (name.clone(), port, socket)).collect())
}

fn copy(listener: &TcpListener) -> Result<TcpListener, ListenError> {
    listener.try_clone().map_err(copied)
}

fn copied(source: io::Error) -> ListenError {
    ListenError::Io { address: Ipv4Addr::UNSPECIFIED.into(), port: 0, source }
}

/// Whether a domain is served on the loopback only.
pub(crate) fn is_local(domain: &str) -> bool {
    domain == "localhost" || domain.ends_with(".localhost")
}

/// IPv4 and IPv6 addresses on which a domain is served.
fn addresses(domain: &str) -> [IpAddr; 2] {
    if is_local(domain) {
        [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
    } else {
        [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
    }
}

/// One listener for each address, all on the same port.
fn on_all([v4, v6]: [IpAddr; 2], port: u16, what: &str) -> Result<(Vec<TcpListener>, u16), ListenError> {
    let mut picks = 0;
    loop {
        let first = open(v4, port).map_err(|e| refusal(v4, port, what, e))?;
        let io = |source| ListenError::Io { address: v4, port, source };
        let bound = first.local_addr().map_err(io)?.port();
        picks += 1;
        match open(v6, bound) {
            Ok(second) => return Ok((vec![first, second], bound)),
            // A host without IPv6 is served on IPv4.
            Err(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => return Ok((vec![first], bound)),
            Err(Errno::ADDRINUSE) if port == 0 && picks < PICKS => {}
            Err(e) => return Err(refusal(v6, bound, what, e)),
        }
    }
}

fn refusal(address: IpAddr, port: u16, what: &str, e: Errno) -> ListenError {
    let what = what.to_owned();
    match e {
        Errno::ADDRINUSE => ListenError::Taken { what, address, port },
        Errno::ACCESS => ListenError::NotAllowed { what, port },
        e => ListenError::Io { address, port, source: e.into() },
    }
}

fn open(address: IpAddr, port: u16) -> rustix::io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(address, port))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Whoever holds the lock of the home may take the place of a socket that a dead parent left.
fn unix(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

    #[test]
    fn both_families_share_one_port_and_a_taken_one_is_named() {
        let (sockets, port) = on_all(LOOPBACK, 0, "test").unwrap();
        assert!(port > 0 && sockets.iter().all(|s| s.local_addr().unwrap().port() == port));
        let taken = on_all(LOOPBACK, port, "the test").unwrap_err();
        let text = taken.to_string();
        assert!(matches!(taken, ListenError::Taken { .. }), "{text}");
        assert!(text.contains(&port.to_string()) && text.contains("the test"), "{text}");
    }

    #[test]
    fn only_localhost_stays_on_the_loopback() {
        assert!(addresses("localhost").iter().all(IpAddr::is_loopback));
        assert!(addresses("dev.localhost").iter().all(IpAddr::is_loopback));
        for domain in ["example.org", "notlocalhost", "localhost.example.org"] {
            assert!(addresses(domain).iter().all(IpAddr::is_unspecified), "`{domain}`");
        }
    }

    #[test]
    fn a_stale_control_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        drop(unix(&path).unwrap());
        assert!(path.exists(), "a dropped listener leaves its file");
        let second = unix(&path).unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop(second);
    }
}
