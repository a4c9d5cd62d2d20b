//! Settings named outside of the file: they win over it, and are checked like it.
//!
//! ```text
//! option > environment > file > default
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use super::check::{data_dir_problem, domain_name};
use super::origin::Origin;
use super::{Config, ProblemKind, Variables};
use crate::InstanceName;

/// Where a setting was named, other than in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// An environment variable.
    Variable(&'static str),
    /// An option of the command line, without dashes.
    Option(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::Option(name) => write!(f, "--{name}"),
        }
    }
}

impl From<Source> for Origin {
    fn from(source: Source) -> Self {
        match source {
            Source::Variable(name) => Self::Variable(name),
            Source::Option(name) => Self::Option(name),
        }
    }
}

/// A setting that cannot be. Only [`ProblemKind`] words the message, so that it is the same one that the
/// file would get.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{source_name}`: {kind}")]
pub struct OverrideError {
    /// Who named it.
    pub source_name: Source,
    /// What is wrong.
    pub kind: ProblemKind,
}

impl OverrideError {
    /// What to type instead.
    #[must_use]
    pub fn hint(&self) -> String {
        self.kind.hint()
    }
}

/// Settings that win over those of the file, each with its source, and what the file may take from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Root of the tenants' data; relative paths start at the working directory.
    pub data_dir: Option<(Source, PathBuf)>,
    /// Domain under which services are reached, as typed.
    pub domain: Option<(Source, String)>,
    /// Port of the public listener, as typed.
    pub port: Option<(Source, String)>,
    /// What `${NAME}` in a value of an `env` stands for.
    pub variables: Variables,
}

impl Overrides {
    /// The root of the data, absolute, for a file at `path`.
    pub(super) fn data_dir(&self, path: &Path) -> Result<Option<PathBuf>, OverrideError> {
        let Some((source_name, typed)) = &self.data_dir else { return Ok(None) };
        let refuse = |kind| OverrideError { source_name: *source_name, kind };
        if typed.as_os_str().is_empty() {
            return Err(refuse(ProblemKind::EmptyPath));
        }
        if typed.starts_with("~") {
            return Err(refuse(ProblemKind::HomePath(typed.display().to_string())));
        }
        let absolute = std::path::absolute(typed).map_err(|_| refuse(ProblemKind::EmptyPath))?;
        let base = path.parent().unwrap_or(Path::new("/"));
        let problem = data_dir_problem(base, &absolute);
        let shown = || absolute.display().to_string();
        problem.map_or(Ok(()), |why| Err(refuse(ProblemKind::DataDir { path: shown(), why })))?;
        Ok(Some(absolute))
    }
}

impl Config {
    /// Takes the settings that were named outside of the file.
    pub(super) fn take(&mut self, overrides: &Overrides) -> Result<(), OverrideError> {
        if let Some((source, _)) = &overrides.data_dir {
            self.named.push(("settings.data_dir", (*source).into()));
        }
        if let Some((source, typed)) = &overrides.port {
            self.settings.port = self.free_port(typed).map_err(|kind| refusal(*source, kind))?;
            self.named.push(("settings.port", (*source).into()));
        }
        if let Some((source, typed)) = &overrides.domain {
            let invalid = || refusal(*source, ProblemKind::Domain(typed.clone()));
            self.settings.domain = domain_name(typed).ok_or_else(invalid)?;
            self.named.push(("settings.domain", (*source).into()));
        }
        Ok(())
    }

    /// A port that no instance has.
    fn free_port(&self, typed: &str) -> Result<u16, ProblemKind> {
        let (min, max) = (u16::MIN.to_string(), u16::MAX.to_string());
        let value = format!("`{typed}`");
        let port = typed.parse().map_err(|_| ProblemKind::OutOfRange { value, min, max })?;
        match self.owner_of(port) {
            Some(owner) => {
                let owner = format!("service.{}.listen_tcp.{}", owner.service, owner.id);
                Err(ProblemKind::PortTaken { port, owner })
            }
            None => Ok(port),
        }
    }

    /// The instance whose raw TCP port this is.
    fn owner_of(&self, port: u16) -> Option<InstanceName> {
        self.services.values().find_map(|spec| {
            let (id, _) = spec.listen_tcp.iter().find(|(_, taken)| **taken == port)?;
            Some(InstanceName::new(spec.name.clone(), id.clone()))
        })
    }
}

fn refusal(source_name: Source, kind: ProblemKind) -> OverrideError {
    OverrideError { source_name, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[settings]\nport = 80\n[service.cache]\ncommand = \"x\"\n[service.cache.listen_tcp]\n\
                        alice = 6379\n[instances]\ncache = [\"alice\"]\n";

    fn with(overrides: &Overrides) -> Result<Config, String> {
        Config::parse_with(TEXT, Path::new("/srv/insula.toml"), overrides).map_err(|e| e.to_string())
    }

    fn port(source: Source, text: &str) -> Overrides {
        Overrides { port: Some((source, text.to_owned())), ..Overrides::default() }
    }

    fn domain(text: &str) -> Overrides {
        let source = Source::Option("domain");
        Overrides { domain: Some((source, text.to_owned())), ..Overrides::default() }
    }

    fn data_dir(path: &str) -> Overrides {
        let source = Source::Variable("INSULA_DATA_DIR");
        Overrides { data_dir: Some((source, path.into())), ..Overrides::default() }
    }

    #[test]
    fn what_is_named_wins_and_what_is_not_stays() {
        let config = with(&Overrides::default()).unwrap();
        assert_eq!((config.settings.port, config.settings.domain.as_str()), (80, "localhost"));
        assert_eq!(with(&port(Source::Option("port"), "0")).unwrap().settings.port, 0);
        assert_eq!(with(&domain("Apps.Example.ORG")).unwrap().settings.domain, "apps.example.org");
        let moved = with(&data_dir("/var/data")).unwrap();
        assert_eq!(moved.settings.data_dir, Path::new("/var/data"));
        assert_eq!(moved.services["cache"].data_dir, Path::new("/var/data/cache"));
    }

    #[test]
    fn a_domain_is_checked_like_that_of_the_file() {
        let long = "a.".repeat(100) + "org";
        for bad in ["", "a b", "http://x", "x:80", "-x.org", "x..org", "10.0.0.1", "ä.org", &long] {
            let error = with(&domain(bad)).unwrap_err();
            assert_eq!(error, format!("`--domain`: {}", ProblemKind::Domain(bad.to_owned())));
            assert!(Config::parse(&format!("[settings]\ndomain = {bad:?}\n"), Path::new("/i")).is_err());
        }
    }

    #[test]
    fn a_port_is_named_by_its_source_when_it_cannot_be() {
        let variable = Source::Variable("INSULA_PORT");
        assert_eq!(
            with(&port(variable, "http")).unwrap_err(),
            "`INSULA_PORT`: `http` is not between 0 and 65535"
        );
        for bad in ["", "-1", "65536", " 80"] {
            assert!(with(&port(variable, bad)).is_err(), "`{bad}` was let in");
        }
        let taken = with(&port(Source::Option("port"), "6379")).unwrap_err();
        assert_eq!(taken, "`--port`: port 6379 already belongs to `service.cache.listen_tcp.alice`");
        with(&port(variable, "6380")).unwrap();
    }

    #[test]
    fn a_data_directory_is_checked_like_that_of_the_file() {
        for bad in ["", "~/data", "/", "/srv"] {
            let error = with(&data_dir(bad)).unwrap_err();
            assert!(error.starts_with("`INSULA_DATA_DIR`: "), "{error}");
        }
    }
}
