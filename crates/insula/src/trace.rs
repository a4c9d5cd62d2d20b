//! What happens inside, on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Variable that says what is shown, for example `debug` or `insula_services=debug`.
pub(crate) const VARIABLE: &str = "INSULA_LOG";

/// Shows changes of state, or what `INSULA_LOG` says.
///
/// # Errors
/// When `INSULA_LOG` is not a filter.
pub(crate) fn init() -> anyhow::Result<()> {
    use anyhow::Context;
    let text = std::env::var(VARIABLE).unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(&text).with_context(|| format!("`{VARIABLE}={text}` is not a filter"))?;
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(colour)
        .init();
    Ok(())
}
