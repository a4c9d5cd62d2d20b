//! The one table of exit codes.
//!
//! | code | name | when |
//! |---|---|---|
//! | 0 | ok | done |
//! | 1 | failed | it was tried and did not work |
//! | 2 | usage | the command line is not valid |
//! | 3 | not found | no such instance, service or file |
//! | 4 | refused | this user, this host or the daemon will not do it |
//! | 5 | not running | no daemon answers |
//! | 6 | bad config | `insula.toml` is not valid |
//! | 7 | timed out | it was not done in the time given |

use std::process::ExitCode;

use insula_api::ClientError;
use insula_images::{LoadError, PullError, StoreError};
use insula_spec::ConfigError;

use crate::alerts::SecretError;
use crate::failure::Failure;
use crate::home::HomeError;
use crate::parent::{ActivationError, ListenError, LockError};
use crate::remote::RemoteError;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// It was tried and did not work.
    Failed = 1,
    /// The command line is not valid.
    Usage = 2,
    /// No such instance, service or file.
    NotFound = 3,
    /// This user, this host or the daemon will not do it.
    Refused = 4,
    /// No daemon answers.
    NotRunning = 5,
    /// `insula.toml` is not valid.
    BadConfig = 6,
    /// It was not done in the time given.
    TimedOut = 7,
}

impl Exit {
    /// A stable word for the code, used where an error has none of its own.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::NotRunning => "not_running",
            Self::BadConfig => "bad_config",
            Self::TimedOut => "timed_out",
        }
    }

    /// The code that an error ends the program with.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.exit;
        }
        if error.is::<SecretError>() || error.is::<crate::named::UnfitFilter>() {
            return Self::BadConfig;
        }
        if let Some(config) = error.downcast_ref::<ConfigError>() {
            return match config {
                ConfigError::Read { .. } => Self::NotFound,
                ConfigError::Override(_) => Self::Usage,
                _ => Self::BadConfig,
            };
        }
        if error.is::<RemoteError>() {
            return Self::Usage;
        }
        let taken = error.is::<LockError>() || error.is::<ListenError>() || error.is::<ActivationError>();
        if taken || error.is::<HomeError>() {
            return Self::Refused;
        }
        if let Some(exit) = Self::of_images(error) {
            return exit;
        }
        error.downcast_ref::<ClientError>().map_or(Self::Failed, Self::of_client)
    }

    /// Of an image: it is not there, or may not be had or removed.
    fn of_images(error: &anyhow::Error) -> Option<Self> {
        let of_store = |e: &StoreError| match e {
            StoreError::Unknown(_) => Self::NotFound,
            StoreError::InUse { .. } | StoreError::Busy => Self::Refused,
            StoreError::Ambiguous(_) => Self::Usage,
            _ => Self::Failed,
        };
        let load = error.downcast_ref::<LoadError>().map(|e| match e {
            LoadError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Self::NotFound,
            LoadError::NoRef { .. } => Self::NotFound,
            LoadError::Several { .. } => Self::Usage,
            LoadError::Store(e) => of_store(e),
            _ => Self::Failed,
        });
        let pull = error.downcast_ref::<PullError>().map(|e| match e {
            PullError::NotFound(_) => Self::NotFound,
            PullError::Denied { .. } | PullError::Insecure { .. } => Self::Refused,
            PullError::Slow { .. } | PullError::Deadline { .. } => Self::TimedOut,
            PullError::Store(e) => of_store(e),
            _ => Self::Failed,
        });
        error.downcast_ref::<StoreError>().map(of_store).or(load).or(pull)
    }

    fn of_client(error: &ClientError) -> Self {
        match error {
            ClientError::NotRunning { .. } => Self::NotRunning,
            ClientError::NotAllowed { .. } => Self::Refused,
            ClientError::Problem(problem) => match problem.status {
                404 => Self::NotFound,
                401 | 403 | 409 | 422 | 429 | 503 => Self::Refused,
                408 | 504 => Self::TimedOut,
                _ => Self::Failed,
            },
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use insula_api::Problem;

    use super::*;

    fn problem(status: u16) -> anyhow::Error {
        ClientError::Problem(Box::new(Problem::new(status, "x", "", ""))).into()
    }

    #[test]
    fn problems_end_with_their_own_code() {
        let of = |status| Exit::of(&problem(status));
        assert_eq!(of(404), Exit::NotFound);
        assert_eq!(of(403), Exit::Refused);
        assert_eq!(of(504), Exit::TimedOut);
        assert_eq!(of(500), Exit::Failed);
        assert_eq!(Exit::of(&anyhow::anyhow!("anything else")), Exit::Failed);
    }

    #[test]
    fn an_option_that_cannot_be_is_a_matter_of_usage() {
        let text = "[service.a]\ncommand = \"x\"\n";
        let overrides = crate::environment::overrides(None, Some("no domain"), None).unwrap();
        let path = std::path::Path::new("/srv/insula.toml");
        let error = anyhow::Error::from(insula_spec::Config::parse_with(text, path, &overrides).unwrap_err());
        assert_eq!(Exit::of(&error), Exit::Usage);
        assert!(crate::failure::hint(&error).is_some_and(|hint| hint.contains("apps.example.org")));
    }

    #[test]
    fn context_does_not_hide_the_code() {
        assert_eq!(Exit::of(&problem(404).context("while")), Exit::NotFound);
    }
}
