//! Which daemon a command speaks to, and as whom.
//!
//! | what | first of |
//! |---|---|
//! | daemon | `--server`, `INSULA_SERVER`, the Unix socket of the home |
//! | token | `--token-file`, `INSULA_TOKEN`, none |
//! | authority | `INSULA_CA_FILE`, the roots of this host |
//!
//! There is no option that takes a token itself: command lines are for everybody's eyes.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use insula_api::tls::Trust;
use insula_api::{Bearer, Client, InvalidServer};

use crate::home::Home;
use crate::printer::Printer;

/// Variable that holds a token.
pub(crate) const TOKEN: &str = "INSULA_TOKEN";

/// Variable that names a daemon.
pub(crate) const SERVER: &str = "INSULA_SERVER";

/// Variable that names the certificates of one's own authority.
pub(crate) const CA_FILE: &str = "INSULA_CA_FILE";

/// Longest token file, in bytes.
const FILE_MAX: u64 = 4096;

/// Which daemon, and as whom.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RemoteArgs {
    /// URL of the daemon, `http://HOST:PORT` or `https://HOST` [env: INSULA_SERVER] [default: the Unix socket of the home]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// File that holds the token for `--server`; only its owner may read it [env: INSULA_TOKEN holds the token itself]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) token_file: Option<PathBuf>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This option of the command line.
    Option(&'static str),
    /// This variable of the environment.
    Variable(&'static str),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(name) => write!(f, "--{name}"),
            Self::Variable(name) => f.write_str(name),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why it is not known which daemon is meant, or as whom.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    /// The URL is not one.
    #[error("{from}")]
    Server {
        /// Who named it.
        from: Origin,
        /// What is wrong with it.
        #[source]
        source: InvalidServer,
    },
    /// The file cannot be read.
    #[error("cannot read the token from `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others may read the file.
    #[error("others may read the token in `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// What was given has not the form of a token. It is not shown.
    #[error("what {from} holds is not a token")]
    NoToken {
        /// Who gave it.
        from: Origin,
    },
    /// A token without a daemon to send it to.
    #[error("`--token-file` without a daemon to use it on")]
    Nowhere,
}

impl RemoteError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Server { source, .. } => source.hint().to_owned(),
            Self::File { .. } => "check the path and who may read it".to_owned(),
            Self::Open { path } => format!("run `chmod 600 {}`", path.display()),
            Self::NoToken { .. } => {
                "give one line, `insula_...`, as `insula token create` prints it; make a new one if it is lost".to_owned()
            }
            Self::Nowhere => format!("name the daemon with `--server` or `{SERVER}`"),
        }
    }
}

/// A daemon, and what to show it.
#[derive(Debug)]
pub(crate) struct Remote {
    /// URL of the daemon; `None` for the Unix socket of the home.
    pub(crate) server: Option<String>,
    /// Who named the daemon.
    pub(crate) server_from: Origin,
    /// What to show it.
    pub(crate) token: Option<Bearer>,
    /// Who gave the token.
    pub(crate) token_from: Origin,
    /// Whose certificates are believed.
    pub(crate) trust: Trust,
}

impl Remote {
    /// Finds out from options and environment; `variable` reads the latter.
    pub(crate) fn find(
        args: &RemoteArgs,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, RemoteError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let (server, server_from) = match (&args.server, set(SERVER)) {
            (Some(server), _) => (Some(server.clone()), Origin::Option("server")),
            (None, Some(server)) => (Some(server), Origin::Variable(SERVER)),
            (None, None) => (None, Origin::Default),
        };
        let (token, token_from) = match (&args.token_file, set(TOKEN)) {
            (Some(_), _) if server.is_none() => return Err(RemoteError::Nowhere),
            (Some(path), _) => (Some(read(path)?), Origin::Option("token-file")),
            (None, Some(token)) => (Some(token), Origin::Variable(TOKEN)),
            (None, None) => (None, Origin::Default),
        };
        let token = token.map(|text| checked(&text, &token_from)).transpose()?;
        let trust = set(CA_FILE).map_or(Trust::Host, |path| Trust::File(path.into()));
        Ok(Self { server, server_from, token, token_from, trust })
    }

