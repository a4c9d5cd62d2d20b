//! The wire between a network and the host: laid ahead, with both ends down; opened when it is known for whom.
//!
//! ```text
//! lay ──► Wire: named, labelled, addresses given, both ends down ──open──► rules of the instance ──► its end up
//!                      │                                                         ──► rules of the host ──► its end up
//!                      └── the network ends, or `leave`: the wire is gone
//! ```

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::netlink;

use super::within;
use super::{
    Allowed, BITS, Ends, INSIDE, PREFIX, Range, RoutedError, check, failed, link, pace, rules, turn,
};
use crate::wall::message::Messages;
use crate::wall::{ask, ask_on, open};

/// A pair of interfaces between a network and the host that leads nowhere yet. It ends with the network; dropping it
/// leaves it as it is, and [`super::leave`] takes it away.
#[derive(Debug)]
pub struct Wire {
    ends: Ends,
    inside: Inside,
}

/// Ways to ask the kernel about the network of the instance without going there.
#[derive(Debug)]
struct Inside {
    index: i32,
    links: OwnedFd,
    rules: OwnedFd,
}

impl Wire {
    /// Lays one to a network that has nothing but a loopback. `owner` is found again by [`super::leave`] and
    /// [`super::sweep`].
    ///
    /// # Errors
    /// What is missing. The interface is taken away again.
    pub fn lay(range: Range, owner: &str, network: BorrowedFd<'_>) -> Result<Self, RoutedError> {
        check()?;
        let ends = make(range, network)?;
        let laid = prepare(&ends, owner, network);
        if laid.is_err() {
            // The error that is told is the first one.
            drop(link::remove(&ends.name));
        }
        Ok(Self { inside: laid?, ends })
    }

    /// Its two ends.
    #[must_use]
    pub fn ends(&self) -> &Ends {
        &self.ends
    }

    /// Lets packets through. Everything that the instance may reach is in force before its interface is up.
    ///
    /// # Errors
    /// What is missing. The interface is taken away again.
    pub fn open(self, allowed: &Allowed) -> Result<Ends, RoutedError> {
        check()?;
        let opened = self.connect(allowed);
        if opened.is_err() {
            // The error that is told is the first one.
            drop(link::remove(&self.ends.name));
        }
        opened.map(|()| self.ends)
    }

    fn connect(&self, allowed: &Allowed) -> Result<(), RoutedError> {
        let Inside { index, links, rules: filter } = &self.inside;
        ask_on(filter, &rules::inside(allowed, true)).map_err(failed("set the rules of the instance"))?;
        let host = link::index(&self.ends.name).map_err(failed("find the interface of the host"))?;
        if allowed.rate.is_some() {
            bound((links, *index), host, allowed.rate)?;
        }
        let mut all = Messages::default();
        link::up(&mut all, *index);
        link::default_route(&mut all, self.ends.host);
        ask_on(links, &all).map_err(failed("set up the interface of the instance"))?;
        let turn = turn().map_err(failed("wait for a turn"))?;
        rules::host().map_err(failed("set the rules of the host"))?;
        drop(turn);
        let mut all = Messages::default();
        link::up(&mut all, host);
        ask(None, &all).map_err(failed("set up the interface of the host"))
    }
}

/// Bounds what each end of a wire sends: the one inside, by a way that leads there, and the one of the host.
fn bound(inside: (&OwnedFd, i32), host: i32, rate: Option<u64>) -> Result<(), RoutedError> {
    let both = || {
        pace::bound(inside.0, inside.1, rate)?;
        pace::bound(&open(None)?, host, rate)
    };
    both().map_err(failed("bound what goes over an interface"))
}

/// Bounds what goes over the wire of this owner, which is open.
pub(super) fn pace(owner: &str, network: BorrowedFd<'_>, rate: Option<u64>) -> Result<(), RoutedError> {
    let all = link::all(PREFIX).map_err(failed("list interfaces"))?;
    let own = all.iter().find(|link| link.label == owner);
    let own = own.ok_or_else(|| failed("find the interface of the host")(io::ErrorKind::NotFound.into()))?;
    let host = link::index(&own.name).map_err(failed("find the interface of the host"))?;
    let inside = within(network, || Ok((open(None)?, link::index(INSIDE)?)));
    let (links, index) = inside.map_err(failed("enter the network of the instance"))?;
    bound((&links, index), host, rate)
}

/// Makes the pair, with the first free name from where the last one was found.
fn make(range: Range, network: BorrowedFd<'_>) -> Result<Ends, RoutedError> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..range.blocks {
        let block = range.block(NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("{PREFIX}{block:08x}");
        match link::make_pair(&name, INSIDE, network) {
            Ok(()) => {
                let (host, inside) = (Ipv4Addr::from_bits(block + 1), Ipv4Addr::from_bits(block + 2));
                return Ok(Ends { name, host, inside });
            }
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
            Err(e) => return Err(failed("make a pair of interfaces")(e)),
        }
    }
    Err(RoutedError::Full)
}

/// Labels and addresses: what is the same whoever will be inside.
fn prepare(ends: &Ends, owner: &str, network: BorrowedFd<'_>) -> Result<Inside, RoutedError> {
    link::label(&ends.name, owner).map_err(failed("label an interface"))?;
    let mut all = Messages::default();
    let host = link::index(&ends.name).map_err(failed("find the interface of the host"))?;
    link::address(&mut all, host, ends.host, BITS);
    ask(None, &all).map_err(failed("set up the interface of the host"))?;
    let inside = within(network, || {
        let inside = Inside {
            index: link::index(INSIDE)?,
            links: open(None)?,
            rules: open(Some(netlink::NETFILTER))?,
        };
        let mut all = Messages::default();
        link::address(&mut all, inside.index, ends.inside, BITS);
        ask_on(&inside.links, &all)?;
        // Who may send echo requests (icmp(7)): everybody inside.
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
        Ok(inside)
    });
    inside.map_err(failed("set up the network of the instance"))
}
