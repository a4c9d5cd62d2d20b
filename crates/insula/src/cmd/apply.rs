//! `insula config apply`: what SIGHUP does, with an answer.

use anyhow::Context;

use super::serve;
use crate::cli::ApplyArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::home::Home;
use crate::parent::{self, DOOR_VERSION, Request};
use crate::printer::Printer;

pub(super) fn run(home: &Home, args: ApplyArgs, printer: Printer) -> anyhow::Result<Exit> {
    let request = Request::Reload { version: DOOR_VERSION, dry_run: args.dry_run };
    let outcome = parent::ask(&home.door_socket(), &request, &[]).context("the running server went away")?;
    let outcome = outcome.ok_or_else(|| {
        let why = format!("no server runs on the home `{}`", home.path().display());
        Failure::new(Exit::NotRunning, why, "start it with `insula serve`")
    })?;
    serve::told(outcome, printer)?;
    Ok(Exit::Ok)
}
