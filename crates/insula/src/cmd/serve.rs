//! `insula serve`.

use std::process::ExitCode;

use anyhow::Context;
use insula_spec::Config;

use super::config;
use crate::cli::ServeArgs;
use crate::home::Home;
use crate::printer::Printer;
use crate::{parent, trace};

pub(super) fn run(home: &Home, args: ServeArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    trace::init()?;
    let path = Config::load(&config::find(args.config)?)?.path;
    // Each worker gets the text that was checked here, whatever happens to the file later.
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut config = Config::parse(&text, &path)?;
    config.listen_at(args.port, args.domain.as_deref())?;
    parent::serve(home, config, &text, printer).map(ExitCode::from)
}
