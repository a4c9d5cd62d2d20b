//! Routed networks on a host of their own: a network namespace with a made-up internet behind it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::thread::UnshareFlags;

use super::*;
use crate::wall::message::Messages;
use crate::{fork, loopback};

/// How long what is to come may take, and how long it is waited for what is not to come.
const COMES: Duration = Duration::from_secs(10);
const NOTHING: Duration = Duration::from_millis(300);
/// A public address, and a private one, of the world outside.
const PUBLIC: &str = "93.184.216.34";
const PRIVATE: &str = "10.9.9.9";

/// Gives the calling thread, and those that it starts, a network of its own with a loopback.
fn own_network() -> OwnedFd {
    // SAFETY: only the calling thread changes its network, and it shares nothing that depends on it.
    unsafe { fork::unshare(UnshareFlags::NEWNET) }.unwrap();
    loopback::bring_up().unwrap();
    File::open("/proc/thread-self/ns/net").unwrap().into()
}

/// A network that lives as long as its descriptor.
fn network() -> OwnedFd {
    std::thread::spawn(own_network).join().unwrap()
}

/// Does something on a host of its own; nothing, as an ordinary user.
fn on_a_host(test: impl FnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        let line =
            format!("SKIPPED {}: only root makes routed networks\n", std::thread::current().name().unwrap());
        return std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    let host = std::thread::spawn(move || {
        drop(own_network());
        assert!(matches!(check(), Err(RoutedError::NoForwarding)), "a new network does not forward");
        std::fs::write(FORWARD, "1").unwrap();
        test();
    });
    host.join().unwrap();
}

fn range() -> Range {
    Range::new("10.213.0.0".parse().unwrap(), 16).unwrap()
}

fn public() -> Allowed {
    Allowed { public: true, ..Allowed::default() }
}

/// Only this block.
fn only(first: &str, bits: u8, port: Option<u16>) -> Allowed {
    Allowed { blocks: vec![(first.parse().unwrap(), bits, port)], ..Allowed::default() }
}

/// Lays a wire and opens it.
fn join(owner: &str, network: &OwnedFd, allowed: &Allowed) -> Ends {
    Wire::lay(range(), owner, network.as_fd()).unwrap().open(allowed).unwrap()
}

/// Gives an interface of the calling thread's network an address, and brings it up.
fn up(name: &str, address: &str, bits: u8) -> io::Result<()> {
    let mut all = Messages::default();
    link::address(&mut all, link::index(name)?, address.parse().unwrap(), bits);
    link::up(&mut all, link::index(name)?);
    crate::wall::ask(None, &all)
}

/// A world behind an uplink, whose addresses answer packets at port 9.
fn world() -> OwnedFd {
    let world = network();
    link::make_pair("up", "down", world.as_fd()).unwrap();
    up("up", "198.19.0.1", 30).unwrap();
    within(world.as_fd(), || {
        for (address, bits) in [("198.19.0.2", 30), (PUBLIC, 32), (PRIVATE, 32)] {
            up("down", address, bits)?;
        }
        Ok(())
    })
    .unwrap();
    let mut all = Messages::default();
    link::default_route(&mut all, "198.19.0.2".parse().unwrap());
    crate::wall::ask(None, &all).unwrap();
    echo(&world, PUBLIC);
    echo(&world, PRIVATE);
    world
}

/// Answers packets to this address of a network, with the one that they came from.
fn echo(network: &OwnedFd, at: &str) {
    let mut socket = None;
    within(network.as_fd(), || {
        socket = Some(UdpSocket::bind((at, 9))?);
        Ok(())
    })
    .unwrap();
    let socket = socket.unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            // Who asked may be gone.
            drop(socket.send_to(from.to_string().as_bytes(), from));
        }
    });
}

/// Sends a packet from a network; whom the answer names as its sender.
fn ask(network: &OwnedFd, to: &str, port: u16, patience: Duration) -> io::Result<SocketAddr> {
    let to = format!("{to}:{port}");
    let mut said = None;
    within(network.as_fd(), || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(patience))?;
        socket.connect(&to)?;
        socket.send(b"x")?;
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer)?;
        said = std::str::from_utf8(&buffer[..length]).ok().and_then(|text| text.parse().ok());
        Ok(())
    })?;
    said.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[test]
