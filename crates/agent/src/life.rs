//! The life of the workload behind one set of walls.
//!
//! ```text
//! Blank ──Launch──► Starting ──executed──► Running ──main ended──► Ending ──all gone──► Exited
//!                      │ failed                                                          │
//!                      └──────────────► Spent                    Starting ◄──Launch──────┘
//! ```
//! Behind a wall with an agent of its own there are more steps, see [`crate::inside::wall`].

use insula_frames::{Ended, Phase};
use rustix::process::Pid;

use crate::launchpad::Launchpad;
use crate::probe::Prober;

/// Where in it the workload is.
pub(crate) enum Life {
    /// A launchpad waits.
    Blank(Launchpad),
    /// The launchpad was told what to execute.
    Starting(Launchpad, Prober),
    /// The launchpad was told to execute a wall.
    Raising(Launchpad),
    /// The wall was executed; its agent does not answer yet.
    Silent,
    /// The agent behind the wall waits.
    Vacant,
    /// The agent behind the wall was told what to execute.
    Entering(Prober),
    /// It runs.
    Running(Running),
    /// The main process is gone; the others are being killed.
    Ending(Ended),
    /// Nothing is left of it. A new launchpad waits, if one could be made, or the agent behind the wall does.
    Exited(Ended, Option<Launchpad>),
    /// A launch failed; these walls cannot be used again.
    Spent,
}

/// A running workload.
pub(crate) struct Running {
    /// Its main process.
    pub(crate) main: Pid,
    /// Looks for its listener, until found.
    pub(crate) prober: Option<Prober>,
    /// Where it listens, once found: IPv6, Unix socket.
    pub(crate) listening: Option<(bool, bool)>,
}

impl Life {
    /// The same in terms of the protocol.
    pub(crate) fn phase(&self) -> Phase {
        match self {
            Self::Blank(_) | Self::Spent | Self::Raising(_) | Self::Silent | Self::Vacant => Phase::Blank,
            Self::Starting(..) | Self::Entering(_) => Phase::Running { listening: false },
            Self::Running(r) => Phase::Running { listening: r.listening.is_some() },
            Self::Ending(_) => Phase::Running { listening: false },
            Self::Exited(ended, _) => Phase::Exited(*ended),
        }
    }

    /// The main process, while it may be signalled.
    pub(crate) fn main(&self) -> Option<Pid> {
        match self {
            Self::Running(r) => Some(r.main),
            Self::Starting(pad, _) => Some(pad.pid()),
            _ => None,
        }
    }

    /// The prober that still looks.
    pub(crate) fn prober(&self) -> Option<&Prober> {
        match self {
            Self::Running(r) => r.prober.as_ref(),
            _ => None,
        }
    }

    /// The launchpad whose outcome is awaited.
    pub(crate) fn starting(&self) -> Option<&Launchpad> {
        match self {
            Self::Starting(pad, _) | Self::Raising(pad) => Some(pad),
            _ => None,
        }
    }
}
