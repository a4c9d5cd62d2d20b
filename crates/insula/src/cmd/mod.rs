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

use crate::cli::{AlertsVerb, Cli, ConfigVerb, SystemdVerb, Verb};
use crate::exit::Exit;
use crate::home::Home;
use crate::printer::Printer;
use crate::remote::{Alone, Remote};
use crate::{demo, egress, environment, explain, verify, worker};

/// Does what the command line says.
pub(crate) fn run(cli: Cli, printer: Printer) -> anyhow::Result<ExitCode> {
    let (origin, named) = environment::HOME.path(cli.home)?.unzip();
    let chosen = named.is_some();
    let (origin, home) = (origin.unwrap_or(Origin::Default), Home::locate(named)?);
    let variable = |name: &str| std::env::var(name).ok();
    let client = match alone(&cli.verb) {
        Some(alone) => {
            Remote::unasked(&cli.remote, variable, alone)?;
            Client::unix(home.control_socket())
        }
        None => Remote::find(&cli.remote, &home, variable)?.client(&home, printer)?,
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
        Verb::Version(args) => version::run(&home, args, printer)?,
    };
    Ok(exit.into())
}

/// How a verb is called that sends nothing to the control API; `None` for one that does.
fn alone(verb: &Verb) -> Option<Alone> {
    Some(match verb {
        Verb::Config(ConfigVerb::Apply(_)) => Alone::Door("config apply"),
        Verb::Serve(args) if args.takeover => Alone::Door("serve --takeover"),
        Verb::Serve(_) => Alone::Nobody("serve"),
        Verb::Worker => Alone::Nobody("worker"),
        Verb::Egress(_) => Alone::Nobody("egress"),
        Verb::Demo(_) => Alone::Nobody("demo"),
        Verb::Doctor(_) => Alone::Nobody("doctor"),
        Verb::Verify(_) => Alone::Nobody("verify"),
        Verb::Probe(_) => Alone::Nobody("probe"),
        Verb::Config(_) => Alone::Nobody("config"),
        Verb::Explain(_) => Alone::Nobody("explain"),
        Verb::Image(_) => Alone::Nobody("image"),
        Verb::Completions(_) => Alone::Nobody("completions"),
        Verb::Man(_) => Alone::Nobody("man"),
        Verb::Systemd(_) => Alone::Nobody("systemd"),
        Verb::Openapi => Alone::Nobody("openapi"),
        Verb::Version(_) => Alone::Nobody("version"),
        Verb::Alerts(AlertsVerb::Test(_)) => Alone::Nobody("alerts test"),
        _ => return None,
    })
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
