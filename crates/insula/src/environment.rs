//! The variables of its own environment that the program reads: the one table of them.

use std::ffi::OsString;
use std::path::PathBuf;

use insula_spec::config::{Origin, Overrides, Source, Variables};

use crate::exit::Exit;
use crate::failure::Failure;

/// One variable.
#[derive(Debug)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: &'static str,
    /// The option that wins over it, without dashes.
    pub(crate) option: Option<&'static str>,
    /// What to write into it, for the hint.
    pub(crate) example: &'static str,
}

/// Directory of state, sockets and locks.
pub(crate) const HOME: Variable =
    Variable { name: "INSULA_HOME", option: Some("home"), example: "/var/lib/insula" };
/// The configuration file.
pub(crate) const CONFIG: Variable =
    Variable { name: "INSULA_CONFIG", option: Some("config"), example: "/etc/insula/insula.toml" };
/// Root of the tenants' data.
pub(crate) const DATA_DIR: Variable =
    Variable { name: "INSULA_DATA_DIR", option: Some("data-dir"), example: "/srv/data" };
/// Domain under which services are reached.
pub(crate) const DOMAIN: Variable =
    Variable { name: "INSULA_DOMAIN", option: Some("domain"), example: "apps.example.org" };
/// Port of the public listener.
pub(crate) const PORT: Variable = Variable { name: "INSULA_PORT", option: Some("port"), example: "8080" };
/// The daemon to talk to.
pub(crate) const SERVER: Variable =
    Variable { name: crate::remote::SERVER, option: Some("server"), example: "http://localhost:8080" };
/// The token to talk with.
pub(crate) const TOKEN: Variable =
    Variable { name: crate::remote::TOKEN, option: Some("token-file"), example: "insula_..." };
/// What the daemon tells on standard error.
pub(crate) const LOG: Variable = Variable { name: crate::trace::VARIABLE, option: None, example: "debug" };

/// Every variable, in the order of the documentation.
pub(crate) const VARIABLES: [&Variable; 8] =
    [&HOME, &CONFIG, &DATA_DIR, &DOMAIN, &PORT, &SERVER, &TOKEN, &LOG];

impl Variable {
    /// Its value; `None` when it is not set.
    ///
    /// # Errors
    /// When it is set to nothing: whoever does that means something else than not to set it.
    pub(crate) fn read(&self) -> Result<Option<OsString>, Failure> {
        self.check(std::env::var_os(self.name))
    }

    fn check(&self, value: Option<OsString>) -> Result<Option<OsString>, Failure> {
        match value {
            Some(value) if value.is_empty() => {
                let hint = format!("unset it, or write it like {}={}", self.name, self.example);
                Err(Failure::new(Exit::Usage, format!("`{}` is set, but empty", self.name), hint))
            }
            value => Ok(value),
        }
    }

    /// Its value as text.
    fn text(&self) -> Result<Option<String>, Failure> {
        let Some(value) = self.read()? else { return Ok(None) };
        let not_text = |value: OsString| {
            let message = format!("`{}` is {value:?}, which is not UTF-8", self.name);
            Failure::new(Exit::Usage, message, format!("write it like {}={}", self.name, self.example))
        };
        value.into_string().map(Some).map_err(not_text)
    }

    /// A path from an option, else from the variable, and where it came from.
    pub(crate) fn path(&self, option: Option<PathBuf>) -> Result<Option<(Origin, PathBuf)>, Failure> {
        if let (Some(name), Some(path)) = (self.option, option) {
            return Ok(Some((Origin::Option(name), path)));
        }
        Ok(self.read()?.map(|value| (Origin::Variable(self.name), value.into())))
    }
}

/// The whole environment of this process, for `${NAME}` in a configuration.
pub(crate) fn variables() -> Variables {
    std::env::vars_os().collect()
}

/// For reading a file by itself: nothing wins over it.
pub(crate) fn file_alone() -> Overrides {
    Overrides { variables: variables(), ..Overrides::default() }
}

/// What options and variables say about `[settings]`. An option wins over its variable.
///
/// # Errors
/// When a variable is set to nothing or to something that is not text.
pub(crate) fn overrides(
    port: Option<u16>,
    domain: Option<&str>,
    data_dir: Option<PathBuf>,
) -> Result<Overrides, Failure> {
    let text = |variable: &Variable, given: Option<String>| match (variable.option, given) {
        (Some(option), Some(given)) => Ok(Some((Source::Option(option), given))),
        _ => Ok(variable.text()?.map(|value| (Source::Variable(variable.name), value))),
    };
    let data_dir = match (DATA_DIR.option, data_dir) {
        (Some(option), Some(path)) => Some((Source::Option(option), path)),
        _ => DATA_DIR.read()?.map(|value| (Source::Variable(DATA_DIR.name), value.into())),
    };
    Ok(Overrides {
        port: text(&PORT, port.map(|port| port.to_string()))?,
        domain: text(&DOMAIN, domain.map(str::to_owned))?,
        data_dir,
        variables: variables(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/reference/cli.md");

    #[test]
    fn every_variable_is_on_the_page_with_its_option() {
        for variable in VARIABLES {
            let start = format!("| `{}` |", variable.name);
            let row = PAGE.lines().find(|line| line.starts_with(&start));
            let row = row.unwrap_or_else(|| panic!("`{}` is not on the page", variable.name));
            let option = variable.option.map_or("-".to_owned(), |option| format!("`--{option}`"));
            assert!(row.contains(&format!("| {option} |")), "{row}");
        }
    }

    #[test]
    fn a_variable_set_to_nothing_is_refused_with_its_name() {
        let failure = PORT.check(Some(OsString::new())).unwrap_err();
        assert_eq!(failure.message, "`INSULA_PORT` is set, but empty");
        assert_eq!(failure.hint, "unset it, or write it like INSULA_PORT=8080");
        assert_eq!(PORT.check(None).unwrap(), None);
        assert_eq!(PORT.check(Some("x".into())).unwrap(), Some("x".into()));
    }
}
