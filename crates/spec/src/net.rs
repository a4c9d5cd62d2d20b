//! What an instance may reach outside: the grammar of `net`.
//!
//! ```text
//! net = ["https://api.example.com", "*.cdn.com:443", "10.0.0.5:5432", "self:db", "public"]
//!
//! public                     every public address, any port: what holds when `net` is not written
//! NAME  *.NAME               that name, or every name below it, at any port
//! NAME:PORT  http://NAME  https://NAME[:PORT]  tcp://NAME:PORT
//! 10.0.0.5[:PORT]  10.0.0.0/8[:PORT]  [fd00::1][:PORT]  [fd00::/8][:PORT]
//! self:SERVICE               the instance of that service with one's own id
//! self:SERVICE:ID            that instance
//! ```
//! A rule that is malformed is an error, never a wider one. A name leads to public addresses only, unless a rule
//! names the address, too.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{InstanceId, ServiceName};

/// Most rules of one policy.
pub const NET_RULES_MAX: usize = 256;

/// What an instance may reach outside. Written, stored and sent as a list of texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
#[schemars(with = "Vec<String>")]
pub struct NetPolicy {
    rules: Vec<NetRule>,
}

/// One thing that may be reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NetRule {
    /// Every public address.
    Public,
    /// A name, or every name below it.
    Name {
        /// In lower case, without a final dot.
        name: String,
        /// Whether it is what stands below the name, and not the name itself.
        below: bool,
        /// The only port; `None` for every one.
        port: Option<u16>,
    },
    /// A block of addresses.
    Block {
        /// Its first address.
        first: IpAddr,
        /// How many bits of it count.
        prefix: u8,
        /// The only port; `None` for every one.
        port: Option<u16>,
    },
    /// Another instance of this installation.
    Instance {
        /// Its service.
        service: ServiceName,
        /// Its id; `None` for one's own.
        id: Option<InstanceId>,
    },
}

/// A rule that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a rule of `net`: {why}")]
pub struct InvalidNetRule {
    /// What was written.
    pub text: String,
    /// What is wrong with it.
    pub why: NetRuleProblem,
}

/// What can be wrong with a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetRuleProblem {
    /// Nothing, or only spaces around something.
    #[error("it is empty or has spaces in it")]
    Spaces,
    /// A scheme that is not one of three.
    #[error("its scheme is not `https`, `http` or `tcp`")]
    Scheme,
    /// More than a host and a port.
    #[error("it has more than a host and a port")]
    Rest,
    /// A port that cannot be one.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// `tcp://` without a port.
    #[error("`tcp://` needs a port")]
    NoPort,
    /// A star that is not the whole first label.
    #[error("`*` stands only in front: `*.example.com`")]
    Star,
    /// A star alone.
    #[error("`*` alone names nothing")]
    Everything,
    /// Text that is neither a name nor an address.
    #[error("its host is neither a DNS name nor an address")]
    Host,
    /// A number in a form that programs read differently.
    #[error("its host is a number, but not an address written in full")]
    OddAddress,
    /// A prefix that does not fit the address.
    #[error("its prefix is not a number of bits of that address")]
    Prefix,
    /// Bits beyond the prefix.
    #[error("its address has bits set beyond its prefix")]
    HostBits,
    /// An IPv6 address that stands for an IPv4 one.
    #[error("it is an IPv4 address in the form of an IPv6 one")]
    Mapped,
    /// `self:` without a name that can be one.
    #[error("`self:` needs the name of a service, and perhaps an id")]
    Instance,
    /// Too many.
    #[error("a policy has at most 256 rules")]
    TooMany,
}

impl InvalidNetRule {
    /// What to write instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.why {
            NetRuleProblem::Everything => "write \"public\" for every public address",
            NetRuleProblem::OddAddress | NetRuleProblem::Mapped => {
                "write an IPv4 address with four numbers, such as 10.0.0.5, and an IPv6 one in brackets"
            }
            NetRuleProblem::Prefix | NetRuleProblem::HostBits => {
                "write a block with its first address, such as 10.0.0.0/8 or [fd00::/8]"
            }
            NetRuleProblem::Instance => "write \"self:db\" or \"self:db:alice\"",
            NetRuleProblem::NoPort => "write \"tcp://db.example.com:5432\"",
            NetRuleProblem::Rest => "write scheme, host and port only: paths cannot be told apart inside TLS",
            NetRuleProblem::TooMany => "name domains with \"*.example.com\" or blocks of addresses",
            _ => {
                "write \"https://api.example.com\", \"*.cdn.com:443\", \"10.0.0.5:5432\", \"self:db\" or \"public\""
            }
        }
    }
}

