//! Slows down whoever guesses.
//!
//! ```text
//! free ──wrong token, FAILURES times within WINDOW──► cooling for PAUSE ──► free
//! ```
//! While an address cools, every wrong token from it is told to wait, and does not count. Right ones pass, and other
//! addresses notice nothing: what makes guessing hopeless is the length of a token, not the wait.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Wrong tokens that are let pass.
const FAILURES: u32 = 10;

/// Time in which they count together.
const WINDOW: Duration = Duration::from_secs(60);

/// How long an address cools.
const PAUSE: Duration = Duration::from_secs(5);

/// Most addresses remembered.
const ADDRESSES: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Record {
    failures: u32,
    /// When the record means nothing any more.
    until: Instant,
    cooling: bool,
}

/// What is known of addresses that sent wrong tokens.
#[derive(Debug, Default)]
pub(super) struct Cooldown {
    records: Mutex<HashMap<IpAddr, Record>>,
}

impl Cooldown {
    /// How long an address still has to wait; `None` when it need not.
    pub(super) fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let records = self.lock();
        let record = records.get(&group(address))?;
        (record.cooling && record.until > now).then(|| record.until - now)
    }

    /// Takes note of a wrong token; `true` when the address begins to cool by it.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) -> bool {
        let mut records = self.lock();
        let address = group(address);
        if records.len() >= ADDRESSES && !records.contains_key(&address) {
            make_room(&mut records, now);
        }
        let fresh = Record { failures: 0, until: now + WINDOW, cooling: false };
        let record = records.entry(address).or_insert(fresh);
        if record.until <= now {
            *record = fresh;
        }
        record.failures += 1;
        let begins = record.failures >= FAILURES && !record.cooling;
        if begins {
            *record = Record { until: now + PAUSE, cooling: true, ..*record };
        }
        begins
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, Record>> {
        // Nothing that can panic runs under this lock, and the map is valid at every step.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops what means nothing any more, or else the record that will be the first to mean nothing.
fn make_room(records: &mut HashMap<IpAddr, Record>, now: Instant) {
    records.retain(|_, record| record.until > now);
    if records.len() >= ADDRESSES {
        let first = records.iter().min_by_key(|(_, record)| record.until).map(|(address, _)| *address);
        first.and_then(|address| records.remove(&address));
    }
}

/// Whoever has one IPv6 address has the 2^64 of its network.
fn group(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6
            .to_ipv4_mapped()
            .map_or_else(|| Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(), IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ten_failures_cost_five_seconds_and_only_those_who_failed() {
        let (cooldown, now) = (Cooldown::default(), Instant::now());
        let guesser = address("192.0.2.1");
        for _ in 1..FAILURES {
            assert!(!cooldown.failed(guesser, now));
            assert_eq!(cooldown.wait(guesser, now), None);
        }
        assert!(cooldown.failed(guesser, now));
        assert_eq!(cooldown.wait(guesser, now), Some(PAUSE));
        assert_eq!(cooldown.wait(address("::ffff:192.0.2.1"), now), Some(PAUSE));
        assert_eq!(cooldown.wait(address("192.0.2.2"), now), None);
        assert_eq!(cooldown.wait(guesser, now + PAUSE), None);
        assert!(!cooldown.failed(guesser, now + PAUSE), "after the pause the count begins anew");
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let (cooldown, now) = (Cooldown::default(), Instant::now());
        for i in 0..3 * FAILURES {
            assert!(!cooldown.failed(address("192.0.2.1"), now + WINDOW * i), "failure {i}");
        }
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let (cooldown, now) = (Cooldown::default(), Instant::now());
        for i in 0..FAILURES {
            cooldown.failed(address(&format!("2001:db8::{i}")), now);
        }
        assert!(cooldown.wait(address("2001:db8::ffff"), now).is_some());
        assert!(cooldown.wait(address("2001:db8:0:1::1"), now).is_none());
    }

    #[test]
    fn the_table_is_bounded_and_keeps_those_who_cool_longest() {
        let (cooldown, now) = (Cooldown::default(), Instant::now());
        for i in 0..u32::try_from(2 * ADDRESSES).unwrap() {
            cooldown.failed(IpAddr::V4((0x0a00_0000 + i).into()), now + Duration::from_micros(i.into()));
        }
        assert_eq!(cooldown.lock().len(), ADDRESSES);
    }
}
