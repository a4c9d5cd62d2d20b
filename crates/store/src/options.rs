//! What can be set about a store.

use std::time::Duration;

/// How a store is opened. The default suits one box with some hundred instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What is kept, and for how long.
    pub retention: Retention,
    /// How long a write, or opening, waits for another process that holds the file.
    pub busy_timeout: Duration,
    /// How many writes may wait in each lane; further callers wait outside.
    pub queue: usize,
    /// How many reads run at once.
    pub readers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { retention: Retention::default(), busy_timeout: Duration::from_secs(5), queue: 256, readers: 4 }
    }
}

/// What is kept. The oldest goes first, in small steps after a write, so that a limit may be passed for a
/// moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Events of one instance.
    pub events_per_instance: u32,
    /// Events in all.
    pub events: u32,
    /// Captured output of one instance in bytes; each line counts [`Retention::LINE`] bytes more than it has.
    pub log_bytes_per_instance: u64,
    /// Captured lines in all.
    pub log_rows: u64,
    /// Captured output of all instances in bytes, counted in the same way.
    pub log_bytes: u64,
    /// Age beyond which captured lines go, within a sixteenth of it and at most a minute more; `None` keeps
    /// them until the sizes are reached.
    pub log_age: Option<Duration>,
}

impl Retention {
    /// What a captured line counts beyond its bytes: about what the database needs for it.
    pub const LINE: u64 = 64;
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            events_per_instance: 1_000,
            events: 100_000,
            log_bytes_per_instance: 64 * 1024 * 1024,
            log_rows: 10_000_000,
            log_bytes: 2 * 1024 * 1024 * 1024,
            log_age: None,
        }
    }
}
