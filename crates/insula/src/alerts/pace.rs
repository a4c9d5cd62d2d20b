//! When to try again.

use std::time::Duration;

/// The first wait.
const BASE: Duration = Duration::from_secs(1);
/// The longest wait that nobody asked for.
const LONGEST: Duration = Duration::from_secs(300);
/// The longest wait that a receiver may ask for.
const ASKED_MAX: Duration = Duration::from_secs(3600);

/// How long to wait after so many failures in a row (from 1). `random` spreads receivers of many daemons: the
/// wait is between half of its bound and all of it. A receiver that asked for a longer one gets it.
pub(super) fn wait(failures: u32, random: u32, asked: Option<Duration>) -> Duration {
    let doubled = BASE.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let bound = doubled.min(LONGEST);
    let spread = bound / 2 + (bound / 2).mul_f64(f64::from(random) / f64::from(u32::MAX));
    spread.max(asked.unwrap_or_default().min(ASKED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_are_spread_below_it() {
        let bounds = |failures| (wait(failures, 0, None), wait(failures, u32::MAX, None));
        let secs = Duration::from_secs;
        assert_eq!(bounds(1), (secs(1) / 2, secs(1)));
        assert_eq!(bounds(4), (secs(4), secs(8)));
        assert_eq!(bounds(9), (secs(128), secs(256)));
        assert_eq!(bounds(10), (secs(150), secs(300)));
        assert_eq!(bounds(u32::MAX), (secs(150), secs(300)));
    }

    #[test]
    fn a_receiver_can_ask_for_more_but_not_for_ever() {
        let asked = |secs| wait(1, 0, Some(Duration::from_secs(secs)));
        assert_eq!(asked(0), Duration::from_millis(500));
        assert_eq!(asked(20), Duration::from_secs(20));
        assert_eq!(asked(u64::MAX), Duration::from_secs(3600));
    }
}
