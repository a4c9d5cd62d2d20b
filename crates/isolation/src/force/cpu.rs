//! What control groups of either version say of CPU time, in the words of the configuration.

use std::path::Path;

/// Shares of version 1 that are the weight 100.
const SHARES: u64 = 1024;
/// Microseconds of a period, where the group does not say it.
const PERIOD: u64 = 100_000;

fn is(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|file| file == name)
}

/// A weight, as `cpu.weight` or `cpu.shares` says it. Shares were rounded down when they were set.
pub(super) fn weight(path: &Path, text: &str) -> Option<u64> {
    let number: u64 = text.trim().parse().ok()?;
    Some(if is(path, "cpu.shares") { (number * 100 + SHARES / 2) / SHARES } else { number })
}

/// Thousandths of a CPU, as `cpu.max` or `cpu.cfs_quota_us` says it; `None` where nothing bounds it.
pub(super) fn quota(path: &Path, text: &str) -> Option<u64> {
    let mut words = text.split_whitespace();
    let quota: u64 = words.next()?.parse().ok()?;
    let period = match words.next() {
        Some(period) => period.parse().ok()?,
        None => std::fs::read_to_string(path.with_file_name("cpu.cfs_period_us"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(PERIOD),
    };
    (quota * 1000).checked_div(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_come_back_as_they_were_set() {
        for weight in [1_u64, 2, 50, 99, 100, 150, 333, 9_999, 10_000] {
            let shares = (weight * SHARES / 100).max(2).to_string();
            assert_eq!(super::weight(Path::new("/g/cpu.shares"), &shares), Some(weight));
            assert_eq!(super::weight(Path::new("/g/cpu.weight"), &weight.to_string()), Some(weight));
        }
    }

    #[test]
    fn a_quota_is_told_in_thousandths_and_none_as_none() {
        let of = |file: &str, text: &str| quota(Path::new(file), text);
        assert_eq!(of("/nowhere/cpu.max", "50000 100000\n"), Some(500));
        assert_eq!(of("/nowhere/cpu.max", "max 100000\n"), None);
        assert_eq!(of("/nowhere/cpu.cfs_quota_us", "150000\n"), Some(1500));
        assert_eq!(of("/nowhere/cpu.cfs_quota_us", "-1\n"), None);
    }
}
