//! What was refused: told once, counted while it repeats.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use insula_spec::{InstanceName, NetRule, internal_rule};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::judge::Reason;

/// The same is told again after this time at the earliest.
const AGAIN: Duration = Duration::from_secs(10);
/// Most different ones that are remembered.
const KNOWN_MAX: usize = 1024;
/// Most that are told of one instance in a row, and the time in which one more may be: what is told is kept, and
/// one tenant must not push out what is kept of others.
const BURST: u32 = 30;
const REFILL: Duration = Duration::from_secs(5);

/// Something that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Denial {
    /// Who wanted it.
    pub instance: InstanceName,
    /// The name that was wanted, if one is known.
    pub name: Option<String>,
    /// The address that was wanted, or that the name led to.
    pub address: Option<IpAddr>,
    /// The port; `None` for a question for a name.
    pub port: Option<u16>,
    /// Why it was refused.
    pub reason: Reason,
}

impl Denial {
    /// The narrowest rule that would have let it through; `None` where no rule helps.
    #[must_use]
    pub fn rule(&self) -> Option<String> {
        let at = |text: String| self.port.map_or_else(|| text.clone(), |port| format!("{text}:{port}"));
        let by_name = self.name.clone().map(at);
        let by_address = self.address.map(|address| match address {
            IpAddr::V4(v4) => at(v4.to_string()),
            IpAddr::V6(v6) => at(format!("[{v6}]")),
        });
        let sibling = self.name.as_deref().and_then(internal_rule).map(|rule| rule.to_string());
        let rule = match self.reason {
            Reason::TooMany | Reason::NotReachable | Reason::NoInstance => None,
            Reason::Nothing | Reason::NotListed if sibling.is_some() => sibling,
            Reason::Special(_) | Reason::OwnHost => by_address,
            Reason::Nothing | Reason::NotListed => by_name.or(by_address),
        };
        rule.filter(|text| text.parse::<NetRule>().is_ok())
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.address) {
            (Some(name), _) => f.write_str(name)?,
            (None, Some(IpAddr::V6(v6))) => write!(f, "[{v6}]")?,
            (None, Some(v4)) => write!(f, "{v4}")?,
            (None, None) => f.write_str("a connection")?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if let (Some(_), Some(address)) = (&self.name, self.address) {
            write!(f, " ({address})")?;
        }
        write!(f, " was refused: {}", self.reason)
    }
}

/// How much more may be told of one instance.
#[derive(Debug)]
struct Budget {
    left: u32,
    since: Instant,
}

impl Budget {
    fn take(&mut self, now: Instant) -> bool {
        let more = now.duration_since(self.since).as_secs() / REFILL.as_secs();
        if more > 0 {
            self.left = self.left.saturating_add(u32::try_from(more).unwrap_or(BURST)).min(BURST);
            self.since = now;
        }
        let good = self.left > 0;
        self.left = self.left.saturating_sub(1);
        good
    }

    fn is_full(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= REFILL * BURST
    }
}

/// Which denials were told when.
#[derive(Debug, Default)]
pub(crate) struct Told {
    known: HashMap<Denial, (Instant, u64)>,
    budgets: HashMap<InstanceName, Budget>,
}

impl Told {
    /// How many times this happened since it was told last; `None` if it need not be told yet.
    pub(crate) fn count(&mut self, denial: &Denial, now: Instant) -> Option<u64> {
        if self.known.len() >= KNOWN_MAX {
            self.known.retain(|_, (told, _)| now.duration_since(*told) < AGAIN);
            self.budgets.retain(|_, budget| !budget.is_full(now));
        }
        if self.known.len() >= KNOWN_MAX {
            return None;
        }
        match self.known.entry(denial.clone()) {
            Entry::Vacant(place) => {
                let full = || Budget { left: BURST, since: now };
                let budget = self.budgets.entry(denial.instance.clone()).or_insert_with(full);
                if !budget.take(now) {
                    return None;
                }
                place.insert((now, 0));
                Some(1)
            }
            Entry::Occupied(mut known) => {
                let (told, more) = known.get_mut();
                *more += 1;
                if now.duration_since(*told) < AGAIN {
                    return None;
                }
                *told = now;
                Some(std::mem::take(more))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Special;

    fn denial(name: Option<&str>, address: Option<&str>, port: Option<u16>, reason: Reason) -> Denial {
        Denial {
            instance: "notes:alice".parse().unwrap(),
            name: name.map(str::to_owned),
            address: address.map(|a| a.parse().unwrap()),
            port,
            reason,
        }
    }

    #[test]
    fn it_names_the_narrowest_rule_and_says_what_happened() {
        let listed = denial(Some("a.com"), None, Some(443), Reason::NotListed);
        assert_eq!(listed.rule().unwrap(), "a.com:443");
        assert_eq!(listed.to_string(), "a.com:443 was refused: no rule of `net` names it");
        let inside = denial(Some("a.com"), Some("10.0.0.1"), Some(443), Reason::Special(Special::Private));
        assert_eq!(inside.rule().unwrap(), "10.0.0.1:443", "a rule for the name would not help");
        assert_eq!(denial(None, Some("fd00::1"), Some(1), Reason::NotListed).rule().unwrap(), "[fd00::1]:1");
        assert_eq!(denial(Some("a.com"), None, Some(1), Reason::TooMany).rule(), None);
        assert_eq!(denial(Some("db.internal"), None, Some(1), Reason::NotListed).rule().unwrap(), "self:db");
        assert_eq!(denial(Some("x.db.internal"), None, None, Reason::Nothing).rule().unwrap(), "self:db:x");
        assert_eq!(denial(Some("db.internal"), None, Some(1), Reason::NotReachable).rule(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_repeats_is_counted_and_told_later() {
        let (mut told, one) = (Told::default(), denial(Some("a.com"), None, None, Reason::NotListed));
        assert_eq!(told.count(&one, Instant::now()), Some(1));
        assert_eq!(told.count(&one, Instant::now()), None);
        tokio::time::advance(AGAIN).await;
        assert_eq!(told.count(&one, Instant::now()), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn one_instance_cannot_tell_without_bound_and_the_others_still_can() {
        let mut told = Told::default();
        let mut count = |n: u32, instance: &str| {
            let one = denial(Some(&format!("a{n}.com")), None, None, Reason::NotListed);
            told.count(&Denial { instance: instance.parse().unwrap(), ..one }, Instant::now())
        };
        let heard = (0..1000).filter(|n| count(*n, "notes:alice").is_some()).count();
        assert_eq!(heard, usize::try_from(BURST).unwrap());
        assert_eq!(count(0, "notes:bob"), Some(1));
        tokio::time::advance(REFILL).await;
        assert_eq!(count(2000, "notes:alice"), Some(1));
        assert_eq!(count(2001, "notes:alice"), None);
    }
}
