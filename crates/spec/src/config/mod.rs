//! `insula.toml`: one file that says what runs here.
//!
//! What the user typed and what it means are two families of types. The first keeps the place of every
//! value; the second cannot hold nonsense. Between them every problem of the file is collected, so that one
//! run shows all of them, each with its line and what to type instead.
//!
//! ```text
//! text ──toml──► tables ──read──► RawConfig ──check──► Config ──launch(id, placement)──► Launch
//!           │               │                   │
//!           └───────────────┴──── Problem ──────┴──► ConfigError
//! ```
//!
//! A new table, in the order in which the compiler leads through it: its keys in `raw::tables!`, and a field
//! of its type in the table above it; a public type that cannot hold nonsense, beside [`Functions`]; a
//! function in `check/` from the one to the other, called by `check::config`; rows in
//! `docs/reference/config.md`, which a test compares with `raw::TABLES`; rows in `show` for values that have
//! a default, so that `insula config show --defaults` tells it. Schema and unknown keys need nothing more.

mod alerts;
mod check;
#[cfg(test)]
mod documented;
mod error;
mod forms;
mod functions;
mod hint;
mod kind;
mod launch;
mod levels;
mod logs;
mod note;
mod observability;
mod origin;
mod overrides;
mod problem;
mod raw;
mod read;
mod routing;
mod schema;
mod secrecy;
mod service;
mod show;
mod similar;
mod snippet;
mod template;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

pub use alerts::{AlertKind, Webhook};
pub use error::ConfigError;
pub use functions::{Access, AccessMode, Functions};
pub use kind::{KeyAdvice, ProblemKind};
pub use launch::PATH;
pub use levels::{ContainerSettings, Driver, External, GvisorSettings, Levels, Runner};
pub use logs::LogSettings;
pub use note::Note;
pub use observability::{AccessLog, LineFormat, MetricsAccess, Observability};
pub use origin::Origin;
pub use overrides::{OverrideError, Overrides, Source};
pub use problem::Problem;
pub use routing::{RESERVED, Routing, Target, is_below};
pub use schema::{Form, Table, schema};
pub use service::{HealthCheck, Protocol, RestartMode, RestartPolicy, ServiceSpec, SleepMode};
pub use show::Shown;
pub use variables::Variables;

use crate::{InstanceId, RoutedRange, ServiceName};
use check::Place;
use origin::{Lines, Written};
use problem::{At, Problems};
use read::Read as _;

/// A whole configuration, valid by construction.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it came from (absolute).
    pub path: PathBuf,
    /// Identity of the operator, if the file names one.
    pub did: Option<String>,
    /// Name of the operator, a domain name, if the file has one.
    pub handle: Option<String>,
    /// Installation-wide settings.
    pub settings: Settings,
    /// What is kept of captured output.
    pub logs: LogSettings,
    /// Services by name.
    pub services: BTreeMap<ServiceName, ServiceSpec>,
    /// What answers where no name of a service does.
    pub routing: Routing,
    /// Instances to start with the daemon, by service.
    pub instances: BTreeMap<ServiceName, BTreeSet<InstanceId>>,
    /// What holds for functions, as far as the file says it.
    pub functions: Functions,
    /// What is told about the work, and to whom.
    pub observability: Observability,
    /// Who is told when something goes wrong.
    pub alerts: Vec<Webhook>,
    /// Settings of single levels.
    pub levels: Levels,
    /// What an operator should know: values that were adjusted, old names, keys without effect; in the order
    /// of the file.
    pub notes: Vec<Note>,
    /// What the file has where.
    written: Written,
    /// Which settings were named outside of the file.
    named: Vec<(&'static str, Origin)>,
}

/// The `[settings]` table.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Root of the tenants' data, absolute; a tenant's directory is `{data_dir}/{service}/{id}`.
    pub data_dir: PathBuf,
    /// Domain under which services are reached, in lower case; `localhost` needs no DNS.
    pub domain: String,
    /// Port of the public HTTP listener; 0 picks a free one.
    pub port: u16,
    /// Addresses of proxies whose `X-Forwarded-*` headers are believed, as CIDR blocks such as
    /// `10.0.0.0/8`; always with a prefix, and without bits beyond it.
    pub trusted_proxies: Vec<String>,
    /// What routed networks get their addresses from.
    pub routed_range: RoutedRange,
    /// Most instances of all services together that may be up at once; `None` for no bound.
    pub max_instances: Option<usize>,
}

