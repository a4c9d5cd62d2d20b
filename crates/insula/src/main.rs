//! A small cloud you own, in one binary.
//!
//! ```text
//! insula serve ──► parent (listeners, lock) ──► insula worker (everything else)
//! insula VERB  ──► control.sock, or HTTP with a token ──► worker
//! ```
#![forbid(unsafe_code)]

mod agent_image;
mod alerts;
mod cli;
mod cmd;
mod deed;
mod demo;
mod doctor;
mod egress;
mod environment;
mod exit;
mod explain;
mod failure;
mod fault;
mod format;
mod heritage;
mod home;
mod lifeline;
mod named;
mod no_core;
mod parent;
mod printer;
mod remote;
mod siblings;
mod slim;
mod stage;
mod trace;
mod verify;
mod worker;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::printer::Printer;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => {
            let printer = Printer { json: cli.json };
            let done = no_core::refuse().and_then(|()| cmd::run(cli, printer));
            done.unwrap_or_else(|error| printer.error(&error).into())
        }
        Err(refusal) => usage(&refusal).into(),
    }
}

/// Help and version are data; anything else is a complaint.
fn usage(refusal: &clap::Error) -> Exit {
    let printer = Printer { json: false };
    let text = refusal.render().to_string();
    let text = text.trim_end();
    match refusal.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match printer.text(text) {
            Ok(()) => Exit::Ok,
            Err(error) => printer.error(&error),
        },
        _ => {
            printer.talk(text);
            Exit::Usage
        }
    }
}
