//! Quantities as people read them.

use std::time::Duration;

/// A span as it was set: `300ms`, else as [`age`].
pub(crate) fn span(duration: Duration) -> String {
    if duration < Duration::from_secs(1) { format!("{}ms", duration.as_millis()) } else { age(duration) }
}

/// The largest unit that fits: `42s`, `7m`, `3h`, `12d`.
pub(crate) fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Bytes with a unit: `312 B`, `12.3 KiB`, `4.0 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| n >= *size) {
        // Tenths by integer arithmetic: exact, and without rounding up into the next unit.
        Some((unit, size)) => format!("{}.{} {unit}", n / size, n % size * 10 / size),
        None => format!("{n} B"),
    }
}

/// A dash for what is not there.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_take_the_largest_unit_that_fits() {
        let ages = [0, 59, 60, 3599, 3600, 86_399, 86_400].map(|s| age(Duration::from_secs(s)));
        assert_eq!(ages, ["0s", "59s", "1m", "59m", "1h", "23h", "1d"]);
        assert_eq!([300, 90_000].map(|ms| span(Duration::from_millis(ms))), ["300ms", "1m"]);
        let sizes = [0, 1023, 1024, 1536, (1 << 20) - 1, 5 << 30].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1023.9 KiB", "5.0 GiB"]);
    }
}
