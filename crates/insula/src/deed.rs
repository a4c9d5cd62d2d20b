//! What was asked of the parent itself, for the audit log.
//!
//! The parent has no store. A change that is done is written down by the new worker before it says that it
//! serves, so one that cannot be written down is not done; a change that was refused or failed is told to
//! the worker that goes on.
//!
//! ```text
//! asked ──► new worker (Boot names the deed) ──stored──► Ready ──► answer
//!   └ refused, failed ──► kept until a worker serves ──Record──► stored
//! ```

use std::path::PathBuf;

use insula_store::{Actor, AuditEntry, Outcome};
use serde::{Deserialize, Serialize};

/// The `method` of a record of something that was asked of the parent.
const METHOD: &str = "LOCAL";

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Asker {
    /// A user of this host, over the parent's socket.
    User(u32),
    /// Whoever sent the signal.
    Signal,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// To read the configuration again and go on with it.
    Apply,
    /// To go on with another program and configuration.
    Takeover,
}

impl Act {
    /// The command that asks for it.
    const fn command(self) -> &'static str {
        match self {
            Self::Apply => "config apply",
            Self::Takeover => "serve --takeover",
        }
    }
}

/// A change that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deed {
    pub(crate) who: Asker,
    pub(crate) act: Act,
    /// The file of the configuration.
    pub(crate) config: PathBuf,
}

impl Deed {
    /// How the audit log holds it, under this id of a request.
    pub(crate) fn entry(&self, request: String) -> AuditEntry {
        let actor = match self.who {
            Asker::User(uid) => Actor::Unix { uid },
            Asker::Signal => Actor::Signal,
        };
        AuditEntry {
            actor,
            address: None,
            method: METHOD.to_owned(),
            path: self.act.command().to_owned(),
            target: Some(self.config.display().to_string()),
            request,
        }
    }
}

/// How it ended, in the words of the control API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ending {
    pub(crate) status: u16,
    pub(crate) code: String,
}

impl Ending {
    /// It is done.
    pub(crate) fn done() -> Self {
        Self { status: 200, code: "ok".to_owned() }
    }

    /// It was not begun, or given up before anything was changed.
    pub(crate) fn refused(code: &str) -> Self {
        Self { status: 409, code: code.to_owned() }
    }

    /// The configuration is at fault.
    pub(crate) fn bad_config() -> Self {
        Self { status: 400, code: "bad_config".to_owned() }
    }

    /// It was begun and undone again.
    pub(crate) fn failed(code: &str) -> Self {
        Self { status: 500, code: code.to_owned() }
    }
}

impl From<Ending> for Outcome {
    fn from(ending: Ending) -> Self {
        Self { status: ending.status, code: ending.code }
    }
}
