//! `insula serve`.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::Context;
use insula_spec::Config;

use super::config;
use crate::cli::ServeArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::home::Home;
use crate::parent::{self, DOOR_VERSION, Outcome, Plan, Request};
use crate::printer::Printer;
use crate::{agent_image, alerts, environment, named, trace};

pub(super) fn run(home: &Home, args: ServeArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    if let Some(how) = args.resume {
        return parent::resume(how).map(ExitCode::from);
    }
    let overrides = environment::overrides(args.port, args.domain.as_deref(), args.data_dir)?;
    let (config, text) = config::read(args.config, &overrides)?;
    trace::init(&config.observability)?;
    for note in &config.notes {
        tracing::warn!(key = note.key, line = note.line, "{}", note.text);
    }
    alerts::check_keys(&config)?;
    match named::check_filters(&config) {
        // Nothing has changed then; others shall not wait for one service.
        Err(error) if args.takeover => return Err(error.into()),
        Err(error) => {
            let hint = error.hint();
            tracing::warn!(hint, "{:#}", anyhow::Error::from(error));
        }
        Ok(()) => {}
    }
    if args.insecure_api {
        secluded(&config)?;
        printer.talk("warning: every program on this host may use the control API without a token");
    }
    let mut plan = Plan::of(&config, &overrides);
    plan.insecure_api = args.insecure_api;
    if args.takeover && take_over(home, &plan, &text, printer)? {
        return Ok(Exit::Ok.into());
    }
    parent::serve(home, (config, &text), plan, printer).map(ExitCode::from)
}

/// Whether nobody but this host can reach the daemon; otherwise it must ask for tokens.
pub(crate) fn secluded(config: &Config) -> Result<(), Failure> {
    let refuse = |why: String| {
        let hint = "leave `--insecure-api` out and make a token with `insula token create`, or serve `localhost` alone";
        Failure::new(
            Exit::Refused,
            format!("`--insecure-api` would open the control API to others: {why}"),
            hint,
        )
    };
    let settings = &config.settings;
    if !parent::is_local(&settings.domain) {
        return Err(refuse(format!("`{}` is served on every address of this host", settings.domain)));
    }
    if !settings.trusted_proxies.is_empty() {
        return Err(refuse("`settings.trusted_proxies` names proxies that others come through".to_owned()));
    }
    Ok(())
}

/// Has the server that runs on this home go on with this program and this configuration. `false` when none
/// runs.
fn take_over(home: &Home, plan: &Plan, text: &str, printer: Printer) -> anyhow::Result<bool> {
    let program = File::open("/proc/self/exe").context("cannot open this program")?;
    let config = agent_image::sealed("insula-config", text.as_bytes(), false)?;
    let request = Request::Takeover { version: DOOR_VERSION, plan: plan.clone() };
    let outcome = parent::ask(&home.door_socket(), &request, &[program.as_fd(), config.as_fd()]);
    match outcome.context("the running server went away")? {
        None => {
            printer.talk("no server runs on this home; starting one");
            Ok(false)
        }
        Some(outcome) => told(outcome, printer).map(|()| true),
    }
}

/// Says what became of a request to the parent.
pub(super) fn told(outcome: Outcome, printer: Printer) -> anyhow::Result<()> {
    match outcome {
        Outcome::Planned(changes) => printer.either(&changes, |c| c.lines().join("\n")),
        Outcome::Done { report, pid, port, changes } => {
            let line = serde_json::json!({
                "event": "ready",
                "pid": pid,
                "port": port,
                "epoch": report.epoch,
                "levels": report.levels,
                "instances": report.instances,
                "adopted": report.adopted,
                "changes": changes,
            });
            if printer.json {
                return printer.json_line(&line);
            }
            printer.talk(&format!(
                "the server (pid {pid}) goes on with a new worker; {} of {} instances were found running",
                report.adopted, report.instances
            ));
            match changes {
                Some(changes) => printer.text(&changes.lines().join("\n")),
                None => Ok(()),
            }
        }
        Outcome::Refused { why, hint, config } => {
            let exit = if config { Exit::BadConfig } else { Exit::Refused };
            Err(Failure::new(exit, format!("the server was not restarted: {why}"), hint).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_api_is_open_only_where_nobody_else_comes() {
        let allowed = |settings: &str| {
            let text = format!("[settings]\n{settings}\n[service.a]\ncommand = \"x\"\n");
            secluded(&Config::parse(&text, Path::new("/srv/insula.toml")).unwrap()).is_ok()
        };
        assert!(allowed("") && allowed("domain = \"dev.localhost\""));
        assert!(!allowed("domain = \"example.org\""));
        assert!(!allowed("trusted_proxies = [\"127.0.0.1\"]"));
    }
}
