//! `insula config`: the configuration by itself.

use std::path::PathBuf;

use anyhow::Context;
use insula_spec::Config;
use serde::Serialize;

use crate::cli::ConfigArg;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;

#[derive(Debug, Serialize)]
struct Checked {
    path: PathBuf,
    services: usize,
    instances: usize,
}

pub(super) fn check(args: ConfigArg, printer: Printer) -> anyhow::Result<Exit> {
    let config = Config::load(&find(args)?)?;
    let instances = config.instances.values().map(std::collections::BTreeSet::len).sum();
    let checked = Checked { path: config.path, services: config.services.len(), instances };
    printer.either(&checked, |c| {
        format!("`{}` is valid: {} services, {} instances", c.path.display(), c.services, c.instances)
    })?;
    Ok(Exit::Ok)
}

/// The file that was named, or the nearest one upward.
pub(super) fn find(args: ConfigArg) -> anyhow::Result<PathBuf> {
    if let Some(path) = args.config {
        return Ok(path);
    }
    let here = std::env::current_dir().context("cannot tell the working directory")?;
    let found = Config::find(&here);
    Ok(found.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no `insula.toml` in `{}` or above it", here.display()),
            "write one, or name a file with `--config`; `insula demo` needs none",
        )
    })?)
}
