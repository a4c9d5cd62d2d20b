//! What a deploy is asked for, and what it does to the weights. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use insula_spec::InstanceId;

use super::steps::Steps;
use crate::routing::WEIGHT_MAX;

/// Who takes over from the versions that have a weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Share {
    /// All requests go to it if no version has a weight yet; otherwise its weight stays as it is.
    First,
    /// It gets this weight, 0 to 100; the others keep theirs.
    Weight(u8),
    /// It gets all requests; the others stay as they are, without weight.
    Replace,
    /// It gets all requests, step by step; of the others the newest so many go to sleep, and the rest is
    /// forgotten.
    Rolling {
        /// How many are kept.
        keep: usize,
        /// The steps.
        steps: Steps,
    },
}

/// What a deploy is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What share of the requests it gets once it is healthy.
    pub share: Share,
    /// How long it may take until it is healthy.
    pub timeout: Duration,
}

impl Order {
    /// Time until it must be healthy, where none is given.
    pub const TIMEOUT: Duration = Duration::from_secs(60);
    /// How many versions a rolling deploy keeps, where no number is given.
    pub const KEEP: usize = 1;
}

impl Default for Order {
    fn default() -> Self {
        Self { share: Share::First, timeout: Self::TIMEOUT }
    }
}

/// The weights that change.
pub(super) fn changes(
    weights: &BTreeMap<InstanceId, u8>,
    new: &InstanceId,
    share: &Share,
) -> BTreeMap<InstanceId, u8> {
    let alone = || {
        let others = weights.iter().filter(|(id, weight)| *id != new && **weight > 0);
        let mut changes: BTreeMap<_, _> = others.map(|(id, _)| (id.clone(), 0)).collect();
        changes.insert(new.clone(), WEIGHT_MAX);
        changes
    };
    match share {
        Share::Weight(weight) => BTreeMap::from([(new.clone(), *weight)]),
        Share::Replace | Share::Rolling { .. } => alone(),
        Share::First if weights.values().all(|weight| *weight == 0) => alone(),
        Share::First => BTreeMap::new(),
    }
}

/// All of one version's weight for another one.
pub(super) fn moved(
    weights: &BTreeMap<InstanceId, u8>,
    from: &InstanceId,
    to: &InstanceId,
) -> Option<BTreeMap<InstanceId, u8>> {
    let of = |id| weights.get(id).copied().unwrap_or(0);
    let weight = Some(of(from)).filter(|weight| *weight > 0)?;
    let sum = weight.saturating_add(of(to)).min(WEIGHT_MAX);
    Some(BTreeMap::from([(from.clone(), 0), (to.clone(), sum)]))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{id, weights};
    use super::*;

    #[test]
    fn a_first_version_takes_everything_and_a_second_one_nothing() {
        let of = |all: &[(&str, u8)], share| changes(&weights(all), &id("v2"), &share);
        assert_eq!(of(&[], Share::First), weights(&[("v2", 100)]));
        assert_eq!(of(&[("v1", 0)], Share::First), weights(&[("v2", 100)]));
        assert_eq!(of(&[("v1", 1)], Share::First), weights(&[]));
        assert_eq!(of(&[("v1", 90)], Share::Weight(10)), weights(&[("v2", 10)]));
        for share in [Share::Replace, Share::Rolling { keep: 0, steps: Steps::default() }] {
            let all = [("v0", 0), ("v1", 90), ("v2", 10)];
            assert_eq!(of(&all, share), weights(&[("v1", 0), ("v2", 100)]));
        }
    }

    #[test]
    fn what_one_gives_the_other_gets() {
        let all = weights(&[("v1", 90), ("v2", 10), ("v3", 50)]);
        let of = |from, to| moved(&all, &id(from), &id(to));
        assert_eq!(of("v1", "v2"), Some(weights(&[("v1", 0), ("v2", 100)])));
        assert_eq!(of("v3", "v4"), Some(weights(&[("v3", 0), ("v4", 50)])));
        assert_eq!(of("v1", "v3"), Some(weights(&[("v1", 0), ("v3", 100)])));
        assert_eq!(of("v4", "v1"), None);
    }
}