    /// A client of that daemon.
    pub(crate) fn client(self, home: &Home, printer: Printer) -> Result<Client, RemoteError> {
        let Some(server) = self.server else { return Ok(Client::unix(home.control_socket())) };
        let client = Client::http(&server, self.token)
            .map_err(|source| RemoteError::Server { from: self.server_from, source })?
            .trusting(self.trust);
        if client.exposes_token() {
            printer.talk(&format!(
                "warning: the token of {} travels unencrypted to `{server}`; use `https` or a tunnel",
                self.token_from
            ));
        }
        Ok(client)
    }
}

/// A token is one word of a known beginning. Anything else, half a file for one, is refused before it is sent.
fn checked(text: &str, from: &Origin) -> Result<Bearer, RemoteError> {
    let text = text.trim();
    let good = text.starts_with("insula_") && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if good { Ok(Bearer::new(text)) } else { Err(RemoteError::NoToken { from: from.clone() }) }
}

fn read(path: &Path) -> Result<String, RemoteError> {
    let io = |source| RemoteError::File { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if meta.is_file() && meta.mode() & 0o077 != 0 {
        return Err(RemoteError::Open { path: path.to_owned() });
    }
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const GOOD: &str = "insula_a_0_1_2";

    fn find(server: Option<&str>, file: Option<&Path>, env: &[(&str, &str)]) -> Result<Remote, RemoteError> {
        let args = RemoteArgs { server: server.map(str::to_owned), token_file: file.map(Path::to_owned) };
        Remote::find(&args, |name| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn options_win_over_the_environment_and_each_tells_where_it_came_from() {
        let both = find(Some("http://a"), None, &[(SERVER, "http://b"), (TOKEN, GOOD)]).unwrap();
        assert_eq!(
            (both.server.as_deref(), both.server_from.to_string()),
            (Some("http://a"), "--server".into())
        );
        assert_eq!(
            (both.token.as_ref().map(Bearer::expose), both.token_from),
            (Some(GOOD), Origin::Variable(TOKEN))
        );
        let variable = find(None, None, &[(SERVER, "http://b")]).unwrap();
        assert_eq!(
            (variable.server.as_deref(), variable.server_from),
            (Some("http://b"), Origin::Variable(SERVER))
        );
        let none = find(None, None, &[(SERVER, "")]).unwrap();
        assert_eq!((none.server, none.server_from, none.token), (None, Origin::Default, None));
        let private = find(Some("https://a"), None, &[(CA_FILE, "/srv/ca.pem")]).unwrap();
        assert_eq!((none.trust, private.trust), (Trust::Host, Trust::File("/srv/ca.pem".into())));
    }

    #[test]
    fn a_token_file_is_closed_to_others_and_holds_one_token() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let with = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            find(Some("http://a"), Some(&path), &[(TOKEN, "insula_other")])
        };
        let read = with(&format!("{GOOD}\n"), 0o600).unwrap();
        assert_eq!((read.token.unwrap().expose(), read.token_from), (GOOD, Origin::Option("token-file")));
        assert!(matches!(with(GOOD, 0o644), Err(RemoteError::Open { .. })));
        for bad in ["", "\n", "password", "insula_a b", "insula_a\ninsula_b", "insula_ä"] {
            let error = with(bad, 0o600).unwrap_err();
            assert!(matches!(error, RemoteError::NoToken { .. }), "{bad:?} was let in");
            assert!(bad.len() < 3 || !error.to_string().contains(bad), "it was shown: {error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(find(Some("http://a"), Some(&path), &[]), Err(RemoteError::File { .. })));
        assert!(matches!(find(None, Some(&path), &[]), Err(RemoteError::Nowhere)));
    }
}
