//! From what the user typed to what it means.
//!
//! Checks never stop at the first problem. A value that is wrong is replaced by its default so that the
//! rest can be checked too; since one problem is enough to refuse the file, no such value is ever used.

mod command;
mod network;
mod paths;
mod references;
mod routing;
mod scalars;
mod service;

pub(super) use network::domain_name;

use std::path::{Path, PathBuf};

use super::kind::ProblemKind;
use super::problem::{At, Problems};
use super::raw::{RawConfig, RawSettings};
use super::read::Given;
use super::{Config, Settings};
use crate::{Level, LevelChoice};

/// What every check needs: where the file is, what is already known, and where findings go.
#[derive(Debug)]
struct Check<'a> {
    /// Folder of the configuration file, absolute.
    base: &'a Path,
    /// Root of the tenants' data, absolute.
    data_dir: PathBuf,
    problems: &'a mut Problems,
    notes: Vec<String>,
}

/// Levels that hold for services which name none.
#[derive(Debug, Clone, Copy)]
struct Defaults {
    isolation: LevelChoice,
    floor: Option<Level>,
}

/// Checks a whole file. The answer means something only if `problems` stayed empty.
pub(super) fn config(raw: RawConfig, path: PathBuf, problems: &mut Problems) -> Config {
    let base = path.parent().unwrap_or(Path::new("/")).to_owned();
    let mut check = Check { base: &base, data_dir: base.clone(), problems, notes: Vec::new() };
    let settings_at = raw.settings.as_ref().map(|table| table.at.clone()).unwrap_or_default();
    let settings = check.settings(raw.settings.map(|table| table.value).unwrap_or_default(), &settings_at);
    let defaults = Defaults {
        isolation: check.isolation(raw.isolation.as_ref()).unwrap_or_default(),
        floor: check.floor(raw.min_isolation.as_ref()),
    };
    check.levels_agree(&defaults, raw.isolation.as_ref().or(raw.min_isolation.as_ref()));
    let did = raw.did.and_then(|did| check.did(did));
    let tables = raw.service.map(|table| table.value).unwrap_or_default();
    let names = references::names(&tables);
    let instances = check.instances(raw.instances.map(|table| table.value).unwrap_or_default(), &names);
    check.ports(&settings, &tables, &instances);
    let services = tables.0.into_iter().filter_map(|entry| check.service(entry, &defaults)).collect();
    let routing = raw.routing.map(|table| table.value).unwrap_or_default();
    let known = routing::Known { names: &names, services: &services, domain: &settings.domain };
    let routing = check.routing(routing, &known);
    let notes = check.notes;
    Config { path, did, settings, services, routing, instances, notes }
}

impl Check<'_> {
    fn settings(&mut self, raw: RawSettings, at: &At) -> Settings {
        let default_port = Settings::DEFAULT_PORT;
        let data_dir_at = raw.data_dir.as_ref().map_or_else(|| at.clone(), |given| given.at.clone());
        let given = raw.data_dir.and_then(|given| self.path(&given));
        self.data_dir = given.unwrap_or_else(|| self.base.join(Settings::DEFAULT_DATA_DIR));
        self.data_dir_is_apart(&data_dir_at);
        let blocks = raw.trusted_proxies.map(|list| list.value).unwrap_or_default();
        Settings {
            data_dir: self.data_dir.clone(),
            domain: raw.domain.map_or_else(|| Settings::DEFAULT_DOMAIN.to_owned(), |d| self.domain(&d)),
            port: raw.port.and_then(|port| self.number(&port, 0..=u16::MAX)).unwrap_or(default_port),
            trusted_proxies: blocks.iter().filter_map(|block| self.cidr(block)).collect(),
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
        self.notes.push(format!("`{}`: {text}", at.key));
    }

    fn levels_agree(&mut self, asked: &Defaults, given: Option<&Given<String>>) {
        if let (LevelChoice::Fixed(level), Some(floor), Some(given)) = (asked.isolation, asked.floor, given)
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
