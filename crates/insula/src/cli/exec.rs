//! Arguments of `exec` and `cp`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use insula_spec::{InstanceName, InvalidName, parse_duration};

/// `insula exec`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: that of the command; 128 and the number of the signal that ended it; \
                        124 out of time, 126 not executable, 127 not found; else as for any verb")]
pub(crate) struct ExecArgs {
    /// The instance; one that sleeps is woken
    #[arg(value_name = "SERVICE:ID")]
    pub(crate) name: InstanceName,
    /// Set a variable; without a value it is passed on from here, where no process list shows it
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<Variable>,
    /// Directory inside to run it in [default: that of the service]
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,
    /// Give it no input
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// End it after this time, for example `30s` [default: never]
    #[arg(long, value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, last = true)]
    pub(crate) command: Vec<String>,
}

/// A variable of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: String,
    /// Its value; `None` takes that of this process.
    pub(crate) value: Option<String>,
}

impl FromStr for Variable {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        match name {
            "" => Err("write it like `NAME=VALUE`, or `NAME` to pass on the value from here"),
            _ => Ok(Self { name: name.to_owned(), value }),
        }
    }
}

/// `insula cp`.
#[derive(Debug, Args)]
pub(crate) struct CpArgs {
    /// A file here, `-` for standard input, or `SERVICE:ID:/PATH`
    #[arg(value_name = "FROM")]
    pub(crate) from: Place,
    /// A file here, `-` for standard output, or `SERVICE:ID:/PATH`; a path that ends with `/` keeps the name
    #[arg(value_name = "TO")]
    pub(crate) to: Place,
}

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Standard input or output.
    Stream,
    /// A file of this host.
    Here(PathBuf),
    /// A file of an instance.
    Inside(InstanceName, String),
}

impl FromStr for Place {
    type Err = String;

    /// A file here with colons in its name can be written with a slash before them: `./a:b:/c`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self::Stream);
        }
        match text.split_once(":/") {
            Some((name, path)) if !name.contains('/') && name.contains(':') => {
                let name = name.parse().map_err(|e: InvalidName| format!("{e}; {}", e.hint()))?;
                Ok(Self::Inside(name, format!("/{path}")))
            }
            _ if text.is_empty() => Err("name a file".to_owned()),
            _ => Ok(Self::Here(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let inside = |name: &str, path: &str| Place::Inside(name.parse().unwrap(), path.to_owned());
        for (text, place) in [
            ("-", Place::Stream),
            ("notes:alice:/data/a b", inside("notes:alice", "/data/a b")),
            ("notes:alice:/a:/b", inside("notes:alice", "/a:/b")),
            ("/etc/hosts", Place::Here("/etc/hosts".into())),
            ("./a:b:/c", Place::Here("./a:b:/c".into())),
            ("a:b", Place::Here("a:b".into())),
        ] {
            assert_eq!(text.parse::<Place>(), Ok(place), "{text}");
        }
        assert!("Notes:alice:/x".parse::<Place>().is_err());
    }

    #[test]
    fn a_variable_may_be_passed_on() {
        let variable = |text: &str| text.parse::<Variable>().map(|v| (v.name, v.value));
        assert_eq!(variable("A=b=c"), Ok(("A".into(), Some("b=c".into()))));
        assert_eq!(variable("A="), Ok(("A".into(), Some(String::new()))));
        assert_eq!(variable("A"), Ok(("A".into(), None)));
        assert!(variable("=b").is_err());
    }
}
