//! Arguments of `pool`.

use clap::Subcommand;

/// `insula pool`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum PoolVerb {
    /// Show how many sets of walls wait for the next start, of each kind
    Status,
}
