//! What an exchange was, told to whoever wants to know.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use insula_spec::InstanceName;

/// The name of one exchange: 16 hexadecimal digits, unique for the life of a proxy and hard to guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(u64);

impl RequestId {
    #[cfg(test)]
    pub(crate) fn of(id: u64) -> Self {
        Self(id)
    }

    pub(crate) fn text(self) -> [u8; 16] {
        let mut text = [b'0'; 16];
        for (at, digit) in text.iter_mut().enumerate() {
            let nibble = (self.0 >> (60 - 4 * at) & 0xf) as u8;
            *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        }
        text
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Gives out request ids: a counter from a random start, scrambled by a bijection.
#[derive(Debug)]
pub(crate) struct RequestIds {
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self { next: AtomicU64::new(RandomState::new().hash_one("request ids")) }
    }

    pub(crate) fn next(&self) -> RequestId {
        // The finalizer of SplitMix64; it maps no two counters to one id.
        let mut z = self.next.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        RequestId(z ^ (z >> 31))
    }
}

/// Which listener an exchange came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// One HTTP request and its response, a switched protocol included.
    Http,
    /// One raw TCP connection.
    Tcp,
}

/// One exchange that is over.
#[derive(Debug, Clone)]
pub struct Exchange<'a> {
    /// Its name; the client and the workload were told the same (HTTP).
    pub id: RequestId,
    /// Which listener it came through.
    pub protocol: Protocol,
    /// The instance asked for; `None` if the request was refused before that was known.
    pub instance: Option<&'a InstanceName>,
    /// The method; empty for raw TCP and for heads that could not be parsed.
    pub method: &'a str,
    /// The request target in origin form, query included; empty as above.
    pub target: &'a str,
    /// The status that the client was sent; 499 if it left before, 0 for raw TCP.
    pub status: u16,
    /// Bytes of the body from the client, framing included.
    pub bytes_in: u64,
    /// Bytes of the body to the client.
    pub bytes_out: u64,
    /// Time spent waiting for the instance to wake, or to be started again.
    pub waited: Duration,
    /// Time from the complete head to the last byte.
    pub total: Duration,
    /// Whether the instance had to be woken.
    pub woke: bool,
    /// The code of what went wrong, as in `docs/reference/http.md`.
    pub error: Option<&'static str>,
}

/// Somebody who is told of every exchange.
pub trait Observer: Send + Sync + fmt::Debug {
    /// Called once per exchange, on the task that served it. Must return at once: copy what is needed,
    /// put it into a bounded queue, count what does not fit.
    fn exchange(&self, exchange: &Exchange<'_>);
}

/// Does not care.
impl Observer for () {
    fn exchange(&self, _: &Exchange<'_>) {}
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_of_one_form() {
        let ids = RequestIds::new();
        let seen: HashSet<_> = (0..10_000).map(|_| ids.next()).collect();
        assert_eq!(seen.len(), 10_000);
        for id in [RequestId(0), RequestId(0xdead_beef), RequestId(u64::MAX)] {
            assert_eq!(id.text(), id.to_string().as_bytes());
        }
    }
}