fn a_range_has_whole_networks() {
    let range = Range::new("10.213.0.0".parse().unwrap(), 29).unwrap();
    let blocks: Vec<_> = (0..3).map(|n| Ipv4Addr::from_bits(range.block(n)).to_string()).collect();
    assert_eq!(blocks, ["10.213.0.0", "10.213.0.4", "10.213.0.0"]);
    assert_eq!(Range::new("10.0.0.0".parse().unwrap(), 31), None);
    assert_eq!(Range::new("0.0.0.0".parse().unwrap(), 0), None);
}

#[test]
fn packets_go_out_under_the_hosts_address_and_nowhere_else() {
    on_a_host(|| {
        let _world = world();
        let (one, two) = (network(), network());
        let ends = join("home one", &one, &public());
        let other = join("home two", &two, &public());
        echo(&two, &other.inside.to_string());
        assert_eq!(ask(&one, PUBLIC, 9, COMES).unwrap().ip().to_string(), "198.19.0.1");
        // Not inside, not to a sibling, not to the host. The kernel says so at once where it can.
        let (sibling, host) = (other.inside.to_string(), ends.host.to_string());
        let own = UdpSocket::bind("0.0.0.0:9").unwrap();
        own.set_read_timeout(Some(NOTHING)).unwrap();
        for to in [PRIVATE, sibling.as_str(), host.as_str(), "198.19.0.1", "169.254.169.254"] {
            let found = ask(&one, to, 9, NOTHING);
            assert!(found.is_err(), "{to}: {found:?}");
        }
        assert!(own.recv(&mut [0; 16]).is_err(), "the host was reached");
        // Its own rules let a private address through, and those of the host do not.
        let wide = Allowed { public: true, ..only(PRIVATE, 32, None) };
        judge("home one", one.as_fd(), &wide).unwrap();
        assert!(ask(&one, PRIVATE, 9, NOTHING).is_err());
        // The control: without the table of the host the same packets arrive.
        let all = only("0.0.0.0", 0, None);
        judge("home one", one.as_fd(), &all).unwrap();
        judge("home two", two.as_fd(), &all).unwrap();
        assert!(ask(&one, &sibling, 9, NOTHING).is_err());
        rules::remove().unwrap();
        assert_eq!(ask(&one, &sibling, 9, COMES).unwrap().ip(), ends.inside);
    });
}

#[test]
fn what_is_allowed_is_allowed_by_address_and_port_and_changes_live() {
    on_a_host(|| {
        let _world = world();
        let one = network();
        let to = |port| only(PUBLIC, 32, port);
        join("home one", &one, &to(Some(9)));
        ask(&one, PUBLIC, 9, COMES).unwrap();
        judge("home one", one.as_fd(), &to(Some(10))).unwrap();
        assert!(ask(&one, PUBLIC, 9, NOTHING).is_err());
        judge("home one", one.as_fd(), &to(None)).unwrap();
        ask(&one, PUBLIC, 9, COMES).unwrap();
        judge("home one", one.as_fd(), &Allowed::default()).unwrap();
        assert!(ask(&one, PUBLIC, 9, NOTHING).is_err());
    });
}