impl Settings {
    /// Root of the tenants' data, relative to the file, where it names none.
    pub const DEFAULT_DATA_DIR: &str = "data";
    /// Domain, where the file names none.
    pub const DEFAULT_DOMAIN: &str = "localhost";
    /// Port, where the file names none.
    pub const DEFAULT_PORT: u16 = 8080;
}

impl Config {
    /// Name of the file that [`Config::find`] looks for.
    pub const FILE_NAME: &str = "insula.toml";
    /// Most bytes of a file that are read.
    pub const MAX_BYTES: u64 = 1 << 20;

    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, or says anything that cannot be; the error holds all problems.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, &Overrides::default())
    }

    /// Reads and checks a file, with settings that win over it.
    ///
    /// # Errors
    /// As for [`Config::load`], and when one of these settings cannot be.
    pub fn load_with(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(Self::MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > Self::MAX_BYTES {
            return Err(ConfigError::TooLarge { path: path.to_owned(), limit: Self::MAX_BYTES });
        }
        let not_text = |_| ConfigError::NotText { path: path.to_owned(), what: "the content" };
        let text = String::from_utf8(bytes).map_err(not_text)?;
        Self::parse_with(&text, &in_real_folder(path).map_err(failed)?, overrides)
    }

    /// Checks a text as if it were the content of the file `path`, which need not exist. Relative paths in
    /// it start at the folder of `path`.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::parse_with(text, path, &Overrides::default())
    }

    /// Checks a text as [`Config::parse`] does, with settings that win over it.
    ///
    /// # Errors
    /// As for [`Config::load_with`].
    pub fn parse_with(text: &str, path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let absolute = std::path::absolute(path);
        let path = absolute.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        if path.to_str().is_none() {
            return Err(ConfigError::NotText { path, what: "the path" });
        }
        let data_dir = overrides.data_dir(&path)?;
        let mut problems = Problems::default();
        let lines = Lines::new(text);
        let variables = &overrides.variables;
        let place = Place { path: path.clone(), lines: &lines, data_dir, variables };
        let config = tables(text, &mut problems).and_then(|tables| interpret(tables, place, &mut problems));
        match config {
            Some(mut config) if problems.is_empty() => {
                config.written = Written::new(problems.seen(), &lines);
                config.take(overrides)?;
                Ok(config)
            }
            _ => {
                let (problems, omitted) = problems.finish(text);
                Err(ConfigError::Invalid { path, problems, omitted })
            }
        }
    }

    /// Looks for `insula.toml` in a folder and in those above it.
    #[must_use]
    pub fn find(start_dir: &Path) -> Option<PathBuf> {
        let start = std::path::absolute(start_dir).ok()?;
        start.ancestors().map(|dir| dir.join(Self::FILE_NAME)).find(|file| file.is_file())
    }
}

/// The path with its folder resolved by the file system, so that `..` behind a symbolic link is right.
fn in_real_folder(path: &Path) -> io::Result<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    Ok(fs::canonicalize(folder)?.join(name))
}

/// Parses the text; every syntax error is a problem, and then there are no tables.
fn tables<'t>(text: &'t str, problems: &mut Problems) -> Option<DeTable<'t>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        let near = text.get(span.clone()).map(str::trim);
        let near = near.filter(|near| !near.is_empty() && !secrecy::suspect(text, &span));
        let near = near.map(|near| format!(" at `{}`", near.chars().take(60).collect::<String>()));
        let near = near.unwrap_or_default();
        let at = At { key: String::new(), span };
        problems.push(&at, ProblemKind::Syntax(format!("{}{near}", error.message())));
    }
    errors.is_empty().then(|| table.into_inner())
}

/// Reads the tables, then checks what they say.
fn interpret(tables: DeTable<'_>, place: Place<'_>, problems: &mut Problems) -> Option<Config> {
    let raw = raw::RawConfig::read(&At::default(), &DeValue::Table(tables), problems)?;
    Some(check::config(raw, place, problems))
}
