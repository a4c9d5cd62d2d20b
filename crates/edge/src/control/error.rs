//! Why a request to the control API was not done.

use std::time::Duration;

use insula_spec::{InstanceName, InvalidName};
use insula_store::{ReadError, WriteError};

use super::action::Action;

/// Why a request to the control API was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The peer is neither the owner of the daemon nor root.
    #[error("user {uid} may not control this daemon")]
    NotOwner {
        /// Who asked.
        uid: u32,
    },
    /// Nothing is at this path.
    #[error("there is nothing at `{path}`")]
    NoRoute {
        /// The path.
        path: String,
    },
    /// The path is there, for another method.
    #[error("`{method}` is not for `{path}`")]
    Method {
        /// The method.
        method: String,
        /// The path.
        path: String,
    },
    /// The name is not one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The query or the body is not understood.
    #[error("cannot understand the {part}: {why}")]
    Malformed {
        /// `query` or `body`.
        part: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The configuration has no such service.
    #[error("there is no service `{}`", .0.service)]
    UnknownService(InstanceName),
    /// Nobody declared or spawned this instance.
    #[error("there is no instance `{0}`")]
    UnknownInstance(InstanceName),
    /// It could not be started.
    #[error("`{name}` could not be started: {why}")]
    NotStarted {
        /// Which instance.
        name: InstanceName,
        /// What happened.
        why: String,
        /// What to do about it.
        hint: String,
    },
    /// The outcome did not come in the time given.
    #[error("the {action} of `{name}` was not done within {timeout:?}")]
    TimedOut {
        /// Which instance.
        name: InstanceName,
        /// What was to be done.
        action: Action,
        /// The time given.
        timeout: Duration,
    },
    /// Somebody else asked for the opposite meanwhile.
    #[error("`{name}` was stopped meanwhile")]
    Stopped {
        /// Which instance.
        name: InstanceName,
    },
    /// Too many wait for the same instance.
    #[error("too many wait for `{name}` already")]
    Busy {
        /// Which instance.
        name: InstanceName,
    },
    /// The daemon is going down.
    #[error("the daemon is shutting down")]
    ShuttingDown,
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its host ids could not be told.
    #[error("cannot tell the host ids of `{name}`: {why}")]
    Ids {
        /// Which instance.
        name: InstanceName,
        /// Why not.
        why: String,
    },
    /// The store could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl ControlError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NotOwner { .. } => "ask as the user that runs the daemon, or as root".to_owned(),
            Self::NoRoute { .. } | Self::Method { .. } | Self::Malformed { .. } => {
                "use the same version of `insula` for the command and the daemon".to_owned()
            }
            Self::Name(e) => e.hint().to_owned(),
            Self::UnknownService(_) => {
                "add the service to `insula.toml` and restart the daemon; `insula ps` lists what is known"
                    .to_owned()
            }
            Self::UnknownInstance(name) => {
                format!(
                    "run `insula spawn {name}`, or declare it under `[instances]`; `insula ps` lists what is known"
                )
            }
            Self::NotStarted { hint, .. } => hint.clone(),
            Self::TimedOut { name, .. } => format!("run `insula why {name}` to see what it is doing"),
            Self::Stopped { name } => format!("run `insula spawn {name}` to start it again"),
            Self::Busy { .. } => "try again in a moment, or raise `hold_queue` of the service".to_owned(),
            Self::ShuttingDown => "try again when it runs".to_owned(),
            Self::Read(e) => e.hint(),
            Self::Ids { .. } => "run `insula doctor` to see how host ids are given here".to_owned(),
            Self::Write(e) => e.hint(),
        }
    }
}
