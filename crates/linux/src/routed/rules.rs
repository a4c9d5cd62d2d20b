//! The rules of routed networks, for `nf_tables`.
//!
//! ```text
//! host: table inet insula                                   instance: table inet insula
//!   chain input   from insula*: drop                             chain out
//!   chain forward from insula* to insula*: drop                       to the loopback: accept
//!                 from insula* to what is not public: reject       to what `net` allows: accept
//!                 from insula*, IPv6: reject                       reject
//!                 to insula*: accept what is known, drop
//!   chain leave   from insula*: masquerade
//! ```
//! The host's rules hold whatever the instance does to its own.

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use rustix::net::{RecvFlags, SendFlags, netlink, recv, send};

use super::PREFIX;
use crate::wall::message::Messages;
use crate::wall::rules::{
    ACCEPT, FAMILIES, FAMILY, Match, OUTPUT, PROTOCOL, PROTOCOLS, TRANSPORT, Verdict, begin, chain, end,
    get_generation, loopback, rule, table,
};
use crate::wall::{ask, open};

/// `NF_INET_LOCAL_IN`, `NF_INET_FORWARD`, `NF_INET_POST_ROUTING`.
const INPUT: i32 = 1;
const FORWARD: i32 = 2;
const LEAVE: i32 = 4;
/// `NF_DROP`.
const DROP: i32 = 0;
/// `NFT_META_IIFNAME`, `NFT_META_OIFNAME`.
const FROM: i32 = 6;
const TO: i32 = 7;
/// Where the destination is in a header of IPv4.
const DESTINATION: i32 = 16;
/// What is not public in IPv4 (RFC 6890 and its successors): first address, bits.
const SPECIAL: [([u8; 4], u8); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 3),
];

/// What an instance may reach. What is not public is out of reach, whatever is here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed {
    /// Every public address.
    pub public: bool,
    /// Blocks of addresses: the first one, bits, and the only port of TCP and UDP where there is one.
    pub blocks: Vec<(Ipv4Addr, u8, Option<u16>)>,
    /// Bytes a second that it may send, and again that it may receive; `None` for no bound.
    pub rate: Option<u64>,
}

fn to(first: [u8; 4], bits: u8) -> Match<'static> {
    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
    Match::Masked { offset: DESTINATION, value: first, mask: mask.to_be_bytes() }
}

/// Makes the table of the host what it is to be, unless it is. Whoever calls this has the turn.
pub(super) fn host() -> io::Result<()> {
    /// The network whose table this process made last, and the generation of its rules since.
    static MADE: Mutex<Option<(u64, u32)>> = Mutex::new(None);
    let here = std::fs::metadata("/proc/thread-self/ns/net")?.ino();
    // What is under the lock is one value.
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if *made == Some((here, generation()?)) {
        return Ok(());
    }
    make_host()?;
    *made = Some((here, generation()?));
    Ok(())
}

/// How often the rules of the calling thread's network were changed, whoever did it.
pub(super) fn generation() -> io::Result<u32> {
    let mut all = Messages::default();
    get_generation(&mut all);
    let socket = open(Some(netlink::NETFILTER))?;
    send(&socket, all.as_bytes(), SendFlags::empty())?;
    let mut answer = [0; 256];
    let (n, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    // Two headers, and first of all the number: NFT_MSG_NEWGEN with NFTA_GEN_ID.
    let told = answer[..n].get(24..28).filter(|_| answer[4] == 15 && answer[22..24] == [1, 0]);
    let told = told.and_then(|number| number.try_into().ok());
    told.map(u32::from_be_bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Makes the table of the host, in place of one that is there, in one step.
fn make_host() -> io::Result<()> {
    let mut all = Messages::default();
    begin(&mut all);
    table(&mut all, 2);
    table(&mut all, 0);
    let (v4, v6) = (Match::Meta(FAMILY, FAMILIES.0), Match::Meta(FAMILY, FAMILIES.1));
    let (from, to_one) = (Match::Begins(FROM, PREFIX.as_bytes()), Match::Begins(TO, PREFIX.as_bytes()));
    chain(&mut all, ("input", INPUT), ("filter", 0));
    rule(&mut all, "input", &[&from], &Verdict::Code(DROP));
    chain(&mut all, ("forward", FORWARD), ("filter", 0));
    rule(&mut all, "forward", &[&from, &to_one], &Verdict::Code(DROP));
    for (first, bits) in SPECIAL {
        rule(&mut all, "forward", &[&from, &v4, &to(first, bits)], &Verdict::Reject);
    }
    rule(&mut all, "forward", &[&from, &v6], &Verdict::Reject);
    rule(&mut all, "forward", &[&to_one, &Match::Known], &Verdict::Code(ACCEPT));
    rule(&mut all, "forward", &[&to_one], &Verdict::Code(DROP));
    chain(&mut all, ("leave", LEAVE), ("nat", 100));
    rule(&mut all, "leave", &[&from], &Verdict::Masquerade);
    end(&mut all);
    ask(Some(netlink::NETFILTER), &all)
}

/// Removes the table of the host.
pub(super) fn remove() -> io::Result<()> {
    let mut all = Messages::default();
    begin(&mut all);
    table(&mut all, 2);
    end(&mut all);
    ask(Some(netlink::NETFILTER), &all)
}

/// The table of an instance, to be made in one step: in place of one that is there, or as the first one. That there is
/// none is worth knowing: the kernel takes its time over taking one away.
pub(super) fn inside(allowed: &Allowed, first: bool) -> Messages {
    let mut all = Messages::default();
    begin(&mut all);
    if !first {
        table(&mut all, 2);
        table(&mut all, 0);
    }
    chain(&mut all, ("out", OUTPUT), ("filter", 0));
    loopback(&mut all, "out", ACCEPT);
    let v4 = Match::Meta(FAMILY, FAMILIES.0);
    for (first, bits, port) in &allowed.blocks {
        let to = to(first.octets(), *bits);
        let Some(port) = port else {
            rule(&mut all, "out", &[&v4, &to], &Verdict::Code(ACCEPT));
            continue;
        };
        let at = Match::Payload { base: TRANSPORT, offset: 2, value: &port.to_be_bytes() };
        for protocol in [PROTOCOLS.0, PROTOCOLS.1] {
            let matches = [&v4, &to, &Match::Meta(PROTOCOL, protocol), &at];
            rule(&mut all, "out", &matches, &Verdict::Code(ACCEPT));
        }
    }
    if allowed.public {
        for (first, bits) in SPECIAL {
            rule(&mut all, "out", &[&v4, &to(first, bits)], &Verdict::Reject);
        }
        rule(&mut all, "out", &[&v4], &Verdict::Code(ACCEPT));
    }
    rule(&mut all, "out", &[], &Verdict::Reject);
    end(&mut all);
    all
}

/// Whether the calling thread's network has the table.
#[cfg(test)]
pub(super) fn is_there() -> io::Result<bool> {
    let mut all = Messages::default();
    // NFT_MSG_GETTABLE
    crate::wall::rules::get_table(&mut all);
    match ask(Some(netlink::NETFILTER), &all) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}
