//! Why a deploy, or a change of routes, did not come to its end.

use std::time::Duration;

use insula_spec::{InstanceId, InstanceName, ServiceName};
use insula_store::{ChangeError, ReadError, WriteError};

use super::healthy::Sick;
use crate::control::ControlError;

/// Why a deploy, or a change of routes, did not come to its end. Weights are as they were.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeployError {
    /// The configuration has no such service.
    #[error("there is no service `{0}`")]
    UnknownService(ServiceName),
    /// Nobody deployed it.
    #[error("there is no version `{0}`")]
    UnknownVersion(InstanceName),
    /// Its instances are tenants, which share nothing.
    #[error("service `{0}` has tenants, not versions: they take no weight")]
    Tenants(ServiceName),
    /// Another one is under way.
    #[error("`{0}` is being deployed or routed already")]
    Busy(String),
    /// A weight that is too large.
    #[error("weight {weight} of `{name}` is not between 0 and 100")]
    Weight {
        /// Whose.
        name: InstanceName,
        /// The weight.
        weight: u16,
    },
    /// From and to are the same.
    #[error("`{0}` cannot be routed to itself")]
    Same(InstanceName),
    /// There is nothing to move.
    #[error("`{0}` has no weight that could go to another version")]
    NoWeight(InstanceName),
    /// Nobody would answer.
    #[error("no version of `{0}` would take requests any more")]
    NobodyLeft(ServiceName),
    /// It did not become healthy.
    #[error("`{name}` did not become healthy: {}", said(why, lines))]
    NotHealthy {
        /// Which instance.
        name: InstanceName,
        /// What happened.
        why: String,
        /// What to do about it, where that is known.
        hint: Option<String>,
        /// The last lines that it wrote.
        lines: Vec<String>,
    },
    /// It was not healthy in time.
    #[error("`{name}` was not healthy within {timeout:?}: {}", said(why, lines))]
    TimedOut {
        /// Which instance.
        name: InstanceName,
        /// The time given.
        timeout: Duration,
        /// What it did meanwhile.
        why: String,
        /// The last lines that it wrote.
        lines: Vec<String>,
    },
    /// An instance could not be started or stopped for a reason of its own.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// It could not be written down.
    #[error("cannot record it")]
    Change(#[from] ChangeError),
    /// It could not be written down.
    #[error("cannot record it")]
    Write(#[from] WriteError),
    /// What was written down cannot be read.
    #[error("cannot read what was deployed")]
    Read(#[from] ReadError),
    /// Insula is going down.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// What happened, and the last lines of who it happened to.
fn said(why: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return why.to_owned();
    }
    let lines: Vec<_> = lines.iter().map(|line| format!("`{line}`")).collect();
    format!("{why}; it wrote {}", lines.join(", "))
}

impl DeployError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownService(name) => format!("add `[service.{name}]` to `insula.toml`"),
            Self::UnknownVersion(name) => {
                format!(
                    "run `insula deploy {name} --weight 0`; `insula route {}` lists what is there",
                    name.service
                )
            }
            Self::Tenants(name) => {
                format!(
                    "set `versions = true` in `[service.{name}]`, or leave the weight and the strategy out"
                )
            }
            Self::Busy(_) => "try again when that has ended".to_owned(),
            Self::Weight { .. } => "use a weight from 0 to 100".to_owned(),
            Self::Same(_) => "name two versions".to_owned(),
            Self::NoWeight(name) => {
                format!("`insula route {}` shows the weights; `insula weight` sets one", name.service)
            }
            Self::NobodyLeft(_) => "leave one version a weight; `insula stop` stops a version".to_owned(),
            Self::NotHealthy { hint: Some(hint), .. } => hint.clone(),
            Self::NotHealthy { .. } => {
                "correct the program and deploy it again; the weights are as before".to_owned()
            }
            Self::TimedOut { .. } => {
                "correct the program, or raise `--timeout`; the weights are as before".to_owned()
            }
            Self::Control(e) => e.hint(),
            Self::Change(e) => e.hint(),
            Self::Write(e) => e.hint(),
            Self::Read(e) => e.hint(),
            Self::ShuttingDown => "deploy it again when the server runs".to_owned(),
        }
    }

    /// It did not become healthy.
    pub(super) fn sick(name: &InstanceName, sick: Sick, timeout: Duration, lines: Vec<String>) -> Self {
        let name = name.clone();
        match sick {
            Sick::Failed { why, hint } => Self::NotHealthy { name, why, hint, lines },
            Sick::TimedOut { why } => Self::TimedOut { name, timeout, why, lines },
            Sick::Control(error) => Self::Control(error),
        }
    }

    /// A version that nobody knows.
    pub(super) fn unknown(service: &ServiceName, id: &InstanceId) -> Self {
        Self::UnknownVersion(InstanceName::new(service.clone(), id.clone()))
    }
}
