//! What a new configuration changes.

use std::collections::BTreeSet;

use insula_services::fingerprint;
use insula_spec::{Config, ServiceName, ServiceSpec};
use serde::{Deserialize, Serialize};

/// What a new configuration changes, by service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changes {
    /// New ones.
    pub(crate) added: Vec<ServiceName>,
    /// Those that are not there any more: their instances are stopped.
    pub(crate) removed: Vec<ServiceName>,
    /// Those whose program runs differently: their running instances are started anew.
    pub(crate) restarted: Vec<ServiceName>,
    /// Those with other rules alone, such as timeouts: nothing of them is restarted.
    pub(crate) adjusted: Vec<ServiceName>,
    /// Whether something beside the services is different.
    pub(crate) settings: bool,
}

impl Changes {
    /// What is different in `new`.
    pub(crate) fn between(old: &Config, new: &Config) -> Self {
        let mut changes = Self { settings: differ_beside(old, new), ..Self::default() };
        let names: BTreeSet<_> = old.services.keys().chain(new.services.keys()).collect();
        for name in names {
            let list = match (old.services.get(name), new.services.get(name)) {
                (Some(a), Some(b)) if a == b => continue,
                (Some(a), Some(b)) if runs_alike(a, b) => &mut changes.adjusted,
                (Some(_), Some(_)) => &mut changes.restarted,
                (None, _) => &mut changes.added,
                (Some(_), None) => &mut changes.removed,
            };
            list.push(name.clone());
        }
        changes
    }

    /// In lines for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let list = |what: &str, names: &[ServiceName]| {
            names.iter().map(|name| format!("{name}: {what}")).collect::<Vec<_>>()
        };
        let mut lines = list("added", &self.added);
        lines.extend(list("removed, its instances are stopped", &self.removed));
        lines.extend(list("runs differently, its running instances are restarted", &self.restarted));
        lines.extend(list("other rules, nothing is restarted", &self.adjusted));
        lines.extend(self.settings.then(|| "beside the services: other values".to_owned()));
        if lines.is_empty() {
            lines.push("nothing is different".to_owned());
        }
        lines
    }
}

fn differ_beside(old: &Config, new: &Config) -> bool {
    (&old.settings, &old.instances, &old.levels, &old.routing)
        != (&new.settings, &new.instances, &new.levels, &new.routing)
        || (&old.logs, &old.observability, &old.alerts, &old.functions)
            != (&new.logs, &new.observability, &new.alerts, &new.functions)
}

/// Whether the same program would be started in the same walls.
fn runs_alike(a: &ServiceSpec, b: &ServiceSpec) -> bool {
    fingerprint(a) == fingerprint(b)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, Path::new("/srv/insula.toml")).unwrap()
    }

    #[test]
    fn each_kind_of_change_is_told_apart() {
        let old = config(
            "[service.same]\ncommand = \"a\"\n[service.gone]\ncommand = \"a\"\n[service.rules]\ncommand = \"a\"\n\
             [service.env]\ncommand = \"a\"\n[service.outside]\ncommand = \"a\"\n",
        );
        let new = config(
            "[service.same]\ncommand = \"a\"\n[service.fresh]\ncommand = \"a\"\n\
             [service.rules]\ncommand = \"a\"\nidle_timeout = \"9s\"\n\
             [service.env]\ncommand = \"a\"\n[service.env.env]\nX = \"1\"\n\
             [service.outside]\ncommand = \"a\"\nbandwidth_limit = \"1M\"\nnet = []\n",
        );
        let changes = Changes::between(&old, &new);
        let names = |names: &[ServiceName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&changes.added), ["fresh"]);
        assert_eq!(names(&changes.removed), ["gone"]);
        assert_eq!(names(&changes.adjusted), ["outside", "rules"]);
        assert_eq!(names(&changes.restarted), ["env"]);
        assert!(!changes.settings);
        for beside in [
            "[logs]\nkeep = \"1h\"\n",
            "[observability]\nslow_request = \"7s\"\n",
            "[levels.gvisor]\npath = \"/x\"\n",
        ] {
            let other = Changes::between(&config(""), &config(beside));
            assert_eq!(other.lines(), ["beside the services: other values"], "{beside}");
        }
        assert_eq!(Changes::between(&old, &old), Changes::default());
        assert_eq!(Changes::between(&old, &old).lines(), ["nothing is different"]);
    }
}
