//! How full a tenant's directory is, as one word, and when that word changes.
//!
//! ```text
//!        80 %          100 %
//! Room ───────► Near ───────► Full
//!      ◄───────      ◄───────
//!        75 %          95 %
//! ```
//! The way back is lower than the way up, so that a directory at a boundary tells of it once.

use insula_isolation::Mechanism;
use insula_store::{Event, EventKind};
use serde::{Deserialize, Serialize};

/// Space that a hard limit may leave when a write has already failed: one in so many parts of the limit.
const LAST_PART: u64 = 128;
/// And at most so many bytes.
const LAST_PART_MAX: u64 = 1 << 20;

/// How full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// There is room.
    Room,
    /// At least four fifths of the limit are in use.
    Near,
    /// All of it is.
    Full,
}

impl Fill {
    /// Each of them, the emptiest first.
    pub const ALL: [Self; 3] = [Self::Room, Self::Near, Self::Full];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::Near => "near",
            Self::Full => "full",
        }
    }

    /// How full it is now, after it was `self`.
    #[must_use]
    pub(crate) fn next(self, used: u64, limit: u64, hard: bool) -> Self {
        // What is left of a hard limit may be too little for the next write.
        let left = if hard { (limit / LAST_PART).min(LAST_PART_MAX) } else { 0 };
        let at_least = |percent: u64| u128::from(used) * 100 >= u128::from(limit) * u128::from(percent);
        match self {
            _ if u128::from(used) + u128::from(left) >= u128::from(limit) => Self::Full,
            Self::Full if at_least(95) => Self::Full,
            Self::Room if !at_least(80) => Self::Room,
            _ if !at_least(75) => Self::Room,
            _ => Self::Near,
        }
    }
}

/// What an event about a disk limit tells: stored as its detail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskEvent {
    /// How full the directory is.
    pub disk: Fill,
    /// Bytes in use.
    pub used: u64,
    /// The limit in bytes.
    pub limit: u64,
    /// What bounds it: `hard (image)`, `hard (project quota)`, `soft`.
    pub mechanism: String,
    /// Whether it tells that an instance was started while it was full, rather than of a change.
    #[serde(default)]
    pub started: bool,
}

impl DiskEvent {
    /// What an event tells of a disk limit; `None` when it tells of something else.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        (event.kind == EventKind::Disk).then(|| Self::deserialize(&event.detail).ok()).flatten()
    }

    /// As an event.
    pub(crate) fn event(&self) -> Event {
        let share = u128::from(self.used) * 100 / u128::from(self.limit.max(1));
        let (used, limit, mechanism) = (self.used, self.limit, &self.mechanism);
        let hard = *mechanism != Mechanism::Soft.as_str();
        let holds = format!("its directory holds {used} bytes, {share} % of its disk limit of {limit}");
        let cause = match (self.disk, self.started, hard) {
            (_, true, true) => format!("started without room to write: {holds} ({mechanism})"),
            (_, true, false) => format!("started above its disk limit: {holds} ({mechanism})"),
            (Fill::Full, _, true) => format!("{holds} ({mechanism}): writes fail"),
            (Fill::Full, _, false) => format!("{holds} ({mechanism}): writes still succeed"),
            (Fill::Near, ..) => format!("{holds} ({mechanism})"),
            (Fill::Room, ..) => format!("there is room again: {holds} ({mechanism})"),
        };
        let detail = serde_json::to_value(self).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot write a disk event as JSON");
            serde_json::Value::Null
        });
        Event::new(EventKind::Disk, cause).detail(detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of directories that hold so many of 1,000,000 bytes, one after another.
    fn told(hard: bool, uses: &[u64]) -> Vec<&'static str> {
        let mut fill = Fill::Room;
        let step = |used: &u64| {
            let next = fill.next(*used, 1_000_000, hard);
            let told = (next != fill).then_some(next.as_str());
            fill = next;
            told
        };
        uses.iter().filter_map(step).collect()
    }

    #[test]
    fn each_crossing_is_told_once() {
        assert_eq!(told(false, &[0, 799_999, 800_000, 900_000, 1_000_000, 2_000_000]), ["near", "full"]);
        assert_eq!(told(false, &[2_000_000]), ["full"]);
        assert_eq!(told(false, &[1_000_000, 0, 1_000_000]), ["full", "room", "full"]);
    }

    #[test]
    fn at_a_boundary_nothing_is_told_again() {
        let near = [800_000, 790_000, 801_000, 760_000, 800_000];
        assert_eq!(told(false, &near), ["near"]);
        let full = [1_000_000, 999_999, 1_000_001, 950_000, 1_000_000];
        assert_eq!(told(false, &full), ["full"]);
        assert_eq!(told(false, &[1_000_000, 949_999, 749_999]), ["full", "near", "room"]);
    }

    #[test]
    fn a_hard_limit_is_full_when_the_next_write_may_fail() {
        assert_eq!(told(true, &[993_000]), ["full"]);
        assert_eq!(told(false, &[993_000]), ["near"]);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        assert_eq!(Fill::Room.next(u64::MAX, u64::MAX, true), Fill::Full);
        assert_eq!(Fill::Room.next(0, 1, false), Fill::Room);
    }

    #[test]
    fn an_event_is_read_back_as_what_it_tells() {
        for (disk, started) in [(Fill::Near, false), (Fill::Full, false), (Fill::Full, true)] {
            let told = DiskEvent { disk, used: 9, limit: 10, mechanism: "soft".into(), started };
            let event = told.event();
            assert!(event.cause.contains("90 %"), "{}", event.cause);
            assert_eq!(DiskEvent::of(&event), Some(told));
        }
        assert_eq!(DiskEvent::of(&Event::new(EventKind::Exited, "")), None);
        assert_eq!(DiskEvent::of(&Event::new(EventKind::Disk, "")), None);
    }
}