impl NetPolicy {
    /// Nothing at all.
    #[must_use]
    pub fn none() -> Self {
        Self { rules: Vec::new() }
    }

    /// What holds where nothing is said: public addresses.
    #[must_use]
    pub fn public() -> Self {
        Self { rules: vec![NetRule::Public] }
    }

    /// A policy of these rules. The same rule twice counts once.
    ///
    /// # Errors
    /// When there are more than [`NET_RULES_MAX`].
    pub fn new(rules: impl IntoIterator<Item = NetRule>) -> Result<Self, InvalidNetRule> {
        let mut all: Vec<NetRule> = Vec::new();
        for rule in rules {
            if all.len() == NET_RULES_MAX {
                return Err(InvalidNetRule { text: rule.to_string(), why: NetRuleProblem::TooMany });
            }
            if !all.contains(&rule) {
                all.push(rule);
            }
        }
        Ok(Self { rules: all })
    }

    /// Its rules, in the order in which they were written.
    #[must_use]
    pub fn rules(&self) -> &[NetRule] {
        &self.rules
    }

    /// Whether it lets nothing out.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.rules.is_empty()
    }
}

impl Default for NetPolicy {
    fn default() -> Self {
        Self::public()
    }
}

impl TryFrom<Vec<String>> for NetPolicy {
    type Error = InvalidNetRule;

    fn try_from(texts: Vec<String>) -> Result<Self, InvalidNetRule> {
        let rules = texts.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>()?;
        Self::new(rules)
    }
}

impl From<NetPolicy> for Vec<String> {
    fn from(policy: NetPolicy) -> Self {
        policy.rules.iter().map(ToString::to_string).collect()
    }
}

impl fmt::Display for NetRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("public"),
            Self::Name { name, below, port } => {
                f.write_str(if *below { "*." } else { "" })?;
                f.write_str(name)?;
                show_port(f, *port)
            }
            Self::Block { first, prefix, port } => {
                match (first, prefix) {
                    (IpAddr::V4(v4), 32) => write!(f, "{v4}")?,
                    (IpAddr::V4(v4), prefix) => write!(f, "{v4}/{prefix}")?,
                    (IpAddr::V6(v6), 128) => write!(f, "[{v6}]")?,
                    (IpAddr::V6(v6), prefix) => write!(f, "[{v6}/{prefix}]")?,
                }
                show_port(f, *port)
            }
            Self::Instance { service, id: None } => write!(f, "self:{service}"),
            Self::Instance { service, id: Some(id) } => write!(f, "self:{service}:{id}"),
        }
    }
}

fn show_port(f: &mut fmt::Formatter<'_>, port: Option<u16>) -> fmt::Result {
    port.map_or(Ok(()), |port| write!(f, ":{port}"))
}

impl FromStr for NetRule {
    type Err = InvalidNetRule;

    fn from_str(text: &str) -> Result<Self, InvalidNetRule> {
        parse(text).map_err(|why| InvalidNetRule { text: text.to_owned(), why })
    }
}

type Parsed<T> = Result<T, NetRuleProblem>;

fn parse(text: &str) -> Parsed<NetRule> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(NetRuleProblem::Spaces);
    }
    if text == "public" {
        return Ok(NetRule::Public);
    }
    if let Some(rest) = text.strip_prefix("self:") {
        return instance(rest).ok_or(NetRuleProblem::Instance);
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    let usual = match scheme {
        None | Some("tcp") => None,
        Some("https") => Some(443),
        Some("http") => Some(80),
        Some(_) => return Err(NetRuleProblem::Scheme),
    };
    let rest = if scheme.is_some() { rest.strip_suffix('/').unwrap_or(rest) } else { rest };
    let (host, port) = split_port(rest)?;
    let port = port.or(usual);
    if scheme == Some("tcp") && port.is_none() {
        return Err(NetRuleProblem::NoPort);
    }
    if rest.starts_with('[') || host.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'/')) {
        return block(host, rest.starts_with('['), port);
    }
    name(host, port)
}

fn instance(rest: &str) -> Option<NetRule> {
    let (service, id) = match rest.split_once(':') {
        Some((service, id)) => (service, Some(id)),
        None => (rest, None),
    };
    let id = id.map(str::parse).transpose().ok()?;
    Some(NetRule::Instance { service: service.parse().ok()?, id })
}

