//! Arguments of `deploy`, `route` and `weight`.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use insula_spec::{InstanceId, InstanceName, InvalidName, ServiceName, parse_duration};

/// `insula deploy`.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// The version, or the tenant
    #[arg(value_name = "SERVICE:ID")]
    pub(crate) name: InstanceName,
    /// Its weight once it is healthy, 0 to 100 [default: all requests to a first version, none to a later one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) weight: Option<u8>,
    /// What becomes of the other versions: `replace` takes their weight, `rolling` takes it in steps and puts them away
    #[arg(long, value_name = "HOW", conflicts_with = "weight")]
    pub(crate) strategy: Option<StrategyArg>,
    /// Versions without weight that a rolling deploy keeps, asleep; older ones are forgotten [default: 1]
    #[arg(long, value_name = "N", requires = "strategy")]
    pub(crate) keep: Option<usize>,
    /// Shares in percent that a rolling deploy gives it one after the other [default: 25,50,75,100]
    #[arg(long, value_name = "N,N,...", requires = "strategy", value_delimiter = ',',
          value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) steps: Option<Vec<u8>>,
    /// How long each step is watched; a failure gives the others their weight back [default: 5s]
    #[arg(long, value_name = "T", requires = "strategy", value_parser = parse_duration)]
    pub(crate) pause: Option<Duration>,
    /// How long it may take to be healthy
    #[arg(long, value_name = "T", default_value = "60s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// What becomes of the other versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StrategyArg {
    /// They lose their weight
    Replace,
    /// They lose their weight in steps, and all but the newest are forgotten
    Rolling,
}

/// `insula route`.
#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    /// The service
    pub(crate) service: ServiceName,
    /// The version that gives all of its weight
    #[arg(long, value_name = "ID", requires = "to")]
    pub(crate) from: Option<InstanceId>,
    /// The version that gets it, once it is healthy
    #[arg(long, value_name = "ID", requires = "from")]
    pub(crate) to: Option<InstanceId>,
    /// How long that may take to be healthy
    #[arg(long, value_name = "T", default_value = "60s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// `insula weight`.
#[derive(Debug, Args)]
pub(crate) struct WeightArgs {
    /// The service
    pub(crate) service: ServiceName,
    /// New weights, 0 to 100; versions that are not named keep theirs
    #[arg(value_name = "ID=WEIGHT", required = true)]
    pub(crate) weights: Vec<Weight>,
}

/// The weight of one version, `v1=90`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) id: InstanceId,
    pub(crate) weight: u8,
}

/// Text that is not the weight of a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidWeight {
    #[error("`{0}` is not of the form `ID=WEIGHT`")]
    Form(String),
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error("`{0}` is not a weight from 0 to 100")]
    Range(String),
}

impl FromStr for Weight {
    type Err = InvalidWeight;
    fn from_str(text: &str) -> Result<Self, InvalidWeight> {
        let (id, weight) = text.split_once('=').ok_or_else(|| InvalidWeight::Form(text.to_owned()))?;
        let range = || InvalidWeight::Range(weight.to_owned());
        let weight = weight.parse().ok().filter(|weight| *weight <= 100).ok_or_else(range)?;
        Ok(Self { id: id.parse()?, weight })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn weights_are_parsed_at_the_border() {
        let weight = |text: &str| text.parse::<Weight>();
        assert_eq!(weight("v1=90"), Ok(Weight { id: "v1".parse().unwrap(), weight: 90 }));
        assert_eq!(weight("v1"), Err(InvalidWeight::Form("v1".to_owned())));
        for bad in ["v1=", "v1=-1", "v1=101", "v1=x", "v1=1=2"] {
            assert!(matches!(weight(bad), Err(InvalidWeight::Range(_))), "{bad}");
        }
        assert!(matches!(weight("V1=1"), Err(InvalidWeight::Name(_))));
    }

    #[test]
    fn what_makes_no_sense_together_is_refused() {
        for (line, good) in [
            ("deploy api:v2", true),
            ("deploy api:v2 --weight 100 --timeout 5s", true),
            ("deploy api:v2 --weight 101", false),
            ("deploy api:v2 --weight 1 --strategy rolling", false),
            ("deploy api:v2 --strategy rolling --keep 0", true),
            ("deploy api:v2 --keep 1", false),
            ("deploy api:v2 --strategy rolling --steps 10,100 --pause 2s", true),
            ("deploy api:v2 --strategy rolling --steps 0,100", false),
            ("deploy api:v2 --pause 2s", false),
            ("deploy api", false),
            ("route api", true),
            ("route api --from v1 --to v2", true),
            ("route api --from v1", false),
            ("weight api v1=1 v2=2", true),
            ("weight api", false),
        ] {
            let words = std::iter::once("insula").chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(words).is_ok(), good, "{line}");
        }
    }
}
