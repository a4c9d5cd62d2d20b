//! `insula config show`: the values that hold, and where each comes from.

use std::path::PathBuf;

use insula_spec::Config;
use insula_spec::config::{Note, Origin, Shown};
use serde::Serialize;
use serde_json::Value;

use super::{find, warn};
use crate::cli::{ConfigArg, ShowArgs};
use crate::environment;
use crate::exit::Exit;
use crate::home::Home;
use crate::printer::{Printer, table};

/// Everything that is shown.
#[derive(Debug, Serialize)]
struct Effective {
    path: PathBuf,
    precedence: &'static str,
    /// Names of all variables that are read.
    variables: Vec<&'static str>,
    values: Vec<Row>,
    warnings: Vec<Note>,
}

/// One value.
#[derive(Debug, Serialize)]
struct Row {
    key: String,
    value: Value,
    /// `FILE:LINE`, the name of a variable, an option with its dashes, or `default`.
    origin: String,
}

pub(super) fn run(home: (&Home, Origin), args: ShowArgs, printer: Printer) -> anyhow::Result<Exit> {
    let overrides = environment::overrides(args.port, args.domain.as_deref(), args.data_dir)?;
    let (found, path) = find(ConfigArg { config: args.config.config })?;
    let config = Config::load_with(&path, &overrides)?;
    let shown = config.show(args.defaults);
    let own = [("home", home.0.path(), home.1), ("config", config.path.as_path(), found)];
    let own = own.map(|(key, path, origin)| Shown {
        key: key.into(),
        value: path.display().to_string().into(),
        origin,
    });
    let values = own.into_iter().chain(shown).map(|one| row(&config, one)).collect();
    warn(&config, printer);
    let precedence = Origin::PRECEDENCE;
    let variables = environment::VARIABLES.iter().map(|variable| variable.name).collect();
    let effective = Effective { path: config.path, precedence, variables, values, warnings: config.notes };
    printer.either(&effective, text)?;
    Ok(Exit::Ok)
}

fn row(config: &Config, shown: Shown) -> Row {
    let name = config.path.file_name().unwrap_or_default().to_string_lossy();
    let origin = match shown.origin {
        Origin::File(line) => format!("{name}:{line}"),
        other => other.to_string(),
    };
    Row { key: shown.key, value: shown.value, origin }
}

fn text(effective: &Effective) -> String {
    let cell = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        value if value == "..." => "...".to_owned(),
        value => value.to_string(),
    };
    let rows = effective.values.iter().map(|row| vec![row.key.clone(), cell(&row.value), row.origin.clone()]);
    let table = table(&["KEY", "VALUE", "ORIGIN"], rows.collect());
    format!("{table}\n\nprecedence: {}", effective.precedence)
}
