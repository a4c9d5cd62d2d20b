//! Settings named on the command line: they win over the file, and are checked like it.

use super::check::domain_name;
use super::{Config, ProblemKind};
use crate::InstanceName;

/// A setting from the command line that cannot be. Only [`ProblemKind`] words the message, so that it is the
/// same one that the file would get.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`--{option}`: {kind}")]
pub struct OverrideError {
    /// The option, without dashes.
    pub option: &'static str,
    /// What is wrong.
    pub kind: ProblemKind,
}

impl OverrideError {
    /// What to type instead.
    #[must_use]
    pub fn hint(&self) -> String {
        self.kind.hint()
    }
}

impl Config {
    /// Takes port and domain of the public listener from the command line, where they are named there.
    ///
    /// # Errors
    /// When the domain is not a DNS name, or the port belongs to a `listen_tcp` of the file.
    pub fn listen_at(&mut self, port: Option<u16>, domain: Option<&str>) -> Result<(), OverrideError> {
        if let Some(port) = port {
            if let Some(owner) = self.owner_of(port) {
                let owner = format!("service.{}.listen_tcp.{}", owner.service, owner.id);
                return Err(OverrideError { option: "port", kind: ProblemKind::PortTaken { port, owner } });
            }
            self.settings.port = port;
        }
        if let Some(text) = domain {
            let invalid = || OverrideError { option: "domain", kind: ProblemKind::Domain(text.to_owned()) };
            self.settings.domain = domain_name(text).ok_or_else(invalid)?;
        }
        Ok(())
    }

    /// The instance whose raw TCP port this is.
    fn owner_of(&self, port: u16) -> Option<InstanceName> {
        self.services.values().find_map(|spec| {
            let (id, _) = spec.listen_tcp.iter().find(|(_, taken)| **taken == port)?;
            Some(InstanceName::new(spec.name.clone(), id.clone()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config() -> Config {
        let text = "[settings]\nport = 80\n[service.cache]\ncommand = \"x\"\n[service.cache.listen_tcp]\n\
                    alice = 6379\n[instances]\ncache = [\"alice\"]\n";
        Config::parse(text, Path::new("/srv/insula.toml")).unwrap()
    }

    #[test]
    fn what_is_named_wins_and_what_is_not_stays() {
        let mut config = config();
        config.listen_at(None, None).unwrap();
        assert_eq!((config.settings.port, config.settings.domain.as_str()), (80, "localhost"));
        config.listen_at(Some(0), Some("Apps.Example.ORG")).unwrap();
        assert_eq!((config.settings.port, config.settings.domain.as_str()), (0, "apps.example.org"));
    }

    #[test]
    fn a_domain_is_checked_like_that_of_the_file() {
        let long = "a.".repeat(100) + "org";
        for bad in ["", "a b", "http://x", "x:80", "-x.org", "x..org", "10.0.0.1", "ä.org", &long] {
            let error = config().listen_at(None, Some(bad)).unwrap_err();
            assert_eq!((error.option, &error.kind), ("domain", &ProblemKind::Domain(bad.to_owned())));
            assert!(Config::parse(&format!("[settings]\ndomain = {bad:?}\n"), Path::new("/i")).is_err());
        }
    }

    #[test]
    fn a_port_of_an_instance_is_not_taken_from_it() {
        let error = config().listen_at(Some(6379), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`--port`: port 6379 already belongs to `service.cache.listen_tcp.alice`"
        );
        assert_eq!(error.hint(), "choose another port");
        config().listen_at(Some(6380), None).unwrap();
    }
}
