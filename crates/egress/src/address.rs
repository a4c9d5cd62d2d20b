//! Which addresses are public: reachable by everybody on the internet, and by nobody in particular.
//!
//! Source: the IANA registries of special-purpose addresses (RFC 6890 and its successors). What is not known to
//! be public is not.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Why an address is not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Special {
    /// The host itself, seen from itself.
    Loopback,
    /// Private networks, shared ones of providers included.
    Private,
    /// Neighbours on the wire, and the metadata services of clouds.
    LinkLocal,
    /// Groups.
    Multicast,
    /// Documentation, benchmarks, protocols, addresses that stand for others.
    Reserved,
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address, as those of metadata services",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
        })
    }
}

/// Blocks of IPv4 that are not public: first address, bits, why.
const V4: [([u8; 4], u32, Special); 16] = [
    ([0, 0, 0, 0], 8, Special::Reserved),
    ([10, 0, 0, 0], 8, Special::Private),
    ([100, 64, 0, 0], 10, Special::Private),
    ([127, 0, 0, 0], 8, Special::Loopback),
    ([169, 254, 0, 0], 16, Special::LinkLocal),
    ([172, 16, 0, 0], 12, Special::Private),
    ([192, 0, 0, 0], 24, Special::Reserved),
    ([192, 0, 2, 0], 24, Special::Reserved),
    ([192, 31, 196, 0], 24, Special::Reserved),
    ([192, 88, 99, 0], 24, Special::Reserved),
    ([192, 168, 0, 0], 16, Special::Private),
    ([198, 18, 0, 0], 15, Special::Reserved),
    ([198, 51, 100, 0], 24, Special::Reserved),
    ([203, 0, 113, 0], 24, Special::Reserved),
    ([224, 0, 0, 0], 4, Special::Multicast),
    ([240, 0, 0, 0], 4, Special::Reserved),
];

/// Blocks of IPv6 with a reason of their own. Beside these, only `2000::/3` is public.
const V6: [(Ipv6Addr, u32, Special); 8] = [
    (Ipv6Addr::LOCALHOST, 128, Special::Loopback),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Special::Private),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Special::Private),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Special::LinkLocal),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Special::Multicast),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Special::Reserved),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Special::Reserved),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Special::Reserved),
];

/// The address that is meant: an IPv4 one in the form of an IPv6 one (`::ffff:127.0.0.1`) is the IPv4 one.
#[must_use]
pub fn meant(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Why this address is not public; `None` if it is.
#[must_use]
pub fn special(address: IpAddr) -> Option<Special> {
    match meant(address) {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<Special> {
    let holds = |first: [u8; 4], bits: u32| {
        let mask = u32::MAX << (32 - bits);
        address.to_bits() & mask == u32::from_be_bytes(first)
    };
    V4.iter().find(|(first, bits, _)| holds(*first, *bits)).map(|(_, _, why)| *why)
}

fn special_v6(address: Ipv6Addr) -> Option<Special> {
    let holds = |first: Ipv6Addr, bits: u32| {
        let mask = u128::MAX << (128 - bits);
        address.to_bits() & mask == first.to_bits()
    };
    if let Some((_, _, why)) = V6.iter().find(|(first, bits, _)| holds(*first, *bits)) {
        return Some(*why);
    }
    if let Some(inner) = embedded(address) {
        return special_v4(inner);
    }
    (address.segments()[0] & 0xe000 != 0x2000).then_some(Special::Reserved)
}

/// The IPv4 address to which a gateway would pass on: 6to4 (RFC 3056), NAT64 (RFC 6052).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let at = |from: usize| Ipv4Addr::new(octets[from], octets[from + 1], octets[from + 2], octets[from + 3]);
    match address.segments() {
        [0x2002, ..] => Some(at(2)),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(at(12)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Special as S;

    #[test]
    fn every_way_to_the_inside_is_special_and_public_addresses_are_not() {
        for (text, why) in [
            ("127.0.0.1", Some(S::Loopback)),
            ("127.255.255.254", Some(S::Loopback)),
            ("0.0.0.0", Some(S::Reserved)),
            ("10.0.0.1", Some(S::Private)),
            ("172.15.255.255", None),
            ("172.16.0.1", Some(S::Private)),
            ("172.31.255.255", Some(S::Private)),
            ("172.32.0.0", None),
            ("192.168.1.1", Some(S::Private)),
            ("100.64.0.1", Some(S::Private)),
            ("100.128.0.1", None),
            ("169.254.169.254", Some(S::LinkLocal)),
            ("224.0.0.1", Some(S::Multicast)),
            ("255.255.255.255", Some(S::Reserved)),
            ("8.8.8.8", None),
            ("93.184.216.34", None),
            ("::", Some(S::Reserved)),
            ("::1", Some(S::Loopback)),
            ("::ffff:127.0.0.1", Some(S::Loopback)),
            ("::ffff:8.8.8.8", None),
            ("::127.0.0.1", Some(S::Reserved)),
            ("64:ff9b::10.0.0.1", Some(S::Private)),
            ("64:ff9b::8.8.8.8", None),
            ("64:ff9b:1::1", Some(S::Reserved)),
            ("2002:7f00:1::", Some(S::Loopback)),
            ("2002:a9fe:a9fe::1", Some(S::LinkLocal)),
            ("2002:808:808::1", None),
            ("2001::1", Some(S::Reserved)),
            ("2001:db8::1", Some(S::Reserved)),
            ("2001:4860:4860::8888", None),
            ("2606:2800:220:1::1", None),
            ("fd00:ec2::254", Some(S::Private)),
            ("fe80::1", Some(S::LinkLocal)),
            ("fec0::1", Some(S::Private)),
            ("ff02::1", Some(S::Multicast)),
            ("4000::1", Some(S::Reserved)),
            ("100::1", Some(S::Reserved)),
        ] {
            assert_eq!(special(text.parse().unwrap()), why, "{text}");
        }
    }
}
