//! Times as they are stored: microseconds since 1970 (UTC).

use std::time::{Duration, SystemTime};

/// Microseconds since 1970; times before it count as 0, times too far ahead as the last one.
pub(crate) fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The time that [`micros`] came from.
pub(crate) fn from_micros(micros: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_the_round_trip_to_the_microsecond() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_763_805_600, 123_456_789);
        assert_eq!(
            from_micros(micros(time)),
            SystemTime::UNIX_EPOCH + Duration::new(1_763_805_600, 123_456_000)
        );
    }

    #[test]
    fn times_out_of_range_are_clamped() {
        assert_eq!(micros(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), 0);
        assert_eq!(from_micros(-5), SystemTime::UNIX_EPOCH);
    }
}
