//! What to log in with: the files that `docker login` and `podman login` write.
//!
//! A file that was named must be there. A file that cannot be read is an error, never the same as none: an image
//! of the same name that everybody may have could be another one. Programs that keep passwords elsewhere
//! (`credsStore`, `credHelpers`) are not run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use insula_spec::Secret;
use serde::Deserialize;

/// Longest file, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Why there is nothing to log in with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is not of this kind. What is in it is not repeated.
    #[error("`{}` is not a file of `docker login`", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A password is kept by another program.
    #[error("`{}` leaves `{registry}` to a program of its own", path.display())]
    Helper {
        /// The file.
        path: PathBuf,
        /// The registry.
        registry: String,
    },
}

impl CredentialsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "check the path, and that this user may read it",
            Self::Malformed { .. } => "write it anew with `docker login` or `podman login`",
            Self::Helper { .. } => "name another file with `--auth-file`, one with `auths` in it",
        }
    }
}

/// What one registry is told.
#[derive(Debug, Clone)]
pub(super) enum Login {
    /// User and password, as `Basic` wants them: `base64(user:password)`.
    Basic(Secret),
    /// A token that others are had for.
    Identity(Secret),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
}

/// Where files of logins are looked for, the first that is there counts: a file that was named, or those of
/// podman and docker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthFiles {
    /// A file that must be there.
    pub named: Option<PathBuf>,
    /// Files that may be there.
    pub usual: Vec<PathBuf>,
}

impl AuthFiles {
    /// A named file, or else that of the variable `REGISTRY_AUTH_FILE`, or else the usual ones of this user.
    #[must_use]
    pub fn find(named: Option<PathBuf>, variable: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let named = named.or_else(|| variable("REGISTRY_AUTH_FILE"));
        let docker = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
        let podman = variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
        let usual = podman.into_iter().chain(docker.map(|dir| dir.join("config.json"))).collect();
        Self { named, usual }
    }

    /// What a registry is told; nothing, if no file knows it.
    pub(super) fn login(&self, registry: &str, repository: &str) -> Result<Option<Login>, CredentialsError> {
        let Some(path) = &self.named else {
            for path in self.usual.iter().filter(|path| path.exists()) {
                if let Some(login) = read(path, registry, repository)? {
                    return Ok(Some(login));
                }
            }
            return Ok(None);
        };
        read(path, registry, repository)
    }
}

fn read(path: &Path, registry: &str, repository: &str) -> Result<Option<Login>, CredentialsError> {
    let failed = |source| CredentialsError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).map_err(failed)?.take(FILE_MAX).read_to_string(&mut text).map_err(failed)?;
    let malformed = || CredentialsError::Malformed { path: path.to_owned() };
    let config: Config = serde_json::from_str(&text).map_err(|_| malformed())?;
    let mut keys = Vec::new();
    // podman may have one login for a part of a registry.
    let whole = format!("{registry}/{repository}");
    let mut key = whole.as_str();
    loop {
        keys.push(key.to_owned());
        match key.rsplit_once('/') {
            Some((shorter, _)) => key = shorter,
            None => break,
        }
    }
    keys.extend([format!("https://{registry}"), format!("https://{registry}/v1/")]);
    if registry == "docker.io" {
        keys.extend(["https://index.docker.io/v1/", "index.docker.io"].map(str::to_owned));
    }
    let Some(entry) = keys.iter().find_map(|key| config.auths.get(key)) else {
        let helped = keys.iter().any(|key| config.cred_helpers.contains_key(key));
        return match helped {
            true => Err(CredentialsError::Helper { path: path.to_owned(), registry: registry.to_owned() }),
            false => Ok(None),
        };
    };
    if let Some(token) = entry.identitytoken.as_ref().filter(|token| !token.is_empty()) {
        return Ok(Some(Login::Identity(token.clone().into())));
    }
    match entry.auth.as_ref().filter(|auth| !auth.is_empty()) {
        // It is passed on as it stands, so it must fit into a header.
        Some(auth) if auth.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=-_".contains(&b)) => {
            Ok(Some(Login::Basic(auth.clone().into())))
        }
        Some(_) => Err(malformed()),
        None if config.creds_store.is_some() => {
            Err(CredentialsError::Helper { path: path.to_owned(), registry: registry.to_owned() })
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(text: &str, registry: &str) -> Result<Option<Login>, CredentialsError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        std::fs::write(&path, text).unwrap();
        let files = AuthFiles { named: Some(path), usual: Vec::new() };
        files.login(registry, "team/app")
    }

    #[test]
    fn the_closest_login_counts() {
        let text = r#"{"auths":{"r.example":{"auth":"d2hvbGU="},"r.example/team":{"auth":"cGFydA=="},
                       "https://index.docker.io/v1/":{"auth":"aHVi"}}}"#;
        let basic = |registry| match login(text, registry).unwrap() {
            Some(Login::Basic(secret)) => secret.expose().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(basic("r.example"), "cGFydA==");
        assert_eq!(basic("docker.io"), "aHVi");
        assert!(login(text, "other.example").unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_read_is_no_login_for_everybody() {
        assert!(matches!(login("{", "r.example"), Err(CredentialsError::Malformed { .. })));
        let injected = r#"{"auths":{"r.example":{"auth":"a\r\nX: y"}}}"#;
        assert!(matches!(login(injected, "r.example"), Err(CredentialsError::Malformed { .. })));
        let helper = r#"{"credHelpers":{"r.example":"desktop"}}"#;
        assert!(matches!(login(helper, "r.example"), Err(CredentialsError::Helper { .. })));
        let named = AuthFiles { named: Some("/nowhere/auth.json".into()), usual: Vec::new() };
        assert!(matches!(named.login("r.example", "a"), Err(CredentialsError::Read { .. })));
    }

    #[test]
    fn no_secret_is_shown() {
        let text = r#"{"auths":{"r.example":{"auth":"c2VjcmV0"}}}"#;
        assert!(!format!("{:?}", login(text, "r.example").unwrap()).contains("c2VjcmV0"));
    }
}
