//! Arguments of `policy`.

use clap::{Args, Subcommand};
use insula_spec::{InstanceName, NetRule};

/// `insula policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Print the rules that hold for an instance, and who set them
    Show(PolicyOf),
    /// Print rules that would let through what an instance was refused
    Suggest(PolicyOf),
    /// Set the rules of an instance, from now on; open connections that they do not allow end
    Set(PolicySetArgs),
}

/// One instance.
#[derive(Debug, Args)]
pub(crate) struct PolicyOf {
    /// The instance
    #[arg(value_name = "SERVICE:ID")]
    pub(crate) name: InstanceName,
}

/// `insula policy set`.
#[derive(Debug, Args)]
pub(crate) struct PolicySetArgs {
    /// The instance
    #[arg(value_name = "SERVICE:ID")]
    pub(crate) name: InstanceName,
    /// What it may reach: `https://api.example.com`, `*.cdn.com:443`, `10.0.0.5:5432`, `public`
    #[arg(value_name = "RULE", required_unless_present_any = ["default", "none"])]
    pub(crate) rules: Vec<NetRule>,
    /// What the configuration says
    #[arg(long, conflicts_with_all = ["rules", "none"])]
    pub(crate) default: bool,
    /// Nothing at all
    #[arg(long, conflicts_with = "rules")]
    pub(crate) none: bool,
}
