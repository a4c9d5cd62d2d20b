//! `insula config`: the configuration by itself.

mod schema;
mod show;

use std::path::PathBuf;

use anyhow::Context;
use insula_spec::Config;
use insula_spec::config::{Note, Origin, Overrides};
use serde::Serialize;

use crate::cli::{ConfigArg, ConfigVerb};
use crate::environment::{self, CONFIG};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::home::Home;
use crate::named;
use crate::printer::Printer;

#[derive(Debug, Serialize)]
struct Checked {
    path: PathBuf,
    services: usize,
    instances: usize,
    warnings: Vec<Note>,
}

/// Does one of the verbs.
pub(super) fn run(home: (&Home, Origin), verb: ConfigVerb, printer: Printer) -> anyhow::Result<Exit> {
    match verb {
        ConfigVerb::Check(args) => check(args, printer),
        ConfigVerb::Show(args) => show::run(home, args, printer),
        ConfigVerb::Schema => schema::run(printer),
        ConfigVerb::Apply(args) => super::apply::run(home.0, args, printer),
    }
}

fn check(args: ConfigArg, printer: Printer) -> anyhow::Result<Exit> {
    let mut config = Config::load_with(&find(args)?.1, &environment::file_alone())?;
    crate::alerts::check_keys(&config)?;
    named::check_filters(&config)?;
    config.notes.extend(named::notes(&config));
    let instances = config.instances.values().map(std::collections::BTreeSet::len).sum();
    warn(&config, printer);
    let (services, warnings) = (config.services.len(), config.notes);
    let checked = Checked { path: config.path, services, instances, warnings };
    printer.either(&checked, |c| {
        let warnings = match c.warnings.len() {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            count => format!(", {count} warnings"),
        };
        let (path, services, instances) = (c.path.display(), c.services, c.instances);
        format!("`{path}` is valid: {services} services, {instances} instances{warnings}")
    })?;
    Ok(Exit::Ok)
}

/// Shows what an operator should know, unless it is part of the data.
fn warn(config: &Config, printer: Printer) {
    for note in config.notes.iter().filter(|_| !printer.json) {
        printer.talk(&format!("warning: {note}\n  --> {}:{}", config.path.display(), note.line));
    }
}

/// Reads a file, with what wins over it, and gives back its text too.
pub(super) fn read(args: ConfigArg, overrides: &Overrides) -> anyhow::Result<(Config, String)> {
    let path = Config::load_with(&find(args)?.1, overrides)?.path;
    // Each worker gets the text that was checked here, whatever happens to the file later.
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok((Config::parse_with(&text, &path, overrides)?, text))
}

/// Reads the file that was named, or the nearest one upward, with what the environment says.
pub(crate) fn load(args: ConfigArg) -> anyhow::Result<Config> {
    let path = find(args)?.1;
    Ok(Config::load_with(&path, &environment::overrides(None, None, None)?)?)
}

/// The file that was named, or the nearest one upward, and who named it.
fn find(args: ConfigArg) -> anyhow::Result<(Origin, PathBuf)> {
    if let Some(named) = CONFIG.path(args.config)? {
        return Ok(named);
    }
    let here = std::env::current_dir().context("cannot tell the working directory")?;
    let found = Config::find(&here).map(|path| (Origin::Default, path));
    Ok(found.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no `insula.toml` in `{}` or above it", here.display()),
            "write one, or name a file with `--config`; `insula demo` needs none",
        )
    })?)
}
