//! The time of day, read cheaply and written once a second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use insula_api::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Names of months in the combined log format.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment, in microseconds since 1970. It is as exact as the tick of the kernel: some milliseconds.
pub(super) type Micros = u64;

/// The time of the last look, and its texts.
#[derive(Debug, Default)]
pub(super) struct Clock {
    now: Micros,
    second: u64,
    common: String,
    rfc3339: String,
}

impl Clock {
    /// Looks at the clock.
    pub(super) fn now(&mut self) -> Micros {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        self.now = seconds * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000;
        if seconds != self.second || self.common.is_empty() {
            self.second = seconds;
            (self.common, self.rfc3339) = texts(seconds);
        }
        self.now
    }

    /// `22/Nov/2026:13:16:23 +0000`
    pub(super) fn common(&self) -> &str {
        &self.common
    }

    /// `2026-11-22T13:16:23`, without fraction and zone.
    pub(super) fn rfc3339(&self) -> &str {
        &self.rfc3339
    }

    /// Milliseconds of the second.
    pub(super) fn millis(&self) -> u64 {
        self.now / 1000 % 1000
    }
}

/// The moment as the rest of the program has it.
pub(super) fn system(time: Micros) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(time)
}

fn texts(seconds: u64) -> (String, String) {
    let text = Timestamp::from_micros(seconds * 1_000_000).to_string();
    let text = text.split('.').next().unwrap_or_default().to_owned();
    let (date, clock) = text.split_once('T').unwrap_or_default();
    let mut parts = date.split('-');
    let (year, month) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let day = parts.next().unwrap_or_default();
    let month = month.parse::<usize>().ok().and_then(|m| MONTHS.get(m.checked_sub(1)?)).unwrap_or(&"Jan");
    (format!("{day}/{month}/{year}:{clock} +0000"), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_texts() {
        let (common, rfc3339) = texts(1_795_353_383);
        assert_eq!(common, "22/Nov/2026:13:16:23 +0000");
        assert_eq!(rfc3339, "2026-11-22T13:16:23");
        assert!(texts(951_782_400).0.starts_with("29/Feb/2000:"));
    }

    #[test]
    fn it_is_about_now() {
        let mut clock = Clock::default();
        let gap = Timestamp::now().micros().abs_diff(clock.now());
        assert!(gap < 10_000_000, "{gap} us off");
        assert!(clock.millis() < 1000 && !clock.common().is_empty());
    }
}
