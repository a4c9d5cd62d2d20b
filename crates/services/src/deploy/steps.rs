//! The shares that a rolling deploy gives a new version, one after the other. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use insula_spec::InstanceId;

use crate::routing::WEIGHT_MAX;

/// Most steps of one deploy.
const STEPS_MAX: usize = 20;
/// Longest time between two of them.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// Shares in percent, each watched for a while before the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    shares: Vec<u8>,
    pause: Duration,
}

/// Why these are no steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSteps {
    /// They do not grow from at least 1 to 100.
    #[error("`steps` must grow, from at least 1 to 100, as in 25,50,75,100")]
    Order,
    /// There are too many.
    #[error("`steps` must be at most {STEPS_MAX}")]
    Number,
    /// They are too far apart.
    #[error("`pause` must be at most {PAUSE_MAX:?}")]
    Pause,
}

impl Steps {
    /// The shares, where none are given.
    pub const SHARES: [u8; 4] = [25, 50, 75, 100];
    /// How long each is watched, where no time is given.
    pub const PAUSE: Duration = Duration::from_secs(5);

    /// Steps of these shares, in percent, each watched for so long.
    ///
    /// # Errors
    /// When the shares do not grow to 100, or there are too many, or the time is too long.
    pub fn new(shares: Vec<u8>, pause: Duration) -> Result<Self, InvalidSteps> {
        let grows = shares.first() > Some(&0) && shares.is_sorted_by(|a, b| a < b);
        if !grows || shares.last() != Some(&WEIGHT_MAX) {
            return Err(InvalidSteps::Order);
        }
        if shares.len() > STEPS_MAX {
            return Err(InvalidSteps::Number);
        }
        if pause > PAUSE_MAX {
            return Err(InvalidSteps::Pause);
        }
        Ok(Self { shares, pause })
    }

    /// How long each share is watched.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// The shares that are more than it has with these weights.
    pub(super) fn ahead(&self, weights: &BTreeMap<InstanceId, u8>, new: &InstanceId) -> Vec<u8> {
        let of = |weight: &u8| u32::from(*weight);
        let (has, all) = (weights.get(new).map_or(0, of), weights.values().map(of).sum::<u32>());
        self.shares
            .iter()
            .copied()
            .filter(|share| *share == WEIGHT_MAX || of(share) * all > has * 100)
            .collect()
    }
}

impl Default for Steps {
    fn default() -> Self {
        Self { shares: Self::SHARES.to_vec(), pause: Self::PAUSE }
    }
}

/// The weights with which `new` has this share, in percent, and the others have the rest as they shared it before.
pub(super) fn shared(
    before: &BTreeMap<InstanceId, u8>,
    new: &InstanceId,
    share: u8,
) -> BTreeMap<InstanceId, u8> {
    let others = || before.iter().filter(|(id, weight)| *id != new && **weight > 0);
    let sum: u32 = others().map(|(_, weight)| u32::from(*weight)).sum();
    let rest = u32::from(WEIGHT_MAX.saturating_sub(share));
    let part = |weight: u8| {
        let part = (u32::from(weight) * rest + sum / 2).checked_div(sum).unwrap_or(0);
        // Nobody loses all of it before the last step.
        u8::try_from(part).unwrap_or(WEIGHT_MAX).max(u8::from(rest > 0))
    };
    let mut weights: BTreeMap<_, _> = others().map(|(id, weight)| (id.clone(), part(*weight))).collect();
    weights.insert(new.clone(), share);
    weights
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{id, weights};
    use super::*;

    #[test]
    fn steps_grow_to_all() {
        let new = |shares: &[u8], seconds| Steps::new(shares.to_vec(), Duration::from_secs(seconds));
        assert_eq!(new(&[25, 50, 75, 100], 5), Ok(Steps::default()));
        for bad in [&[][..], &[0, 100], &[50, 50, 100], &[60, 50, 100], &[50], &[50, 101]] {
            assert_eq!(new(bad, 0), Err(InvalidSteps::Order), "{bad:?}");
        }
        let many: Vec<u8> = (80..=100).collect();
        assert_eq!(new(&many, 0), Err(InvalidSteps::Number));
        assert_eq!(new(&[100], 3601), Err(InvalidSteps::Pause));
    }

    #[test]
    fn a_step_behind_what_it_has_is_left_out() {
        let steps = Steps::default();
        assert_eq!(steps.ahead(&weights(&[("v1", 100)]), &id("v2")), [25, 50, 75, 100]);
        assert_eq!(steps.ahead(&weights(&[("v1", 50), ("v2", 50)]), &id("v2")), [75, 100]);
        assert_eq!(steps.ahead(&weights(&[("v2", 1)]), &id("v2")), [100]);
    }

    #[test]
    fn the_others_share_the_rest_as_before() {
        let all = weights(&[("v0", 0), ("v1", 90), ("v2", 30)]);
        let of = |share| shared(&all, &id("v3"), share);
        assert_eq!(of(20), weights(&[("v1", 60), ("v2", 20), ("v3", 20)]));
        assert_eq!(of(100), weights(&[("v1", 0), ("v2", 0), ("v3", 100)]));
        let odd = weights(&[("v1", 100), ("v2", 1)]);
        assert_eq!(shared(&odd, &id("v3"), 75), weights(&[("v1", 25), ("v2", 1), ("v3", 75)]));
        assert_eq!(shared(&all, &id("v2"), 75), weights(&[("v1", 25), ("v2", 75)]));
    }
}
