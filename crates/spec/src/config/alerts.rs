//! The `[alerts]` table: who is told when something goes wrong.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use crate::ServiceName;

/// One receiver of alerts: an `[[alerts.webhook]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name. What was delivered to it is remembered under this name.
    pub name: String,
    /// Where alerts are sent to: an `http` or `https` URL.
    pub url: String,
    /// File that holds the key of the signature (absolute). Only its owner may read it.
    pub secret_file: PathBuf,
    /// What it is told about; never empty.
    pub events: BTreeSet<AlertKind>,
    /// Only about these services; empty for all, and what belongs to no service.
    pub services: BTreeSet<ServiceName>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $text:literal,)*) => {
        /// What an alert can be about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum AlertKind {
            $($(#[$doc])* $kind,)*
        }

        impl AlertKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];
            /// The word of every kind, in the same order.
            pub const WORDS: &[&str] = &[$($text,)*];

            /// Its word, in the configuration and in what is sent.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $text,)*
                }
            }
        }
    };
}

kinds! {
    /// Health checks failed so often that the instance counts as ill.
    Unhealthy = "unhealthy",
    /// An instance that counted as ill passes its health checks again.
    Healthy = "healthy",
    /// An instance was given up.
    Failed = "failed",
    /// An instance was given up after it was started again and ended again.
    RestartLoop = "restart_loop",
    /// The kernel ended the program for its memory.
    Oom = "oom",
    /// The program ended by itself, not well.
    Crashed = "crashed",
    /// A tenant's directory came near its limit, or reached it.
    Disk = "disk",
    /// A tenant's directory that was near its limit has room again.
    DiskRoom = "disk_room",
    /// A start did not succeed.
    StartFailed = "start_failed",
    /// A running instance was not there any more.
    Lost = "lost",
    /// Output was lost before it could be stored.
    LogGap = "log_gap",
    /// A deploy did not come to its end.
    DeployFailed = "deploy_failed",
    /// The daemon began its work, after a planned restart or another end.
    WorkerStarted = "worker_started",
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
