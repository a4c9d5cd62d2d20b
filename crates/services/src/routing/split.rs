//! How the requests to one service are shared out among its versions.
//!
//! ```text
//! weights ──once──► order: each version as often as its weight, as evenly spread as can be
//!                     ▲
//! pick ──one atomic step──► the version there, or the next one in the order that will do
//! ```
//! The order is exact: of any `sum of weights` requests in a row each version gets its weight. There is no
//! lock, and no chance in it that a test would have to allow for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use insula_spec::{InstanceId, InstanceName, ServiceName};

/// Most that one weight can be.
pub(crate) const WEIGHT_MAX: u8 = 100;

/// The weights of one service, and the order that follows from them. The order begins anew when a weight
/// changes.
#[derive(Debug, Default)]
pub(crate) struct Split {
    weights: BTreeMap<InstanceId, u8>,
    /// Those that have a weight.
    weighed: Vec<Arc<InstanceName>>,
    /// Places in `weighed`.
    order: Vec<usize>,
    next: AtomicUsize,
}

impl Split {
    /// The order for these weights.
    pub(crate) fn new(service: &ServiceName, weights: BTreeMap<InstanceId, u8>) -> Self {
        let heavy = weights.iter().filter(|(_, weight)| **weight > 0);
        let name = |id: &InstanceId| Arc::new(InstanceName::new(service.clone(), id.clone()));
        let (weighed, heavy): (Vec<_>, Vec<_>) = heavy.map(|(id, weight)| (name(id), *weight)).unzip();
        let order = spread(&heavy);
        Self { weights, weighed, order, next: AtomicUsize::new(0) }
    }

    /// All weights, zeros included.
    pub(crate) fn weights(&self) -> &BTreeMap<InstanceId, u8> {
        &self.weights
    }

    /// The weight of one version; 0 if it has none.
    pub(crate) fn weight(&self, id: &InstanceId) -> u8 {
        self.weights.get(id).copied().unwrap_or(0)
    }

    /// Whether any version has a weight.
    pub(crate) fn is_open(&self) -> bool {
        !self.order.is_empty()
    }

    /// The next version in the order that will do; `None` when none will.
    pub(crate) fn pick(&self, will_do: impl Fn(&InstanceName) -> bool) -> Option<Arc<InstanceName>> {
        let length = self.order.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(length)?;
        let at = |step: usize| self.weighed.get(*self.order.get((first + step) % length)?);
        (0..length).filter_map(at).find(|name| will_do(name)).map(Arc::clone)
    }
}

/// Each place as often as its weight, none of them twice where another one is due: in each round everyone
/// gains its weight, and the richest pays for all.
fn spread(weights: &[u8]) -> Vec<usize> {
    let common = weights.iter().fold(0, |common, weight| gcd(common, *weight)).max(1);
    let weights: Vec<i64> = weights.iter().map(|weight| i64::from(weight / common)).collect();
    let total: i64 = weights.iter().sum();
    let mut riches = vec![0_i64; weights.len()];
    (0..total)
        .filter_map(|_| {
            riches.iter_mut().zip(&weights).for_each(|(rich, weight)| *rich += weight);
            // The first of those that are equally rich.
            let (at, richest) = riches.iter_mut().enumerate().rev().max_by_key(|(_, rich)| **rich)?;
            *richest -= total;
            Some(at)
        })
        .collect()
}

fn gcd(a: u8, b: u8) -> u8 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(weights: &[(&str, u8)]) -> Split {
        let weights = weights.iter().map(|(id, weight)| (id.parse().unwrap(), *weight));
        Split::new(&"api".parse().unwrap(), weights.collect())
    }

    fn picks(split: &Split, n: usize) -> Vec<String> {
        (0..n).map(|_| split.pick(|_| true).unwrap().id.to_string()).collect()
    }

    #[test]
    fn shares_are_spread_evenly() {
        assert_eq!(picks(&split(&[("a", 100), ("b", 50)]), 6), ["a", "b", "a", "a", "b", "a"]);
        assert_eq!(picks(&split(&[("a", 50), ("b", 50)]), 4), ["a", "b", "a", "b"]);
        assert_eq!(picks(&split(&[("a", 0), ("b", 1)]), 2), ["b", "b"]);
    }

    #[test]
    fn without_any_weight_there_is_nobody() {
        assert!(split(&[]).pick(|_| true).is_none() && !split(&[]).is_open());
        assert!(split(&[("a", 0)]).pick(|_| true).is_none() && !split(&[("a", 0)]).is_open());
    }

    #[test]
    fn who_will_not_do_is_passed_over() {
        let three = split(&[("a", 10), ("b", 10), ("c", 10)]);
        for _ in 0..30 {
            assert_ne!(three.pick(|name| name.id.as_str() != "b").unwrap().id.as_str(), "b");
        }
        assert!(three.pick(|_| false).is_none());
    }

    proptest! {
        #[test]
        fn of_one_round_everyone_gets_exactly_its_weight(weights in prop::collection::vec(0_u8..=100, 1..12)) {
            let order = spread(&weights);
            let total: usize = weights.iter().map(|w| usize::from(*w)).sum();
            for (at, weight) in weights.iter().enumerate() {
                let got = order.iter().filter(|place| **place == at).count();
                prop_assert_eq!(got * total, usize::from(*weight) * order.len());
            }
        }
    }
}
