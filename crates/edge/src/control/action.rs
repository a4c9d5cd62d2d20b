//! What the operator can do to an instance.

use std::fmt;

/// What the operator can do to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start it, and wait until it accepts connections.
    Spawn,
    /// Stop it, and wait until it is gone.
    Stop,
    /// Stop and start it.
    Restart,
}

impl Action {
    /// Its word, as in the path.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spawn => "spawn",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
