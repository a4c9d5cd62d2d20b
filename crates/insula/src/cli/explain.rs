//! Arguments of `explain`.

use clap::{Args, Subcommand};
use insula_spec::ServiceName;

use super::ConfigArg;

/// `insula explain`.
#[derive(Debug, Subcommand)]
pub(crate) enum ExplainVerb {
    /// Show what each level would stop for a service as it is written, and what not
    Isolation(IsolationArgs),
}

/// `insula explain isolation`.
#[derive(Debug, Args)]
pub(crate) struct IsolationArgs {
    /// The service
    pub(crate) service: ServiceName,
    #[command(flatten)]
    pub(crate) config: ConfigArg,
}
