//! The block of addresses that routed networks are made of.

use std::fmt;
use std::net::Ipv4Addr;

/// A block of private addresses, from which each routed network gets four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoutedRange {
    first: Ipv4Addr,
    bits: u8,
}

impl RoutedRange {
    /// What holds where nothing is said: 16,384 networks.
    pub const DEFAULT: Self = Self { first: Ipv4Addr::new(10, 213, 0, 0), bits: 16 };

    /// The block with this first address and so many bits; `None` unless it lies within a private one (RFC 1918) and has
    /// room for one network at least.
    #[must_use]
    pub fn new(first: Ipv4Addr, bits: u8) -> Option<Self> {
        let enough = match first.octets() {
            [10, ..] => 8,
            [172, ..] => 12,
            _ => 16,
        };
        (first.is_private() && (enough..=30).contains(&bits)).then_some(Self { first, bits })
    }

    /// Its first address and its bits.
    #[must_use]
    pub fn block(self) -> (Ipv4Addr, u8) {
        (self.first, self.bits)
    }
}

impl fmt::Display for RoutedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_blocks_will_do() {
        let of = |text: &str, bits| RoutedRange::new(text.parse().unwrap(), bits).map(|r| r.to_string());
        assert_eq!(of("10.0.0.0", 8).as_deref(), Some("10.0.0.0/8"));
        assert_eq!(of("192.168.4.0", 30).as_deref(), Some("192.168.4.0/30"));
        for (text, bits) in
            [("10.0.0.0", 7), ("10.0.0.0", 31), ("172.16.0.0", 11), ("93.184.216.0", 24), ("192.168.0.0", 15)]
        {
            assert_eq!(of(text, bits), None, "{text}/{bits}");
        }
    }
}
