//! What one instance was told about names: the same answer holds for the connection that follows, and an address
//! is known by the names that led to it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::dns::Kind;

/// Most names of one instance; beyond it the ones that end first are forgotten.
const NAMES_MAX: usize = 512;
/// Shortest and longest time that an answer holds.
const HOLD: (u32, u32) = (5, 300);
/// How much longer an address is known by its name: programs connect after the answer ran out.
const LINGER: Duration = Duration::from_secs(300);

/// Answers by name and kind.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<(String, Kind), Held>);

#[derive(Debug)]
struct Held {
    addresses: Vec<IpAddr>,
    until: Instant,
}

impl Names {
    /// The answer that still holds.
    pub(crate) fn get(&self, name: &str, kind: Kind, now: Instant) -> Option<Vec<IpAddr>> {
        let held = self.0.get(&(name.to_owned(), kind))?;
        (held.until > now).then(|| held.addresses.clone())
    }

    /// Remembers an answer for its time.
    pub(crate) fn put(&mut self, name: &str, kind: Kind, (addresses, ttl): (Vec<IpAddr>, u32), now: Instant) {
        if self.0.len() >= NAMES_MAX {
            self.0.retain(|_, held| held.until + LINGER > now);
        }
        if self.0.len() >= NAMES_MAX
            && let Some(first) = self.0.iter().min_by_key(|(_, held)| held.until).map(|(key, _)| key.clone())
        {
            self.0.remove(&first);
        }
        let until = now + Duration::from_secs(u64::from(ttl.clamp(HOLD.0, HOLD.1)));
        self.0.insert((name.to_owned(), kind), Held { addresses, until });
    }

    /// The names that led to this address lately.
    pub(crate) fn of(&self, address: IpAddr, now: Instant) -> Vec<String> {
        let led = |held: &Held| held.until + LINGER > now && held.addresses.contains(&address);
        self.0.iter().filter(|(_, held)| led(held)).map(|((name, _), _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_holds_for_its_time_and_the_address_is_known_for_longer() {
        let (mut names, address) = (Names::default(), "1.2.3.4".parse().unwrap());
        names.put("a.com", Kind::V4, (vec![address], 60), Instant::now());
        assert_eq!(names.get("a.com", Kind::V4, Instant::now()), Some(vec![address]));
        assert_eq!(names.get("a.com", Kind::V6, Instant::now()), None);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(names.get("a.com", Kind::V4, Instant::now()), None);
        assert_eq!(names.of(address, Instant::now()), ["a.com"]);
        tokio::time::advance(LINGER).await;
        assert!(names.of(address, Instant::now()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_never_more_than_the_bound() {
        let mut names = Names::default();
        for n in 0..2 * NAMES_MAX {
            names.put(&format!("a{n}.com"), Kind::V4, (Vec::new(), 60), Instant::now());
        }
        assert_eq!(names.0.len(), NAMES_MAX);
    }
}
