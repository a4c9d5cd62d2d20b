//! Which daemon a command speaks to, and as whom.
//!
//! | what | first of |
//! |---|---|
//! | daemon | `--server`, `INSULA_SERVER`, the Unix socket of the home |
//! | token | `--token-file`, `INSULA_TOKEN`, `token` in the home, `insula/token` in `XDG_CONFIG_HOME`, none |
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
    /// This file, which nobody named.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(name) => write!(f, "--{name}"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => write!(f, "`{}`", path.display()),
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
    /// A daemon for a command that asks none, or only the one of its own home.
    #[error("{from} is not for `insula {verb}`, which {does}")]
    NotHere {
        /// Who named the daemon, or the token for it.
        from: Origin,
        /// The command.
        verb: &'static str,
        /// What the command does instead.
        does: &'static str,
    },
}

/// A command that sends nothing to the control API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alone {
    /// It asks the parent of the daemon of this home, over a socket that has no way in from elsewhere.
    Door(&'static str),
    /// It asks no daemon, whatever the environment names.
    Nobody(&'static str),
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
            Self::NotHere { from: Origin::Variable(name), .. } => {
                format!("run it on the host of that daemon, with its `--home`, and without `{name}`: `env -u {name} insula ...`")
            }
            Self::NotHere { from, .. } => {
                format!("leave `{from}` out; to act on another host, run the command there")
            }
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
    /// Whether nobody named a daemon for a command that would not ask it. Silence would let an operator believe that
    /// the other one was changed.
    pub(crate) fn unasked(
        args: &RemoteArgs,
        variable: impl Fn(&str) -> Option<String>,
        alone: Alone,
    ) -> Result<(), RemoteError> {
        let (verb, does) = match alone {
            Alone::Door(verb) => (verb, "acts on the daemon of its own home alone"),
            Alone::Nobody(verb) => (verb, "asks no daemon"),
        };
        let named = match (&args.server, &args.token_file, alone) {
            (Some(_), _, _) => Some(Origin::Option("server")),
            (None, Some(_), _) => Some(Origin::Option("token-file")),
            // A variable is there for all commands; it is in the way only of those that change a daemon.
            (None, None, Alone::Door(_)) => {
                variable(SERVER).filter(|value| !value.is_empty()).map(|_| Origin::Variable(SERVER))
            }
            (None, None, Alone::Nobody(_)) => None,
        };
        named.map_or(Ok(()), |from| Err(RemoteError::NotHere { from, verb, does }))
    }

    /// Finds out from options, environment and the files where a token may lie, in the home and for all homes of
    /// this user; `variable` reads the environment.
    pub(crate) fn find(
        args: &RemoteArgs,
        home: &Home,
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
            // Over the Unix socket no token is asked for, so none is looked for.
            (None, None) if server.is_none() => (None, Origin::Default),
            (None, None) => lying_about(&usual_files(home, &set))?,
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

/// Where a token is looked for that nobody named, in this order.
fn usual_files(home: &Home, set: &impl Fn(&'static str) -> Option<String>) -> Vec<PathBuf> {
    // XDG Base Directory Specification: a relative path is invalid, and ignored.
    let named = set("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let config = named.or_else(|| Some(PathBuf::from(set("HOME")?).join(".config")));
    [Some(home.token_file()), config.map(|config| config.join("insula/token"))]
        .into_iter()
        .flatten()
        .collect()
}

/// The first of these files that is there. One that may not be used is an error, not a reason to look further: else
/// nobody would learn that it lies open.
fn lying_about(files: &[PathBuf]) -> Result<(Option<String>, Origin), RemoteError> {
    for path in files {
        match read(path) {
            Ok(text) => return Ok((Some(text), Origin::File(path.clone()))),
            Err(RemoteError::File { source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((None, Origin::Default))
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
        let home = Home::locate(Some("/nowhere/home".into())).unwrap();
        Remote::find(&args, &home, |name| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
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
    fn a_token_lies_in_the_home_or_in_the_configuration_of_the_user() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::locate(Some(dir.path().join("home"))).unwrap();
        let config = dir.path().join("config/insula/token");
        for path in [&home.token_file(), &config] {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        let write = |path: &Path, text: &str, mode| {
            std::fs::write(path, text).unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        let xdg = dir.path().join("config").display().to_string();
        let find = |server: Option<&str>, token: Option<&str>| {
            let args = RemoteArgs { server: server.map(str::to_owned), token_file: None };
            Remote::find(&args, &home, |name| match name {
                "XDG_CONFIG_HOME" => Some(xdg.clone()),
                TOKEN => token.map(str::to_owned),
                _ => None,
            })
        };
        assert_eq!(find(Some("http://a"), None).unwrap().token_from, Origin::Default);
        write(&config, GOOD, 0o600);
        let found = find(Some("http://a"), None).unwrap();
        assert_eq!((found.token.unwrap().expose(), found.token_from), (GOOD, Origin::File(config.clone())));
        write(&home.token_file(), "insula_home\n", 0o600);
        let found = find(Some("http://a"), None).unwrap();
        assert_eq!(
            (found.token.unwrap().expose(), found.token_from),
            ("insula_home", Origin::File(home.token_file()))
        );
        assert_eq!(find(Some("http://a"), Some(GOOD)).unwrap().token_from, Origin::Variable(TOKEN));
        assert!(find(None, None).unwrap().token.is_none(), "the Unix socket asks for none");
        // One that others may read is refused, and told, also where another one would do.
        write(&home.token_file(), GOOD, 0o640);
        let open = find(Some("http://a"), None).unwrap_err();
        assert!(matches!(&open, RemoteError::Open { path } if *path == home.token_file()), "{open}");
        assert_eq!(open.hint(), format!("run `chmod 600 {}`", home.token_file().display()));
        assert!(find(Some("http://a"), Some(GOOD)).is_ok(), "it is not looked at where a token was given");
        write(&home.token_file(), "password", 0o600);
        let error = find(Some("http://a"), None).unwrap_err().to_string();
        assert!(error.contains("home/token") && !error.contains("password"), "{error}");
    }

    #[test]
    fn a_daemon_for_a_command_that_would_not_ask_it_is_refused() {
        let refused = |server: Option<&str>, file: Option<&str>, variable: Option<&str>, alone| {
            let args = RemoteArgs { server: server.map(str::to_owned), token_file: file.map(PathBuf::from) };
            let variable = |name: &str| variable.filter(|_| name == SERVER).map(str::to_owned);
            match Remote::unasked(&args, variable, alone) {
                Err(RemoteError::NotHere { from, .. }) => Some(from.to_string()),
                Err(other) => panic!("{other}"),
                Ok(()) => None,
            }
        };
        let (door, nobody) = (Alone::Door("config apply"), Alone::Nobody("doctor"));
        for alone in [door, nobody] {
            assert_eq!(refused(Some("http://a"), None, None, alone).as_deref(), Some("--server"));
            assert_eq!(refused(None, Some("/t"), None, alone).as_deref(), Some("--token-file"));
            assert_eq!(refused(None, None, None, alone), None);
            assert_eq!(refused(None, None, Some(""), alone), None);
        }
        assert_eq!(refused(None, None, Some("http://a"), door).as_deref(), Some(SERVER));
        assert_eq!(refused(None, None, Some("http://a"), nobody), None, "it is there for other commands");
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