/// Host and port; brackets are taken off.
fn split_port(text: &str) -> Parsed<(&str, Option<u16>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => inner.split_once(']').ok_or(NetRuleProblem::Host)?,
        None => match text.find(':') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        },
    };
    if rest.is_empty() {
        return Ok((host, None));
    }
    let digits = rest.strip_prefix(':').ok_or(NetRuleProblem::Rest)?;
    if digits.contains(['/', '?', '#', '@']) {
        return Err(NetRuleProblem::Rest);
    }
    // `parse` would take a sign, too.
    let port = Some(digits).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
    let port = port.and_then(|d| d.parse().ok()).filter(|port| *port != 0).ok_or(NetRuleProblem::Port)?;
    Ok((host, Some(port)))
}

fn block(host: &str, brackets: bool, port: Option<u16>) -> Parsed<NetRule> {
    let (address, bits) = match host.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (host, None),
    };
    let first = if brackets {
        IpAddr::V6(address.parse::<Ipv6Addr>().map_err(|_| NetRuleProblem::Host)?)
    } else {
        IpAddr::V4(address.parse::<Ipv4Addr>().map_err(|_| NetRuleProblem::OddAddress)?)
    };
    if matches!(first, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return Err(NetRuleProblem::Mapped);
    }
    let most = if first.is_ipv4() { 32 } else { 128 };
    let prefix = match bits {
        None => most,
        Some(bits) => Some(bits)
            .filter(|b| !b.is_empty() && b.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|b| b.parse().ok())
            .filter(|prefix| *prefix <= most)
            .ok_or(NetRuleProblem::Prefix)?,
    };
    if first_of(first, prefix) != first {
        return Err(NetRuleProblem::HostBits);
    }
    Ok(NetRule::Block { first, prefix, port })
}

/// The first address of the block of this many bits that holds `address`.
fn first_of(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

fn name(host: &str, port: Option<u16>) -> Parsed<NetRule> {
    if host == "*" {
        return Err(NetRuleProblem::Everything);
    }
    let (name, below) = host.strip_prefix("*.").map_or((host, false), |name| (name, true));
    if name.contains('*') {
        return Err(NetRuleProblem::Star);
    }
    if name.contains(['/', '?', '#', '@']) {
        return Err(NetRuleProblem::Rest);
    }
    let name = canonical_name(name).ok_or(if looks_like_number(name) {
        NetRuleProblem::OddAddress
    } else {
        NetRuleProblem::Host
    })?;
    Ok(NetRule::Name { name, below, port })
}

/// Whether a resolver may take the last label for a part of an IPv4 address (`0x7f.1`, `127.1`).
fn looks_like_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X")
}

/// A DNS name in the one form that rules and questions are compared in: lower case, no final dot. `None` for
/// what is none, and for whatever programs may read as an address (`127.1`, `0x7f000001`).
#[must_use]
pub fn canonical_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes.iter().all(|&b| word(b) || b == b'-')
            && bytes.first().is_some_and(|&b| word(b))
            && bytes.last().is_some_and(|&b| word(b))
    };
    let good = name.len() <= 253 && name.split('.').all(label) && !looks_like_number(&name);
    good.then_some(name)
}

impl NetRule {
    /// Whether it is about this name, in its canonical form, at this port; `None` asks for any port at all.
    #[must_use]
    pub fn names(&self, asked: &str, at: Option<u16>) -> bool {
        let Self::Name { name, below, port } = self else { return false };
        let this = if *below {
            asked.strip_suffix(name.as_str()).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
        } else {
            asked == name
        };
        this && (port.is_none() || at.is_none() || *port == at)
    }

