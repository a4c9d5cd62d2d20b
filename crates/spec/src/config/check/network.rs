//! Domain names, address blocks, paths of URLs, and what may be reached outside.

use std::net::IpAddr;

use super::super::kind::ProblemKind;
use super::super::raw::{RawService, RawSize};
use super::super::read::Given;
use super::Check;
use crate::{ByteSize, Caller, NetPolicy, NetRule, ReachableFrom, RoutedRange, parse_bytes};

/// Least and most bytes a second that can be asked for.
const BANDWIDTH_MIN: ByteSize = ByteSize(1 << 10);
const BANDWIDTH_MAX: ByteSize = ByteSize(1 << 40);
/// Longest DNS name as text (RFC 1035, section 2.3.4), less the two labels of 63 that go in front.
const DOMAIN_MAX: usize = 253 - 2 * 64;

/// A DNS name in lower case; `None` when it is none.
pub(in crate::config) fn domain_name(text: &str) -> Option<String> {
    let name = text.to_ascii_lowercase();
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.len() <= 63
            && bytes.iter().all(|&b| word(b) || b == b'-')
            && bytes.first().is_some_and(|&b| word(b))
            && bytes.last().is_some_and(|&b| word(b))
    };
    let good = name.len() <= DOMAIN_MAX && name.split('.').all(label) && name.parse::<IpAddr>().is_err();
    good.then_some(name)
}

impl Check<'_> {
    /// A DNS name, in lower case.
    pub(super) fn domain(&mut self, given: &Given<String>) -> String {
        domain_name(&given.value).unwrap_or_else(|| {
            self.problem(&given.at, ProblemKind::Domain(given.value.clone()));
            given.value.clone()
        })
    }

    /// An address block in its canonical form, `10.0.0.0/8`.
    pub(super) fn cidr(&mut self, given: &Given<String>) -> Option<String> {
        let (address, prefix) = given.value.split_once('/').unwrap_or((&given.value, ""));
        let parsed = address.parse::<IpAddr>().ok().and_then(|address| {
            let most: u32 = if address.is_ipv4() { 32 } else { 128 };
            let digits = prefix.bytes().all(|b| b.is_ascii_digit());
            let length = if given.value.contains('/') { prefix.parse().ok()? } else { most };
            (digits && length <= most).then_some((address, length, most))
        });
        let Some((address, length, most)) = parsed else {
            self.problem(&given.at, ProblemKind::Cidr(given.value.clone()));
            return None;
        };
        let first = first_address(address, length);
        let block = format!("{first}/{length}");
        if first != address {
            let (text, single) = (given.value.clone(), format!("{address}/{most}"));
            self.problem(&given.at, ProblemKind::CidrHostBits { text, block, single });
            return None;
        }
        if length == 0 {
            self.note(&given.at, &format!("`{block}` lets every client choose the address it is seen under"));
        }
        Some(block)
    }

    /// What routed networks get their addresses from.
    pub(super) fn routed_range(&mut self, given: Option<&Given<String>>) -> RoutedRange {
        let Some(given) = given else { return RoutedRange::DEFAULT };
        let parts = |text: &str| {
            let (first, bits) = text.split_once('/')?;
            RoutedRange::new(first.parse().ok()?, bits.parse().ok()?)
        };
        let canonical = self.cidr(given);
        match canonical.as_deref().map(parts) {
            Some(Some(range)) => range,
            Some(None) => {
                self.problem(&given.at, ProblemKind::RoutedRange(given.value.clone()));
                RoutedRange::DEFAULT
            }
            None => RoutedRange::DEFAULT,
        }
    }

    /// What a service may reach outside. Where a rule is malformed, nothing.
    pub(super) fn net(&mut self, raw: &RawService) -> NetPolicy {
        let Some(given) = &raw.net else { return NetPolicy::default() };
        if raw.network.as_ref().is_some_and(|network| network.value == "host") {
            self.problem(&given.at, ProblemKind::NetOfHost);
        }
        let routed = raw.network.as_ref().is_some_and(|network| network.value == "routed");
        let mut rules = Vec::new();
        for one in &given.value {
            match one.value.parse::<NetRule>() {
                Ok(rule) if rules.contains(&rule) => {
                    self.problem(&one.at, ProblemKind::ListedTwice(one.value.clone()));
                }
                Ok(NetRule::Name { .. } | NetRule::Instance { .. }) if routed => {
                    self.problem(&one.at, ProblemKind::NetOfRouted(one.value.clone()));
                }
                Ok(rule) => rules.push(rule),
                Err(e) => self.problem(&one.at, ProblemKind::Net(e)),
            }
        }
        NetPolicy::new(rules).unwrap_or_else(|e| {
            self.problem(&given.at, ProblemKind::Net(e));
            NetPolicy::none()
        })
    }

    /// Bytes a second, each way.
    pub(super) fn bandwidth(&mut self, raw: &RawService) -> Option<ByteSize> {
        let given = raw.bandwidth_limit.as_ref()?;
        if raw.network.as_ref().is_some_and(|network| network.value == "host") {
            self.problem(&given.at, ProblemKind::BandwidthOfHost);
        }
        let RawSize(text) = &given.value;
        match parse_bytes(text) {
            Ok(rate) if (BANDWIDTH_MIN..=BANDWIDTH_MAX).contains(&rate) => return Some(rate),
            Ok(_) => {
                let (min, max) = (BANDWIDTH_MIN.to_string(), BANDWIDTH_MAX.to_string());
                self.problem(&given.at, ProblemKind::OutOfRange { value: format!("`{text}`"), min, max });
            }
            Err(e) => self.problem(&given.at, ProblemKind::Unit(e)),
        }
        None
    }

    /// Who may reach its instances. Where a caller is malformed, nobody by it.
    pub(super) fn reachable_from(&mut self, raw: &RawService) -> ReachableFrom {
        let Some(given) = &raw.reachable_from else { return ReachableFrom::default() };
        let mut callers = Vec::new();
        for one in &given.value {
            match one.value.parse::<Caller>() {
                Ok(caller) if callers.contains(&caller) => {
                    self.problem(&one.at, ProblemKind::ListedTwice(one.value.clone()));
                }
                Ok(caller) => callers.push(caller),
                Err(e) => self.problem(&one.at, ProblemKind::Caller(e)),
            }
        }
        ReachableFrom::new(callers).unwrap_or_else(|e| {
            self.problem(&given.at, ProblemKind::Caller(e));
            ReachableFrom::default()
        })
    }

    /// The path of a URL, fit to stand in a request line.
    pub(super) fn url_path(&mut self, given: &Given<String>) -> String {
        let path = &given.value;
        let good = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        if !good {
            self.problem(&given.at, ProblemKind::UrlPath(path.clone()));
        }
        path.clone()
    }
}

/// The first address of the block that holds `address`.
fn first_address(address: IpAddr, length: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}
