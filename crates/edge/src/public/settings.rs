//! How the public proxy behaves.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::public::apex::Door;
use crate::public::hands::Hands;
use crate::public::observe::RequestIds;
use crate::public::routes::Routes;

/// Settings of the public proxy.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Domain under which instances are reached, without a port.
    pub domain: String,
    /// Where requests go that no name of a service claims.
    pub routes: Routes,
    /// Peers whose `X-Forwarded-*` fields are believed.
    pub trusted: TrustedProxies,
    /// The way to the control API, which answers at the domain itself; without it nothing does.
    pub control: Option<Door>,
    /// Most connections served at once; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Time from the first byte of a head to its last.
    pub header_timeout: Duration,
    /// Time that a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// Longest wait for an instance to wake.
    pub wake_timeout: Duration,
    /// Time that a client may take none of what is written to it. HTTP and its tunnels only: a client of a
    /// raw TCP port may have its reasons.
    pub write_timeout: Duration,
    /// How a client is noticed that is gone without a word.
    pub keepalive: Keepalive,
    /// Longest wait for the end of a run whose workload refuses connections, or ends a new one without an
    /// answer; after it the workload is taken to be alive, and the request fails.
    pub refusal_timeout: Duration,
    /// How long a tunnel whose client has closed its half goes on without a byte from the workload.
    pub tunnel_linger: Duration,
    /// While draining: time that an idle connection is still listened to, so that a request already on its
    /// way is answered.
    pub drain_grace: Duration,
    /// Cancelled before the drain, it lets idle connections keep their own time: this process only gives
    /// way to another one, and can still serve what comes on them.
    pub retiring: CancellationToken,
    /// Who names the exchanges.
    pub ids: Arc<RequestIds>,
    /// The threads that carry connections.
    pub hands: Hands,
}

impl Settings {
    /// Defaults for a domain.
    #[must_use]
    pub fn new(domain: impl Into<String>) -> Self {
        Self {
            domain: domain.into(),
            routes: Routes::default(),
            trusted: TrustedProxies::default(),
            control: None,
            max_connections: 10_000,
            header_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(75),
            wake_timeout: Duration::from_secs(60),
            refusal_timeout: Duration::from_secs(2),
            tunnel_linger: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            keepalive: Keepalive::default(),
            drain_grace: Duration::from_secs(1),
            retiring: CancellationToken::new(),
            ids: Arc::default(),
            hands: Hands::default(),
        }
    }
}

/// TCP keepalive (`tcp(7)`): a connection on which nothing comes is probed, and ends when no probe is
/// answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Time of silence before the first probe; whole seconds, at least one.
    pub idle: Duration,
    /// Time between probes; whole seconds, at least one.
    pub interval: Duration,
    /// Probes without an answer after which the connection is over.
    pub probes: u32,
}

impl Default for Keepalive {
    /// Gone for two minutes is gone: 60 s of silence, then 6 probes, 10 s apart.
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), interval: Duration::from_secs(10), probes: 6 }
    }
}

/// A list of address blocks.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    blocks: Vec<Block>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    network: u128,
    mask: u128,
}

/// Text that is not an address block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address or a CIDR block")]
pub struct InvalidBlock {
    /// The text as given.
    pub text: String,
}

impl InvalidBlock {
    /// What to type instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "write an address or a block without host bits: 10.0.0.0/8, 192.0.2.1, 2001:db8::/32"
    }
}

impl TrustedProxies {
    /// Parses blocks like `10.0.0.0/8`; a bare address is a block of one.
    ///
    /// # Errors
    /// When a text is not an address, its prefix is too long, or it has bits beyond its prefix.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, InvalidBlock> {
        let parse =
            |text: &S| block(text.as_ref()).ok_or_else(|| InvalidBlock { text: text.as_ref().to_owned() });
        Ok(Self { blocks: texts.iter().map(parse).collect::<Result<_, _>>()? })
    }

    /// Whether the address is in one of the blocks.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = bits(address);
        self.blocks.iter().any(|block| bits & block.mask == block.network)
    }
}

/// All addresses as IPv6; IPv4 as mapped ones.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn block(text: &str) -> Option<Block> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix: u32 = match prefix {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
        None => most,
    };
    let beyond = most.checked_sub(prefix)?;
    let mask = u128::MAX.checked_shl(beyond).unwrap_or(0);
    let network = bits(address);
    (network & mask == network).then_some(Block { network, mask })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_what_they_say() {
        let trusted = TrustedProxies::parse(&["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]).unwrap();
        let all = TrustedProxies::parse(&["::/0"]).unwrap();
        for (address, expected) in [
            ("10.255.0.1", true),
            ("::ffff:10.1.1.1", true),
            ("11.0.0.1", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(trusted.contains(address), expected, "{address}");
            assert!(all.contains(address) && !TrustedProxies::default().contains(address));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "x", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "10.0.0.0/+8", "::/129"] {
            assert!(TrustedProxies::parse(&[bad]).is_err(), "`{bad}` was let in");
        }
    }
}
