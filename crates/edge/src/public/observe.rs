//! What an exchange was, told to whoever wants to know.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use insula_spec::InstanceName;

/// The name of one exchange: 16 hexadecimal digits, unique in its home and hard to guess. It is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(u64);

impl RequestId {
    pub(crate) fn of(id: u64) -> Self {
        Self(id)
    }

    pub(crate) fn number(self) -> u64 {
        self.0
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

/// Text that is not a request id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a request id")]
pub struct BadRequestId(pub String);

impl BadRequestId {
    /// What to type instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "a request id is 16 hexadecimal digits, as in the field `Insula-Request-Id` of an answer"
    }
}

impl FromStr for RequestId {
    type Err = BadRequestId;
    fn from_str(text: &str) -> Result<Self, BadRequestId> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or_else(|| BadRequestId(text.to_owned()))
    }
}

/// Bits of a counter that number the exchanges of one worker; those above them are its epoch.
const NUMBER_BITS: u32 = 44;
const NUMBERS: u64 = (1 << NUMBER_BITS) - 1;

/// Gives out request ids, and tells whether an id is one of them.
///
/// ```text
/// | epoch, 20 bits | number, 44 bits | ──xor key, scramble──► id ──back──► epoch, number
/// ```
/// Scrambling is a bijection, so that no two exchanges of a home get one id, and an id can be asked where it
/// comes from.
#[derive(Debug)]
pub struct RequestIds {
    next: AtomicU64,
    epoch: u64,
    key: u64,
}

/// Where an id comes from, as far as the id itself can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This worker gave it.
    Ours,
    /// If this home gave it, it was the worker of this epoch, before this one.
    Earlier(u64),
    /// This home never gave it.
    Foreign,
}

impl RequestIds {
    /// Ids of one worker. `key` is random and stays with the home; `epoch` grows with each worker.
    #[must_use]
    pub fn new(key: u64, epoch: u64) -> Self {
        Self { next: AtomicU64::new(0), epoch: epoch & (u64::MAX >> NUMBER_BITS), key }
    }

    /// The next one; never given twice by one home.
    #[must_use]
    pub fn next(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed) & NUMBERS;
        RequestId(scramble((self.epoch << NUMBER_BITS | number) ^ self.key))
    }

    /// How many were given so far.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Where an id comes from.
    #[must_use]
    pub fn origin(&self, id: RequestId) -> Origin {
        let counter = unscramble(id.0) ^ self.key;
        let (epoch, number) = (counter >> NUMBER_BITS, counter & NUMBERS);
        if epoch == self.epoch && number < self.given() {
            return Origin::Ours;
        }
        if (1..self.epoch).contains(&epoch) { Origin::Earlier(epoch) } else { Origin::Foreign }
    }
}

impl Default for RequestIds {
    /// Of a random key, for a proxy without a home.
    fn default() -> Self {
        Self::new(RandomState::new().hash_one("request ids"), 1)
    }
}

const FIRST: u64 = 0xbf58_476d_1ce4_e5b9;
const SECOND: u64 = 0x94d0_49bb_1331_11eb;

/// The finalizer of SplitMix64.
fn scramble(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(FIRST);
    let z = (z ^ (z >> 27)).wrapping_mul(SECOND);
    z ^ (z >> 31)
}

/// Its inverse.
fn unscramble(z: u64) -> u64 {
    let z = (z ^ (z >> 31) ^ (z >> 62)).wrapping_mul(inverse(SECOND));
    let z = (z ^ (z >> 27) ^ (z >> 54)).wrapping_mul(inverse(FIRST));
    z ^ (z >> 30) ^ (z >> 60)
}

/// The number by which an odd number is multiplied to become 1 (Newton's iteration).
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut round = 0;
    while round < 6 {
        x = x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)));
        round += 1;
    }
    x
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
    /// Who asked: the other end of the connection, trusted proxy or not.
    pub peer: IpAddr,
    /// The protocol as access logs write it, `HTTP/1.1`; empty where it is not known.
    pub version: &'static str,
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
    /// Whether it was sent to the workload more than once.
    pub retried: bool,
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
        let ids = RequestIds::default();
        let seen: HashSet<_> = (0..10_000).map(|_| ids.next()).collect();
        assert_eq!(seen.len(), 10_000);
        for id in [RequestId(0), RequestId(0xdead_beef), RequestId(u64::MAX)] {
            assert_eq!(id.text(), id.to_string().as_bytes());
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for bad in ["", "notes:alice", "+eadbeefdeadbeef", "deadbeefdeadbee", "deadbeefdeadbeef0"] {
            assert!(bad.parse::<RequestId>().is_err(), "`{bad}` was let in");
        }
    }

    #[test]
    fn an_id_tells_where_it_comes_from() {
        let (earlier, ids) = (RequestIds::new(7, 3), RequestIds::new(7, 5));
        let (old, own) = (earlier.next(), [ids.next(), ids.next()]);
        assert_eq!(own.map(|id| ids.origin(id)), [Origin::Ours; 2]);
        assert_eq!(ids.origin(old), Origin::Earlier(3));
        assert_eq!(earlier.origin(own[0]), Origin::Foreign, "a later worker's");
        let not_yet = RequestIds::new(7, 5);
        assert_eq!(not_yet.origin(own[0]), Origin::Foreign, "not given yet");
        let strangers = (0..1000).filter(|_| ids.origin(RequestIds::default().next()) != Origin::Foreign);
        assert!(strangers.count() < 10, "ids of other homes look like ours");
    }
}
