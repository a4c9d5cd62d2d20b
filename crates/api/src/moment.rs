//! Points in time as people ask for them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use insula_spec::parse_duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A time, or how long ago it was: `2026-01-31T12:00:00Z` or `10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub enum Moment {
    /// At this time.
    At(Timestamp),
    /// This long before it is asked for.
    Ago(Duration),
}

impl Moment {
    /// The time, as seen from `now`. What would be before 1970 is 1970.
    #[must_use]
    pub fn before(self, now: SystemTime) -> SystemTime {
        match self {
            Self::At(time) => SystemTime::UNIX_EPOCH + Duration::from_micros(time.micros()),
            Self::Ago(ago) => {
                now.checked_sub(ago).map_or(SystemTime::UNIX_EPOCH, |t| t.max(SystemTime::UNIX_EPOCH))
            }
        }
    }
}

/// Text that is neither a time nor a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a time nor a duration; write it like `2026-01-31T12:00:00Z` or `10m`")]
pub struct InvalidMoment(pub String);

impl FromStr for Moment {
    type Err = InvalidMoment;
    fn from_str(text: &str) -> Result<Self, InvalidMoment> {
        let time = text.parse().map(Self::At).ok();
        time.or_else(|| parse_duration(text).map(Self::Ago).ok())
            .ok_or_else(|| InvalidMoment(text.to_owned()))
    }
}

impl TryFrom<String> for Moment {
    type Error = InvalidMoment;
    fn try_from(text: String) -> Result<Self, InvalidMoment> {
        text.parse()
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => time.fmt(f),
            Self::Ago(ago) => write!(f, "{}ms", ago.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_while_ago() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let seen = |text: &str| text.parse::<Moment>().map(|moment| moment.before(now));
        let at = |seconds| Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(seen("1970-01-01T00:01:00Z"), at(60));
        assert_eq!(seen("10m"), at(400));
        assert_eq!(seen("30"), at(970));
        assert_eq!(seen("1d"), at(0), "nothing is before 1970");
        for text in ["1970-01-01T00:01:00.000000Z", "600000ms"] {
            assert_eq!(text.parse::<Moment>().unwrap().to_string(), text);
        }
        for bad in ["", "yesterday", "1970-01-01", "-1s"] {
            assert_eq!(seen(bad), Err(InvalidMoment(bad.to_owned())));
        }
    }
}
