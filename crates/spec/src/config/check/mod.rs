//! From what the user typed to what it means.
//!
//! Checks never stop at the first problem. A value that is wrong is replaced by its default so that the
//! rest can be checked too; since one problem is enough to refuse the file, no such value is ever used.

mod alerts;
mod ancestors;
mod command;
mod functions;
mod image;
mod levels;
mod logs;
mod network;
mod observability;
mod paths;
mod references;
mod root;
mod routing;
mod scalars;
mod service;

pub(super) use network::domain_name;
pub(super) use paths::data_dir_problem;
pub(super) use scalars::human;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kind::ProblemKind;
use super::origin::{Lines, Written};
use super::problem::{At, Problems};
use super::raw::{RawConfig, RawSettings};
use super::read::Given;
use super::{Config, External, Note, RestartPolicy, Settings, Variables};
use crate::{Level, LevelChoice};

/// Where a file is, and what was said about it elsewhere.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// The file, absolute.
    pub(super) path: PathBuf,
    /// Where its lines begin.
    pub(super) lines: &'a Lines,
    /// Root of the tenants' data, absolute, if it was named outside of the file.
    pub(super) data_dir: Option<PathBuf>,
    /// What `${NAME}` stands for.
    pub(super) variables: &'a Variables,
}

/// What every check needs: where the file is, what is already known, and where findings go.
#[derive(Debug)]
struct Check<'a> {
    /// Folder of the configuration file, absolute.
    base: &'a Path,
    /// Root of the tenants' data, absolute.
    data_dir: PathBuf,
    lines: &'a Lines,
    variables: &'a Variables,
    problems: &'a mut Problems,
    notes: Vec<Note>,
}

/// What holds for services which say nothing about it.
#[derive(Debug, Clone)]
struct Defaults {
    isolation: LevelChoice,
    floor: Option<Level>,
    restart: RestartPolicy,
    check_interval: Duration,
    /// Services whose instances share the requests unless they say otherwise, and why.
    shared: BTreeMap<String, &'static str>,
    /// External programs that services may name.
    external: BTreeMap<String, External>,
}

/// Checks a whole file. The answer means something only if `problems` stayed empty.
pub(super) fn config(mut raw: RawConfig, place: Place<'_>, problems: &mut Problems) -> Config {
    let Place { path, lines, data_dir, variables } = place;
    let base = path.parent().unwrap_or(Path::new("/")).to_owned();
    let (data, notes) = (base.clone(), Vec::new());
    let mut check = Check { base: &base, data_dir: data, lines, variables, problems, notes };
    let settings_at = raw.settings.as_ref().map(|table| table.at.clone()).unwrap_or_default();
    let mut settings = raw.settings.take().map(|table| table.value).unwrap_or_default();
    let levels = check.levels(raw.levels.take());
    let defaults = Defaults { external: levels.external.clone(), ..check.defaults(&raw, &settings) };
    check.tls(settings.tls.take());
    let logs = check.logs(&raw.logs.take().map(|table| table.value).unwrap_or_default());
    let settings = check.settings(settings, &settings_at, data_dir);
    let (did, handle) = (raw.did.take().and_then(|did| check.did(did)), check.handle(raw.handle.take()));
    let functions = check.functions(raw.runtimes.take(), raw.access.take());
    let observability = check.observability(raw.observability.take());
    let tables = check.all_services(raw.service.take(), raw.process.take());
    let names = references::names(&tables);
    let alerts = check.alerts(raw.alerts.take(), &names);
    let instances = check.instances(raw.instances.map(|table| table.value).unwrap_or_default(), &names);
    check.ports(&settings, &tables, &instances);
    let services = tables.0.into_iter().filter_map(|entry| check.service(entry, &defaults)).collect();
    let routing = raw.routing.map(|table| table.value).unwrap_or_default();
    let known = routing::Known { names: &names, services: &services, domain: &settings.domain };
    let routing = check.routing(routing, &known);
    let mut notes = check.notes;
    notes.sort_by_key(|note| note.line);
    let (written, named) = (Written::default(), Vec::new());
    Config {
        path,
        did,
        handle,
        settings,
        logs,
        services,
        routing,
        instances,
        functions,
        observability,
        alerts,
        levels,
        notes,
        written,
        named,
    }
}

