//! Network interfaces, over rtnetlink(7).

use std::ffi::CString;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

use crate::wall::ask;
use crate::wall::message::Messages;

/// `NLM_F_REQUEST`, and with it `NLM_F_EXCL | NLM_F_CREATE`, or `NLM_F_DUMP`.
const REQUEST: u16 = 0x1;
const FRESH: u16 = REQUEST | 0x200 | 0x400;
const DUMP: u16 = REQUEST | 0x300;
/// `RTM_NEWLINK`, `RTM_DELLINK`, `RTM_GETLINK`, `RTM_NEWADDR`, `RTM_NEWROUTE`.
const NEW_LINK: u16 = 16;
const REMOVE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
/// `IFLA_IFNAME`, `IFLA_LINKINFO`, `IFLA_IFALIAS`, `IFLA_NET_NS_FD`.
const NAME: u16 = 3;
const INFO: u16 = 18;
const ALIAS: u16 = 20;
const NAMESPACE: u16 = 28;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// `AF_INET`.
const INET: u8 = 2;
/// Room for what the kernel says at once.
const BUFFER: usize = 64 << 10;

/// An interface.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) label: String,
}

/// `struct ifinfomsg`: of this interface, perhaps to be brought up.
fn info(index: i32, up: bool) -> [u8; 16] {
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    let flag = u32::from(up).to_ne_bytes();
    fixed[8..12].copy_from_slice(&flag);
    fixed[12..16].copy_from_slice(&flag);
    fixed
}

/// A pair: one end here, the other one in another network.
pub(super) fn make_pair(name: &str, inside: &str, network: BorrowedFd<'_>) -> io::Result<()> {
    let mut all = Messages::default();
    all.add((NEW_LINK, FRESH), &info(0, false), |a| {
        a.text(NAME, name).nest(INFO, |link| {
            // IFLA_INFO_KIND, IFLA_INFO_DATA with VETH_INFO_PEER
            link.bytes(1, b"veth").nest(2, |data| {
                data.nest(1, |peer| {
                    peer.raw(&info(0, false)).text(NAME, inside);
                    peer.bytes(NAMESPACE, &network.as_raw_fd().to_ne_bytes());
                });
            });
        });
    });
    ask(None, &all)
}

/// Says whose it is.
pub(super) fn label(name: &str, label: &str) -> io::Result<()> {
    let mut all = Messages::default();
    all.add((NEW_LINK, REQUEST), &info(index(name)?, false), |a| {
        a.bytes(ALIAS, label.as_bytes());
    });
    ask(None, &all)
}

/// To give an interface an address, which it may have before it is up.
pub(super) fn address(all: &mut Messages, index: i32, address: Ipv4Addr, bits: u8) {
    // `struct ifaddrmsg`
    let mut fixed = [INET, bits, 0, 0, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&index.to_ne_bytes());
    all.add((NEW_ADDRESS, FRESH), &fixed, |a| {
        // IFA_ADDRESS, IFA_LOCAL
        a.bytes(1, &address.octets()).bytes(2, &address.octets());
    });
}

/// To bring an interface up.
pub(super) fn up(all: &mut Messages, index: i32) {
    all.add((NEW_LINK, REQUEST), &info(index, true), |_| {});
}

/// To send everything else by way of this neighbour, once the interface to it is up.
pub(super) fn default_route(all: &mut Messages, by: Ipv4Addr) {
    // `struct rtmsg`: table `main`, protocol `boot`, scope `universe`, type `unicast`.
    all.add((NEW_ROUTE, FRESH), &[INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0], |a| {
        // RTA_GATEWAY
        a.bytes(5, &by.octets());
    });
}

/// Takes it away, and its other end with it.
pub(super) fn remove(name: &str) -> io::Result<()> {
    let mut all = Messages::default();
    all.add((REMOVE_LINK, REQUEST), &info(index(name)?, false), |_| {});
    ask(None, &all)
}

/// Its number, in the network that the calling thread is in.
pub(super) fn index(name: &str) -> io::Result<i32> {
    let name = CString::new(name)?;
    // SAFETY: the name ends with a zero and lives over the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    match index {
        0 => Err(io::Error::from_raw_os_error(libc::ENODEV)),
        index => i32::try_from(index).map_err(io::Error::other),
    }
}

/// Every interface whose name begins so.
pub(super) fn all(prefix: &str) -> io::Result<Vec<Link>> {
    let mut request = Messages::default();
    request.add((GET_LINK, DUMP), &info(0, false), |_| {});
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, request.as_bytes(), SendFlags::empty())?;
    let (mut buffer, mut found) = (vec![0; BUFFER], Vec::new());
    loop {
        let (n, _) = recv(socket.as_fd(), &mut buffer[..], RecvFlags::empty())?;
        let mut rest = &buffer[..n];
        while let Some((head, _)) = rest.split_first_chunk::<16>() {
            let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]);
            let length = usize::try_from(length).map_err(io::Error::other)?;
            let kind = u16::from_ne_bytes([head[4], head[5]]);
            if kind == DONE {
                return Ok(found);
            }
            let short = || io::Error::from(io::ErrorKind::InvalidData);
            let message =
                rest.get(..length).filter(|m| kind == NEW_LINK && m.len() >= 32).ok_or_else(short)?;
            found.extend(link(&message[32..]).filter(|link| link.name.starts_with(prefix)));
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// Name and label among the attributes of an interface.
fn link(mut attributes: &[u8]) -> Option<Link> {
    let (mut name, mut label) = (None, String::new());
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
    while let Some((head, _)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = attributes.get(4..length)?;
        match u16::from_ne_bytes([head[2], head[3]]) {
            NAME => name = Some(text(value)),
            ALIAS => label = text(value),
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Link { name: name?, label })
}
