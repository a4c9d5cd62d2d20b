//! Why a request to the control API was not done.

use std::io;
use std::time::Duration;

use http::StatusCode;
use insula_api::AUDIT_ACTIONS;
use insula_services::{DeployError, ExecError};
use insula_spec::{InstanceName, InvalidName, ServiceName};
use insula_store::{ReadError, SearchError, TokenError, UnknownKind, WriteError};

use super::action::Action;
use crate::public::BadRequestId;

/// Why a request to the control API was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The peer is neither the owner of the daemon nor root.
    #[error("user {uid} may not control this daemon")]
    NotOwner {
        /// Who asked.
        uid: u32,
    },
    /// No token was sent.
    #[error("this needs a token")]
    NoToken,
    /// The token is malformed, unknown, revoked or over; which of these is not told.
    #[error("the token is not valid")]
    WrongToken,
    /// Too many wrong tokens came from this address.
    #[error("too many wrong tokens came from this address")]
    Cooling {
        /// How long it has to wait.
        wait: Duration,
    },
    /// The token is not for this.
    #[error("the token is not for this")]
    OutOfScope,
    /// A web page asks for a change, where nobody need show a token.
    #[error("a web page may change nothing on a daemon that asks for no token")]
    CrossSite,
    /// There is no token of this id.
    #[error("there is no token `{id}`")]
    UnknownToken {
        /// The id.
        id: String,
    },
    /// No random bytes are to be had.
    #[error("cannot get random bytes for a token")]
    Random(#[source] io::Error),
    /// A token could not be stored.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The body is too long.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// Most bytes that are taken.
        limit: usize,
    },
    /// The body is not JSON by its own word.
    #[error("the body is of a media type other than `application/json`")]
    MediaType,
    /// The request was refused before any handler.
    #[error("the request was refused: {status}")]
    Refused {
        /// The status.
        status: StatusCode,
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
    /// The id of the request is none.
    #[error(transparent)]
    RequestId(BadRequestId),
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
    /// The configuration has no service of this name.
    #[error("there is no service `{0}`")]
    NoService(ServiceName),
    /// What is looked for cannot be.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// The word names no kind of event.
    #[error(transparent)]
    Kind(#[from] UnknownKind),
    /// The word names nothing that can be asked for.
    #[error("`{word}` is no action of the audit log")]
    UnknownAction {
        /// The word.
        word: String,
    },
    /// The answer could not be written as JSON.
    #[error("cannot write the answer as JSON")]
    Encode(#[source] serde_json::Error),
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
    /// As many instances are up as may be.
    #[error("`{name}` cannot be started: {limit} instances are up, which is the limit (`{key}`)")]
    TooMany {
        /// Which instance.
        name: InstanceName,
        /// The key of the configuration that sets the limit.
        key: String,
        /// The limit.
        limit: usize,
    },
    /// A deploy or a change of weights was not done.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// Too many wait for the same instance.
    #[error("too many wait for `{name}` already")]
    Busy {
        /// Which instance.
        name: InstanceName,
    },
    /// The client speaks HTTP where it should change over to another protocol.
    #[error("a command runs over an upgraded connection, and none was asked for")]
    NoUpgrade,
    /// The operator's own program runs the service.
    #[error("no command can be run beside `{name}`: its service is run by a program of the operator's")]
    Runner {
        /// Which instance.
        name: InstanceName,
    },
    /// A command was not run.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A command was ended with its instance.
    #[error("`{name}` ended or is being stopped, and the command with it")]
    Ended {
        /// Which instance.
        name: InstanceName,
    },
    /// A command was ended.
    #[error("the command was ended after {limit:?}, the time it was given")]
    OutOfTime {
        /// The time given.
        limit: Duration,
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
            Self::NotOwner { .. }
            | Self::NoToken
            | Self::WrongToken
            | Self::Cooling { .. }
            | Self::OutOfScope
            | Self::CrossSite
            | Self::UnknownToken { .. } => self.admission_hint().to_owned(),
            Self::Random(_) => "check that the system call `getrandom` is allowed here".to_owned(),
            Self::Token(e) => e.hint(),
            Self::TooLarge { limit } => format!("send at most {limit} bytes"),
            Self::MediaType => "send JSON with `Content-Type: application/json`".to_owned(),
            Self::NoRoute { .. } | Self::Method { .. } | Self::Malformed { .. } | Self::Refused { .. } => {
                "see `/openapi.json` for what can be asked; a command and its daemon must be of one version"
                    .to_owned()
            }
            Self::Name(e) => e.hint().to_owned(),
            Self::Search(e) => e.hint().to_owned(),
            Self::Kind(e) => e.hint(),
            Self::UnknownAction { .. } => {
                let names: Vec<_> = AUDIT_ACTIONS.iter().map(|(name, _, _)| format!("`{name}`")).collect();
                format!("ask for one of {}", names.join(", "))
            }
            Self::Encode(_) => "ask for other lines; this is a fault of Insula".to_owned(),
            Self::RequestId(e) => e.hint().to_owned(),
            Self::UnknownService(_) | Self::NoService(_) => {
                "add the service to the configuration and run `insula config apply`; `insula ps` lists what is known"
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
            Self::TooMany { key, .. } => {
                format!("stop another instance, or raise `{key}`; `insula ps` lists what is up")
            }
            Self::Deploy(e) => e.hint(),
            Self::NoUpgrade => {
                "use `insula exec`, or send `Connection: upgrade` and `Upgrade: insula-exec` over HTTP/1.1"
                    .to_owned()
            }
            Self::Runner { .. } => {
                "ask that program, or run the service at a level of Insula's own".to_owned()
            }
            Self::Exec(e) => e.hint().to_owned(),
            Self::Ended { name } => format!("run `insula why {name}` to see what happened, and try again"),
            Self::OutOfTime { .. } => "give it more time, or none to run without an end".to_owned(),
            Self::Busy { .. } => "try again in a moment, or raise `hold_queue` of the service".to_owned(),
            Self::ShuttingDown => "try again when it runs".to_owned(),
            Self::Read(e) => e.hint(),
            Self::Ids { .. } => "run `insula doctor` to see how host ids are given here".to_owned(),
            Self::Write(e) => e.hint(),
        }
    }

    /// What to do for those who were not let in.
    fn admission_hint(&self) -> &'static str {
        match self {
            Self::NotOwner { .. } => "ask as the user that runs the daemon, or as root",
            Self::NoToken => {
                "send `Authorization: Bearer TOKEN`; with the command, put it into `INSULA_TOKEN` or name its file with \
                 `--token-file`; the owner of the daemon makes one with `insula token create`"
            }
            Self::WrongToken => {
                "check that the token is whole, and neither revoked nor over: `insula token ls` on the daemon's host"
            }
            Self::Cooling { .. } => "check the token, and try again later",
            Self::OutOfScope => {
                "use a token whose scope has it: a tenant's is for its own instances, to look and to restart"
            }
            Self::UnknownToken { .. } => "run `insula token ls` to see which there are",
            _ => "use the command line, or serve with tokens",
        }
    }
}
