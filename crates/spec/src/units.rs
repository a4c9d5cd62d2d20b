//! Durations and sizes as people write them.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// From mebibytes.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n * 1024 * 1024)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match UNITS.iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size)) {
            Some((unit, size)) => write!(f, "{} {unit}", self.0 / size),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// Text that is neither a duration nor a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}")]
pub struct InvalidUnit {
    /// `duration` or `size`.
    pub what: &'static str,
    /// The text as given.
    pub text: String,
}

impl InvalidUnit {
    /// What to type instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.what {
            "duration" => "write a number and a unit: 500ms, 30s, 5m, 2h, 1d",
            _ => "write a number and a unit: 64K, 256M, 2G (powers of 1024)",
        }
    }
}

/// Splits `12.5m` into its number and its unit.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text.get(..end)?.parse().ok()?;
    Some((number, text.get(end..)?.trim()))
}

/// Parses `500ms`, `30s`, `5m`, `2h`, `1d`; a bare number is seconds.
///
/// # Errors
/// When the text has no number, an unknown unit, or does not fit.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidUnit> {
    let fail = || InvalidUnit { what: "duration", text: text.to_owned() };
    let (number, unit) = split(text).ok_or_else(fail)?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return Err(fail()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| fail())
}

/// Parses `64K`, `256M`, `256MiB`, `2G`; a bare number is bytes. Units are powers of 1024.
///
/// # Errors
/// When the text has no whole number, an unknown unit, or does not fit in 64 bits.
pub fn parse_bytes(text: &str) -> Result<ByteSize, InvalidUnit> {
    let fail = || InvalidUnit { what: "size", text: text.to_owned() };
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let number: u64 = trimmed.get(..end).and_then(|n| n.parse().ok()).ok_or_else(fail)?;
    let factor: u64 = match trimmed.get(end..).unwrap_or("").trim() {
        "" | "B" => 1,
        "K" | "KB" | "KiB" => 1 << 10,
        "M" | "MB" | "MiB" => 1 << 20,
        "G" | "GB" | "GiB" => 1 << 30,
        "T" | "TB" | "TiB" => 1 << 40,
        _ => return Err(fail()),
    };
    number.checked_mul(factor).map(ByteSize).ok_or_else(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("7"), Ok(Duration::from_secs(7)));
        for bad in ["", "m", "5 parsecs", "-1s", "1e99d", "99999999999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "`{bad}` was let in");
        }
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(parse_bytes("256M"), Ok(ByteSize::mib(256)));
        assert_eq!(parse_bytes("2 GiB"), Ok(ByteSize(2 << 30)));
        assert_eq!(parse_bytes("10"), Ok(ByteSize(10)));
        for bad in ["", "M", "1.5M", "5X", "99999999999G"] {
            assert!(parse_bytes(bad).is_err(), "`{bad}` was let in");
        }
        assert_eq!(ByteSize::mib(256).to_string(), "256 MiB");
        assert_eq!(ByteSize(1000).to_string(), "1000 B");
    }
}