    /// Whether it is about this address at this port; `None` asks for any port at all.
    #[must_use]
    pub fn covers(&self, address: IpAddr, at: Option<u16>) -> bool {
        let Self::Block { first, prefix, port } = self else { return false };
        first.is_ipv4() == address.is_ipv4()
            && first_of(address, *prefix) == *first
            && (port.is_none() || at.is_none() || *port == at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NetRuleProblem as P;

    fn rule(text: &str) -> NetRule {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn every_form_is_read_and_written_back_in_its_shortest_form() {
        for (text, shown) in [
            ("public", "public"),
            ("https://API.example.com", "api.example.com:443"),
            ("https://api.example.com/", "api.example.com:443"),
            ("http://api.example.com:8080", "api.example.com:8080"),
            ("tcp://db.example.com:5432", "db.example.com:5432"),
            ("*.cdn.com:443", "*.cdn.com:443"),
            ("example.com.", "example.com"),
            ("10.0.0.5:5432", "10.0.0.5:5432"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("[fd00::1]:80", "[fd00::1]:80"),
            ("[fd00::/8]", "[fd00::/8]"),
            ("0.0.0.0/0:25", "0.0.0.0/0:25"),
            ("self:db", "self:db"),
            ("self:db:alice", "self:db:alice"),
        ] {
            assert_eq!(rule(text).to_string(), shown);
            assert_eq!(rule(shown), rule(text), "{shown}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused_and_never_widens() {
        for (text, why) in [
            ("", P::Spaces),
            (" example.com", P::Spaces),
            ("*", P::Everything),
            ("*:443", P::Everything),
            ("https://*", P::Everything),
            ("a.*.com", P::Star),
            ("*example.com", P::Star),
            ("*.*.com", P::Star),
            ("ftp://example.com", P::Scheme),
            ("tcp://example.com", P::NoPort),
            ("https://example.com/path", P::Rest),
            ("https://user@example.com", P::Rest),
            ("example.com/path", P::Rest),
            ("example.com:0", P::Port),
            ("example.com:", P::Port),
            ("example.com:65536", P::Port),
            ("example.com:+80", P::Port),
            ("example.com:80:90", P::Port),
            ("example.com:80/x", P::Rest),
            ("exa mple.com", P::Spaces),
            ("-a.com", P::Host),
            ("a..com", P::Host),
            ("127.1", P::OddAddress),
            ("2130706433", P::OddAddress),
            ("0x7f000001", P::OddAddress),
            ("0x7f.1", P::OddAddress),
            ("010.0.0.1", P::OddAddress),
            ("10.0.0.5/33", P::Prefix),
            ("10.0.0.0/", P::Prefix),
            ("10.0.0.0/+8", P::Rest),
            ("10.0.0.5/8", P::HostBits),
            ("[fd00::1/8]", P::HostBits),
            ("[::ffff:127.0.0.1]", P::Mapped),
            ("[10.0.0.1]", P::Host),
            ("[fd00::1", P::Host),
            ("[fd00::1]x", P::Rest),
            ("fd00::1", P::Port),
            ("self:", P::Instance),
            ("self:DB", P::Instance),
            ("self:db:alice:80", P::Instance),
        ] {
            let found = text.parse::<NetRule>().map_err(|e| e.why);
            assert_eq!(found, Err(why), "{text}");
        }
    }

    #[test]
    fn a_star_is_what_stands_below_and_never_an_address() {
        let star = rule("*.cdn.com:443");
        for (name, at, is) in [
            ("a.cdn.com", 443, true),
            ("a.b.cdn.com", 443, true),
            ("cdn.com", 443, false),
            ("evilcdn.com", 443, false),
            (".cdn.com", 443, false),
            ("a.cdn.com", 80, false),
            ("a.cdn.com.evil.org", 443, false),
        ] {
            assert_eq!(star.names(name, Some(at)), is, "{name}:{at}");
        }
        assert!(star.names("a.cdn.com", None));
        assert_eq!(canonical_name("1.2.3.4"), None);
        assert_eq!(canonical_name("0X7F000001"), None);
        assert_eq!(canonical_name("Example.COM."), Some("example.com".to_owned()));
    }

    #[test]
    fn a_block_covers_its_addresses_and_its_port_alone() {
        let block = rule("10.0.0.0/8:5432");
        assert!(block.covers("10.255.0.1".parse().unwrap(), Some(5432)));
        assert!(!block.covers("10.255.0.1".parse().unwrap(), Some(80)));
        assert!(!block.covers("11.0.0.1".parse().unwrap(), Some(5432)));
        assert!(!block.covers("::a00:1".parse().unwrap(), Some(5432)));
        assert!(rule("0.0.0.0/0").covers("8.8.8.8".parse().unwrap(), None));
    }

    #[test]
    fn a_policy_is_a_list_of_texts_and_one_bad_rule_spoils_it() {
        let policy: NetPolicy = serde_json::from_str(r#"["public","10.0.0.5:5432","public"]"#).unwrap();
        assert_eq!(serde_json::to_string(&policy).unwrap(), r#"["public","10.0.0.5:5432"]"#);
        let error = serde_json::from_str::<NetPolicy>(r#"["a.com","*"]"#).unwrap_err().to_string();
        assert!(error.contains("`*` is not a rule of `net`"), "{error}");
        let many = (0..=NET_RULES_MAX).map(|n| format!("a{n}.com")).collect::<Vec<_>>();
        assert_eq!(NetPolicy::try_from(many).unwrap_err().why, P::TooMany);
    }
}