/// Services whose instances share the requests unless they say otherwise, and why.
fn shared(raw: &RawConfig) -> BTreeMap<String, &'static str> {
    let routed = raw.routing.as_ref().map(|table| routing::whole(&table.value)).unwrap_or_default();
    let listed = ancestors::listed(raw).into_iter().map(|name| (name, ancestors::LISTED));
    listed.chain(routed.into_iter().map(|name| (name, routing::ROUTED))).collect()
}

impl Check<'_> {
    /// What holds for services which say nothing about it.
    fn defaults(&mut self, raw: &RawConfig, settings: &RawSettings) -> Defaults {
        let defaults = Defaults {
            isolation: self.isolation(raw.isolation.as_ref()).unwrap_or_default(),
            floor: self.floor(raw.min_isolation.as_ref()),
            restart: self.restart_settings(settings),
            check_interval: self.check_interval(settings),
            external: BTreeMap::new(),
            shared: shared(raw),
        };
        let given = raw.isolation.as_ref().or(raw.min_isolation.as_ref());
        self.levels_agree(defaults.isolation, defaults.floor, given);
        defaults
    }

    fn settings(&mut self, raw: RawSettings, at: &At, named: Option<PathBuf>) -> Settings {
        let default_port = Settings::DEFAULT_PORT;
        let data_dir_at = raw.data_dir.as_ref().map_or_else(|| at.clone(), |given| given.at.clone());
        let given = raw.data_dir.and_then(|given| self.path(&given));
        let in_file = given.unwrap_or_else(|| paths::clean(&self.base.join(Settings::DEFAULT_DATA_DIR)));
        let outside = named.is_some();
        self.data_dir = named.unwrap_or(in_file);
        if !outside {
            self.data_dir_is_apart(&data_dir_at);
        }
        let blocks = raw.trusted_proxies.map(|list| list.value).unwrap_or_default();
        Settings {
            data_dir: self.data_dir.clone(),
            domain: raw.domain.map_or_else(|| Settings::DEFAULT_DOMAIN.to_owned(), |d| self.domain(&d)),
            port: raw.port.and_then(|port| self.number(&port, 0..=u16::MAX)).unwrap_or(default_port),
            trusted_proxies: blocks.iter().filter_map(|block| self.cidr(block)).collect(),
            routed_range: self.routed_range(raw.routed_range.as_ref()),
            max_instances: self.max_instances(raw.max_instances.as_ref()),
        }
    }

    /// Reports a problem.
    fn problem(&mut self, at: &At, kind: ProblemKind) {
        self.problems.push(at, kind);
    }

    /// Reports that a table lacks a key, unless it is there in a form that was not understood.
    fn missing(&mut self, table: &At, key: &'static str) {
        let (given, misspelt) =
            (self.problems.about(&format!("{}.{key}", table.key)), self.problems.misspelt(&table.key, key));
        if !given && !misspelt {
            self.problem(table, ProblemKind::MissingKey(key));
        }
    }

    /// Remembers something that an operator should know and that is not wrong.
    fn note(&mut self, at: &At, text: &str) {
        let (key, line) = (at.key.clone(), self.lines.of(at.span.start));
        self.notes.push(Note { key, line, text: text.to_owned() });
    }

    fn levels_agree(&mut self, asked: LevelChoice, floor: Option<Level>, given: Option<&Given<String>>) {
        if let (LevelChoice::Fixed(level), Some(floor), Some(given)) = (asked, floor, given)
            && !level.satisfies(floor)
        {
            self.problem(&given.at, ProblemKind::BelowFloor { level, floor });
        }
    }

    fn did(&mut self, did: Given<String>) -> Option<String> {
        let mut parts = did.value.splitn(3, ':');
        let (scheme, method, id) = (parts.next(), parts.next(), parts.next());
        let lower = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let specific = |text: &str| {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"._:%-".contains(&b);
            !text.is_empty() && text.bytes().all(fits) && !text.ends_with(':')
        };
        if scheme == Some("did") && method.is_some_and(lower) && id.is_some_and(specific) {
            return Some(did.value);
        }
        self.problem(&did.at, ProblemKind::Did(did.value));
        None
    }
}
