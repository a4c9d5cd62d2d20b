//! Why a request to the daemon failed.

use std::io;

use super::target::Target;
use crate::Problem;
use crate::tls::TlsError;

/// Why a request to the daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no daemon answers on `{at}`")]
    NotRunning {
        /// The control socket, or the URL of the server.
        at: String,
        /// What `connect(2)` said.
        #[source]
        source: io::Error,
    },
    /// The socket is not open to this user.
    #[error("this user may not open `{at}`")]
    NotAllowed {
        /// The control socket, or the URL of the server.
        at: String,
        /// What `connect(2)` said.
        #[source]
        source: io::Error,
    },
    /// It could not be reached for another reason.
    #[error("cannot connect to `{at}`")]
    Connect {
        /// The control socket, or the URL of the server.
        at: String,
        /// What `connect(2)` said.
        #[source]
        source: io::Error,
    },
    /// It did not prove to be who it should be, or nobody could vouch for it.
    #[error("cannot speak TLS with `{at}`")]
    Tls {
        /// The URL of the server.
        at: String,
        /// Why not.
        #[source]
        source: TlsError,
    },
    /// The connection broke before the answer was whole.
    #[error("the connection to the daemon broke before the answer was whole")]
    Broken(#[source] hyper::Error),
    /// The stream of a command broke before the command ended.
    #[error("the connection to the daemon broke before the command ended")]
    Cut(#[source] io::Error),
    /// What came is not what was asked for.
    #[error("the daemon does not speak the protocol that was asked for")]
    Protocol,
    /// The token cannot be written into a header field.
    #[error("the token is not one: it has characters that no token has")]
    BadToken,
    /// The request could not be written as HTTP.
    #[error("cannot write the request as HTTP")]
    Request(#[source] http::Error),
    /// The answer is not what this version understands.
    #[error("cannot understand the answer of the daemon")]
    Decode(#[source] serde_json::Error),
    /// The answer is longer than any answer should be.
    #[error("the answer of the daemon is longer than {limit} bytes")]
    TooLong {
        /// The most that is read.
        limit: usize,
    },
    /// The daemon answered that it cannot or will not.
    #[error(transparent)]
    Problem(Box<Problem>),
}

impl ClientError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NotRunning { .. } => {
                "start it with `insula serve`, or name its home (`--home`, `INSULA_HOME`) or its URL (`--server`, \
                 `INSULA_SERVER`)"
                    .to_owned()
            }
            Self::NotAllowed { .. } => {
                "run the command as the user that runs `insula serve`, or as root".to_owned()
            }
            Self::Connect { .. } => {
                "check the path of the home (`--home`, `INSULA_HOME`) or the URL (`--server`, `INSULA_SERVER`)".to_owned()
            }
            Self::Tls { source, .. } => source.hint().to_owned(),
            Self::BadToken => "check `INSULA_TOKEN`, or the file of `--token-file`: one line, `insula_...`".to_owned(),
            Self::Broken(_) => "run the command again; the daemon may just have been restarted".to_owned(),
            Self::Cut(_) => {
                "the command was ended; run it again, the daemon may just have been restarted".to_owned()
            }
            Self::Protocol | Self::Request(_) | Self::Decode(_) | Self::TooLong { .. } => {
                "use the same version of `insula` for the command and the daemon".to_owned()
            }
            Self::Problem(problem) => problem.remediation.clone(),
        }
    }

    pub(super) fn problem(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }

    /// The daemon went away in the middle of a stream, and did not come back.
    pub(super) fn gone(target: &Target) -> Self {
        Self::NotRunning { at: target.to_string(), source: io::ErrorKind::ConnectionAborted.into() }
    }

    pub(super) fn connect(target: &Target, source: io::Error) -> Self {
        let at = target.to_string();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::NotRunning { at, source },
            io::ErrorKind::PermissionDenied => Self::NotAllowed { at, source },
            _ => Self::Connect { at, source },
        }
    }
}
