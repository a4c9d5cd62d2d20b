//! `insula serve`.

use std::process::ExitCode;

use anyhow::Context;
use insula_spec::Config;

use super::config;
use crate::cli::ServeArgs;
use crate::exit::Exit;
use crate::failure::Failure;
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