#[test]
fn two_hundred_networks_made_at_once_have_no_address_twice_and_leave_nothing() {
    on_a_host(|| {
        let all: Vec<_> = std::thread::scope(|scope| {
            let some = |owner: usize| {
                move || -> Vec<_> {
                    let one = || {
                        let network = network();
                        (join(&format!("home{owner} key"), &network, &public()), network)
                    };
                    (0..50).map(|_| one()).collect()
                }
            };
            let threads: Vec<_> = (0..4).map(|owner| scope.spawn(some(owner))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let addresses: BTreeSet<_> = all.iter().flat_map(|(ends, _)| [ends.host, ends.inside]).collect();
        assert_eq!(addresses.len(), 400);
        assert_eq!(link::all(PREFIX).unwrap().len(), 200);
        assert_eq!(sweep(|label| label.starts_with("home1 ")).unwrap(), 50);
        leave("home2 key").unwrap();
        assert_eq!(link::all(PREFIX).unwrap().len(), 100);
        // The others end with their networks, whoever held them.
        drop(all);
        let deadline = std::time::Instant::now() + COMES;
        while !link::all(PREFIX).unwrap().is_empty() {
            assert!(std::time::Instant::now() < deadline, "they do not end with their networks");
            std::thread::yield_now();
        }
        // With the last one the table goes.
        sweep(|_| false).unwrap();
        assert!(!rules::is_there().unwrap());
    });
}

#[test]
fn a_wire_that_waits_leads_nowhere_and_ends_with_its_network() {
    on_a_host(|| {
        let _world = world();
        let (one, two) = (network(), network());
        let wire = Wire::lay(range(), "home one", one.as_fd()).unwrap();
        // There is no way out, and the kernel says so at once.
        let error = ask(&one, PUBLIC, 9, NOTHING).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH), "{error}");
        assert!(!rules::is_there().unwrap(), "a table that nobody needs yet");
        wire.open(&public()).unwrap();
        ask(&one, PUBLIC, 9, COMES).unwrap();
        drop(Wire::lay(range(), "home two", two.as_fd()).unwrap());
        assert_eq!(link::all(PREFIX).unwrap().len(), 2);
        drop(two);
        let deadline = std::time::Instant::now() + COMES;
        while link::all(PREFIX).unwrap().len() > 1 {
            assert!(std::time::Instant::now() < deadline, "it does not end with its network");
            std::thread::yield_now();
        }
    });
}

#[test]
fn rules_that_somebody_took_away_are_there_again_with_the_next_network() {
    on_a_host(|| {
        let (one, two, three) = (network(), network(), network());
        join("home one", &one, &public());
        let made = rules::generation().unwrap();
        join("home two", &two, &public());
        assert_eq!(rules::generation().unwrap(), made, "they were made again without need");
        rules::remove().unwrap();
        assert!(!rules::is_there().unwrap());
        join("home three", &three, &public());
        assert!(rules::is_there().unwrap());
    });
}

/// Bytes that come from a network to the world within this time, when it sends as much as it can.
fn carried(from: &OwnedFd, world: &OwnedFd, port: u16) -> usize {
    const PATIENCE: Duration = Duration::from_millis(700);
    let mut sink = None;
    within(world.as_fd(), || {
        sink = Some(UdpSocket::bind((PUBLIC, port))?);
        Ok(())
    })
    .unwrap();
    let sink = sink.unwrap();
    sink.set_read_timeout(Some(NOTHING)).unwrap();
    let counted = std::thread::spawn(move || {
        let (mut buffer, mut all) = ([0; 2048], 0);
        while let Ok(n) = sink.recv(&mut buffer) {
            all += n;
        }
        all
    });
    within(from.as_fd(), || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect((PUBLIC, port))?;
        let end = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < end {
            match socket.send(&[0; 1400]) {
                Ok(_) => {}
                // The queue is full.
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    })
    .unwrap();
    counted.join().unwrap()
}

#[test]
fn what_a_network_sends_is_bounded_and_the_bound_changes_live() {
    on_a_host(|| {
        let world = world();
        let one = network();
        let at = |rate| Allowed { rate, ..public() };
        join("home one", &one, &at(Some(200_000)));
        // At most what may be ahead, a second, and what waited in the queue.
        let slow = carried(&one, &world, 11);
        assert!(slow > 1400 && slow < 800_000, "{slow}");
        judge("home one", one.as_fd(), &at(None)).unwrap();
        let free = carried(&one, &world, 12);
        assert!(free > 4 * slow, "{free} bytes without a bound, {slow} with one");
        // Rates beyond 32 bits are taken, too.
        judge("home one", one.as_fd(), &at(Some(10 << 30))).unwrap();
        judge("home one", one.as_fd(), &at(Some(200_000))).unwrap();
        let again = carried(&one, &world, 13);
        assert!(again < 800_000, "{again}");
        judge("home one", one.as_fd(), &at(None)).unwrap();
        judge("home one", one.as_fd(), &at(None)).unwrap();
    });
}
