//! A network of one's own that is routed: a pair of virtual interfaces between it and the host, an address that no other
//! has, and address translation on the way out. For what is not TCP; needs root.
//!
//! ```text
//! instance's network                  host's network
//!   eth0 10.213.0.2/30 ◄──veth──► insula0ad50000 10.213.0.1/30 ──forward──► uplink, under the host's address
//!   rules: what `net` allows            rules: not to siblings, not to the host, not to private ranges
//! ```
//! The interface of the host is named after its block of addresses, and the kernel takes a name once, so that two never
//! get the same one, whoever makes them. The pair ends with the network of the instance, so that nothing has to be
//! remembered. The rules of the host are about every interface with such a name, so that all installations on a
//! host share one table.

mod link;
mod pace;
mod rules;
mod wire;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::net::netlink;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub use rules::Allowed;
pub use wire::Wire;

use crate::wall::ask;

/// Names of the host's interfaces begin with it.
const PREFIX: &str = "insula";
/// Name of the interface inside.
const INSIDE: &str = "eth0";
/// Addresses of one block: its own, the host's, the instance's, that of everybody.
const BLOCK: u32 = 4;
/// Bits of the address of a block.
const BITS: u8 = 30;
/// Whether the kernel forwards at all. Also what those who change the table take in turns.
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Why a network is not routed.
#[derive(Debug, thiserror::Error)]
pub enum RoutedError {
    /// Only root can.
    #[error("routed networks need root")]
    NotRoot,
    /// The host does not forward.
    #[error("the host does not forward packets (`net.ipv4.ip_forward` is 0)")]
    NoForwarding,
    /// Every block is taken.
    #[error("every address of the range is taken")]
    Full,
    /// The kernel refused a step.
    #[error("cannot {step}")]
    Kernel {
        /// Which.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl RoutedError {
    /// What to do where the kernel lacks something.
    pub const REMEDY: &str = "the kernel needs veth, tbf and nf_tables with NAT: `modprobe -a veth sch_tbf nf_tables \
                              nft_masq nft_ct nft_reject_inet`";

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotRoot => "run the daemon as root, or choose `network = \"isolated\"`",
            Self::NoForwarding => "run `sysctl -w net.ipv4.ip_forward=1`, or choose `network = \"isolated\"`",
            Self::Full => "choose a wider `routed_range` in `[settings]`, or let instances sleep",
            Self::Kernel { .. } => Self::REMEDY,
        }
    }
}

fn failed(step: &'static str) -> impl Fn(io::Error) -> RoutedError {
    move |source| RoutedError::Kernel { step, source }
}

/// A block of addresses from which each network gets four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: u32,
    blocks: u32,
}

impl Range {
    /// The block of this many bits that begins with `first`; `None` if it has room for no network.
    #[must_use]
    pub fn new(first: Ipv4Addr, bits: u8) -> Option<Self> {
        let blocks = 1_u32.checked_shl(u32::from(BITS.checked_sub(bits)?))?;
        (bits > 0).then_some(Self { first: first.to_bits(), blocks })
    }

    /// Where its n-th network begins.
    fn block(self, n: u32) -> u32 {
        self.first + (n % self.blocks) * BLOCK
    }
}

/// The two ends of a connected network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// Name of the host's interface.
    pub name: String,
    /// Address of the host, seen from inside.
    pub host: Ipv4Addr,
    /// Address of the instance.
    pub inside: Ipv4Addr,
}

/// Whether networks can be routed here, as far as that can be told without making one.
///
/// # Errors
/// Why not.
pub fn check() -> Result<(), RoutedError> {
    if !rustix::process::geteuid().is_root() {
        return Err(RoutedError::NotRoot);
    }
    let forward = std::fs::read_to_string(FORWARD).map_err(failed("ask whether the host forwards"))?;
    if forward.trim() == "0" { Err(RoutedError::NoForwarding) } else { Ok(()) }
}

/// Judges what this owner's instance sends by other rules from now on.
///
/// # Errors
/// Those of the kernel; then the old rules hold.
pub fn judge(owner: &str, network: BorrowedFd<'_>, allowed: &Allowed) -> Result<(), RoutedError> {
    within(network, || ask(Some(netlink::NETFILTER), &rules::inside(allowed, false)))
        .map_err(failed("set the rules of an instance"))?;
    wire::pace(owner, network, allowed.rate)
}

/// Takes the interfaces of this owner away, and the table with the last one.
///
/// # Errors
/// Those of the kernel.
pub fn leave(owner: &str) -> Result<(), RoutedError> {
    sweep(|label| label == owner).map(drop)
}

/// Takes away every interface with a label that is `mine`, and the table if no interface needs it any more. Answers how
/// many there were.
///
/// # Errors
/// Those of the kernel.
pub fn sweep(mine: impl Fn(&str) -> bool) -> Result<usize, RoutedError> {
    let listed = |e| failed("list interfaces")(e);
    let gone: Vec<_> = link::all(PREFIX).map_err(listed)?.into_iter().filter(|l| mine(&l.label)).collect();
    for link in &gone {
        match link::remove(&link.name) {
            // It ended with its network.
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => {}
            done => done.map_err(failed("remove an interface"))?,
        }
    }
    // Who makes a pair waits for the turn before it is up, so that the table is there again by then.
    let turn = turn().map_err(failed("wait for a turn"))?;
    if link::all(PREFIX).map_err(listed)?.is_empty() {
        // The table, with whatever is in it; there may be none.
        rules::remove().map_err(failed("remove the rules of the host"))?;
    }
    drop(turn);
    Ok(gone.len())
}

/// Gives an address to the loopback of the calling thread's network.
pub(crate) fn add_to_loopback(address: Ipv4Addr) -> io::Result<()> {
    let mut all = crate::wall::message::Messages::default();
    link::address(&mut all, link::index("lo")?, address, 32);
    ask(None, &all)
}

/// Those who change what all share wait for each other, in whatever process they are.
fn turn() -> io::Result<OwnedFd> {
    let file = rustix::fs::open(FORWARD, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Does something in another network namespace, on a thread that ends with it.
fn within<T: Send>(network: BorrowedFd<'_>, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let there = scope.spawn(move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        });
        there.join().unwrap_or_else(|_| Err(io::Error::other("a thread broke")))
    })
}

#[cfg(test)]
mod tests;
