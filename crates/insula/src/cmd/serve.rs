//! `insula serve`.

use std::process::ExitCode;

use insula_spec::Config;

use super::config;
use crate::cli::ServeArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::home::Home;
use crate::printer::Printer;
use crate::{environment, parent, trace};

pub(super) fn run(home: &Home, args: ServeArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    trace::init()?;
    let overrides = environment::overrides(args.port, args.domain.as_deref(), args.data_dir)?;
    let (config, text) = config::read(args.config, &overrides)?;
    for note in &config.notes {
        tracing::warn!(key = note.key, line = note.line, "{}", note.text);
    }
    if args.insecure_api {
        secluded(&config)?;
        printer.talk("warning: every program on this host may use the control API without a token");
    }
    parent::serve(home, config, (&text, args.insecure_api), printer).map(ExitCode::from)
}

/// Whether nobody but this host can reach the daemon; otherwise it must ask for tokens.
fn secluded(config: &Config) -> Result<(), Failure> {
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
