//! The network wall: in a network namespace of its own, which has only a loopback, every outgoing TCP
//! connection and every question for a name comes to listeners in that same namespace.
//!
//! ```text
//! workload ──connect 93.184.216.34:443──► local route over lo ──► nat redirect ──► 127.0.0.1:PORT
//!          ──UDP to anything, port 53──────────────────────────► nat redirect ──► 127.0.0.1:PORT
//!          ──anything else───────────────► rejected at once
//! ```
//! The wall is the namespace: nothing leads out of it. The rules only bring what is tried to whoever holds the
//! listeners, who learns from [`original`] where it was meant to go. Without them everything fails, closed.

#[cfg_attr(not(feature = "host"), allow(dead_code, reason = "the agent builds no routed networks"))]
pub(crate) mod message;
mod original;
#[cfg_attr(not(feature = "host"), allow(dead_code, reason = "the agent builds no routed networks"))]
pub(crate) mod rules;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, listen, netlink, recv, send,
    socket_with,
};

use message::Messages;
pub use original::original;

/// Port of the listeners, TCP and UDP, on both loopback addresses: one that no service is likely to want.
pub const PORT: u16 = 64_053;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 512;
/// The loopback is the first interface of every network namespace.
const LOOPBACK: u32 = 1;
/// Errors of the kernel come back in messages of this type (`NLMSG_ERROR`).
const ERROR: u16 = 2;

/// The listeners behind the wall: TCP and UDP for IPv4, then for IPv6 where the kernel has it.
#[derive(Debug)]
pub struct Listeners(pub Vec<OwnedFd>);

/// Builds the wall in the calling process's network namespace, whose loopback is up.
///
/// # Errors
/// Those of the kernel for routes (rtnetlink(7)), rules (`nf_tables`) and sockets. Needs `CAP_NET_ADMIN` over
/// the namespace. What was done before an error stays, and leads nowhere.
pub fn build() -> io::Result<Listeners> {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    // Listeners first: rules without them would only refuse.
    let mut listeners = bound(v4)?;
    match bound(v6) {
        Ok(more) => listeners.extend(more),
        Err(e) if without_v6(&e) => {}
        Err(e) => return Err(e),
    }
    let both = listeners.len() > 2;
    route(v4)?;
    if both {
        route(v6)?;
    }
    ask(Some(netlink::NETFILTER), &rules::all(PORT))?;
    Ok(Listeners(listeners))
}

fn without_v6(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// A TCP listener and a UDP socket on this address.
fn bound(address: IpAddr) -> io::Result<Vec<OwnedFd>> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let tcp = socket_with(family, SocketType::STREAM, flags, None)?;
    let udp = socket_with(family, SocketType::DGRAM, flags, None)?;
    for socket in [&tcp, &udp] {
        bind(socket, &SocketAddr::new(address, PORT))?;
    }
    listen(&tcp, BACKLOG)?;
    Ok(vec![tcp, udp])
}

/// Makes every address of this family a local one, seen from the loopback.
fn route(source: IpAddr) -> io::Result<()> {
    // RTM_NEWROUTE with NLM_F_REQUEST | NLM_F_EXCL | NLM_F_CREATE.
    let (kind, flags) = (24, 0x1 | 0x200 | 0x400);
    let (family, octets) = match source {
        IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec()),
    };
    let family = u8::try_from(family).unwrap_or_default();
    // `struct rtmsg`: table `local`, protocol `boot`, scope `host`, type `local`.
    let fixed = [family, 0, 0, 0, 255, 3, 254, 2, 0, 0, 0, 0];
    let mut all = Messages::default();
    all.add((kind, flags), &fixed, |a| {
        // RTA_OIF, RTA_PREFSRC
        a.bytes(4, &LOOPBACK.to_ne_bytes()).bytes(7, &octets);
    });
    // NETLINK_ROUTE is protocol 0.
    ask(None, &all)
}

/// Sends messages and tells the first error. The kernel has carried them out when the sending returns, and
/// without a request for it answers nothing but errors.
pub(crate) fn ask(protocol: Option<rustix::net::Protocol>, messages: &Messages) -> io::Result<()> {
    ask_on(&open(protocol)?, messages)
}

/// A way to ask the kernel about the network that the calling thread is in now, wherever it is later.
pub(crate) fn open(protocol: Option<rustix::net::Protocol>) -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?)
}

/// The same as [`ask`], by a way that is there.
pub(crate) fn ask_on(socket: &OwnedFd, messages: &Messages) -> io::Result<()> {
    send(socket, messages.as_bytes(), SendFlags::empty())?;
    let mut buffer = [0u8; 8192];
    loop {
        match recv(socket.as_fd(), &mut buffer, RecvFlags::DONTWAIT) {
            Ok((n, _)) => answer(&buffer[..n])?,
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// The first error in an answer.
fn answer(mut bytes: &[u8]) -> io::Result<()> {
    let short = || io::Error::from(io::ErrorKind::InvalidData);
    while !bytes.is_empty() {
        let head = bytes.first_chunk::<20>().ok_or_else(short)?;
        let length =
            usize::try_from(u32::from_ne_bytes([head[0], head[1], head[2], head[3]])).map_err(|_| short())?;
        let code = i32::from_ne_bytes([head[16], head[17], head[18], head[19]]);
        if u16::from_ne_bytes([head[4], head[5]]) == ERROR && code != 0 {
            return Err(io::Error::from_raw_os_error(-code));
        }
        bytes = bytes.get(length.next_multiple_of(4).max(20)..).unwrap_or_default();
    }
    Ok(())
}
