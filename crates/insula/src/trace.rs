//! What happens inside, on standard error.

use std::io::{self, IsTerminal};

use anyhow::Context;
use insula_spec::Observability;
use insula_spec::config::LineFormat;
use tracing_subscriber::EnvFilter;

/// Variable that says what is shown, for example `debug` or `insula_services=debug`. It stands above
/// `log_level` in the configuration.
pub(crate) const VARIABLE: &str = "INSULA_LOG";

/// Shows changes of state, or what `INSULA_LOG` or the configuration says. Called once, when the
/// configuration is known; what goes wrong before that ends the program with its own message.
///
/// # Errors
/// When `INSULA_LOG` is not a filter.
pub(crate) fn init(wanted: &Observability) -> anyhow::Result<()> {
    let asked = std::env::var(VARIABLE).ok();
    let text = asked.as_deref().or(wanted.log_level.as_deref()).unwrap_or("info");
    let filter = EnvFilter::try_new(text).with_context(|| format!("`{VARIABLE}={text}` is not a filter"))?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    match wanted.log_format {
        LineFormat::Text => {
            let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colour).init();
        }
        LineFormat::Json => builder.json().flatten_event(true).with_current_span(false).init(),
    }
    Ok(())
}
