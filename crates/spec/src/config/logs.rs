//! The `[logs]` table, validated.

use std::time::Duration;

use crate::ByteSize;

/// What is kept of the captured output of instances. The oldest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// Age beyond which lines go; `None` keeps them until a size is reached.
    pub keep: Option<Duration>,
    /// Most output of one instance. Each line counts 64 bytes more than it has.
    pub max_size_per_instance: ByteSize,
    /// Most output of all instances, counted in the same way.
    pub max_size: ByteSize,
}

impl LogSettings {
    /// Shortest age.
    pub(super) const KEEP_MIN: Duration = Duration::from_secs(60);
    /// Least size; about what one transaction may write.
    pub(super) const SIZE_MIN: ByteSize = ByteSize::mib(1);
    /// Most size.
    pub(super) const SIZE_MAX: ByteSize = ByteSize::mib(1 << 20);
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { keep: None, max_size_per_instance: ByteSize::mib(64), max_size: ByteSize::mib(2048) }
    }
}
