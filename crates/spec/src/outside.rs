//! What holds for everything that an instance does outside.

use serde::{Deserialize, Serialize};

use crate::{ByteSize, Launch, NetPolicy};

/// What an instance may reach outside, and how fast. Both may change while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// What it may reach.
    pub net: NetPolicy,
    /// Bytes a second that it may send, and again that it may receive; `None` for no bound.
    pub bandwidth: Option<ByteSize>,
}

impl Outside {
    /// What a launch says of it.
    #[must_use]
    pub fn of(launch: &Launch) -> Self {
        Self { net: launch.net.clone(), bandwidth: launch.limits.bandwidth }
    }
}

impl From<NetPolicy> for Outside {
    fn from(net: NetPolicy) -> Self {
        Self { net, bandwidth: None }
    }
}
