//! The command line of `insula requests`.

use clap::Args;
use insula_api::Moment;
use insula_spec::Tenant;

/// `insula requests`.
#[derive(Debug, Args)]
pub(crate) struct RequestsArgs {
    /// Only to this instance, or to all instances of this service
    #[arg(value_name = "SERVICE[:ID]")]
    pub(crate) of: Option<Tenant>,
    /// Only those that came from this time on: `10m` ago, or `2026-01-31T12:00:00Z`
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Moment>,
    /// At most so many [default: 100]
    #[arg(short = 'n', long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: Option<u32>,
}
