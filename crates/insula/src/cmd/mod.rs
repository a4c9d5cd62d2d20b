//! The verbs.

mod act;
mod alerts;
mod apply;
mod audit;
mod config;
mod cp;
mod doctor;
mod events;
mod exec;
mod generate;
mod health;
mod image;
mod inspect;
mod logs;
mod metrics;
mod policy;
mod pool;
mod ps;
mod requests;
mod serve;
mod systemd;
mod token;
mod top;
mod usage;
mod version;
mod versions;
mod why;

pub(crate) use config::load as load_config;
pub(crate) use serve::secluded;

use std::process::ExitCode;

use anyhow::Context;
use insula_api::Client;
use insula_spec::config::Origin;

use crate::cli::{AlertsVerb, Cli, SystemdVerb, Verb};
use crate::exit::Exit;
use crate::home::Home;
use crate::printer::Printer;
use crate::remote::Remote;
use crate::{demo, egress, environment, explain, verify, worker};

/// Does what the command line says.
pub(crate) fn run(cli: Cli, printer: Printer) -> anyhow::Result<ExitCode> {
    let (origin, named) = environment::HOME.path(cli.home)?.unzip();
    let chosen = named.is_some();
    let (origin, home) = (origin.unwrap_or(Origin::Default), Home::locate(named)?);
    // Those that ask no daemon do not care which one is meant.
    let local = matches!(
        cli.verb,
        Verb::Serve(_)
            | Verb::Worker
            | Verb::Egress(_)
            | Verb::Demo(_)
            | Verb::Doctor(_)
            | Verb::Verify(_)
            | Verb::Probe(_)
            | Verb::Config(_)
            | Verb::Explain(_)
            | Verb::Image(_)
            | Verb::Completions(_)
            | Verb::Man(_)
            | Verb::Systemd(_)
            | Verb::Openapi
            | Verb::Version
            | Verb::Alerts(AlertsVerb::Test(_))
    );
    let client = match local {
        true => Client::unix(home.control_socket()),
        false => Remote::find(&cli.remote, |name| std::env::var(name).ok())?.client(&home, printer)?,
    };
    let exit = match cli.verb {
        Verb::Serve(args) => return serve::run(&home, args, printer),
        Verb::Worker => return worker::run(),
        Verb::Egress(args) => return egress::run(&args),
        Verb::Demo(args) => return many_threads()?.block_on(demo::run(args)),
        Verb::Verify(args) => return many_threads()?.block_on(verify::run(&home, args, printer)),
        Verb::Probe(args) => return verify::probe(args, printer),
        Verb::Ps(args) => one_thread()?.block_on(ps::run(&client, args, printer))?,
        Verb::Top(args) => one_thread()?.block_on(top::run(&client, args, printer))?,
        Verb::Usage(args) => one_thread()?.block_on(usage::run(&client, args, printer))?,
        Verb::Spawn(args) => one_thread()?.block_on(act::spawn(&client, args, printer))?,
        Verb::Stop(args) => one_thread()?.block_on(act::stop(&client, args, printer))?,
        Verb::Restart(args) => one_thread()?.block_on(act::restart(&client, args, printer))?,
        Verb::Exec(args) => return one_thread()?.block_on(exec::run(&client, args, printer)),
        Verb::Cp(args) => one_thread()?.block_on(cp::run(&client, args))?,
        Verb::Deploy(args) => one_thread()?.block_on(versions::deploy(&client, args, printer))?,
        Verb::Route(args) => one_thread()?.block_on(versions::route(&client, args, printer))?,
        Verb::Weight(args) => one_thread()?.block_on(versions::weight(&client, args, printer))?,
        Verb::Health(args) => one_thread()?.block_on(health::run(&client, args, printer))?,
        Verb::Logs(args) => one_thread()?.block_on(logs::run(&client, args, printer))?,
        Verb::Events(args) => one_thread()?.block_on(events::run(&client, args, printer))?,
        Verb::Alerts(verb) => one_thread()?.block_on(alerts::run((&client, &home), verb, printer))?,
        Verb::Requests(args) => one_thread()?.block_on(requests::run(&client, args, printer))?,
        Verb::Why(args) => one_thread()?.block_on(why::run(&client, args, printer))?,
        Verb::Metrics => one_thread()?.block_on(metrics::run(&client, printer))?,
        Verb::Inspect(args) => one_thread()?.block_on(inspect::run(&client, args, printer))?,
        Verb::Policy(verb) => one_thread()?.block_on(policy::run(&client, verb, printer))?,
        Verb::Pool(verb) => one_thread()?.block_on(pool::run(&client, verb, printer))?,
        Verb::Token(verb) => one_thread()?.block_on(token::run(&client, verb, printer))?,
        Verb::Audit(args) => one_thread()?.block_on(audit::run(&client, args, printer))?,
        Verb::Openapi => {
            printer.json(&insula_edge::control::document())?;
            Exit::Ok
        }
        Verb::Doctor(args) => doctor::run(&home, args, printer)?,
        Verb::Explain(verb) => explain::run(&home, verb, printer)?,
        Verb::Config(verb) => config::run((&home, origin), verb, printer)?,
        Verb::Image(verb) => image::run(&home, verb, printer)?,
        Verb::Completions(args) => generate::completions(args.shell, printer)?,
        Verb::Man(args) => generate::man(args, printer)?,
        Verb::Systemd(SystemdVerb::PrintUnit(args)) => {
            systemd::print_unit(chosen.then_some(&home), args, printer)?
        }
        Verb::Version => version::run(printer)?,
    };
    Ok(exit.into())
}

/// Enough for a verb that asks one thing.
fn one_thread() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")
}

/// For a verb that does many things at once.
fn many_threads() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the runtime")
}
