//! The `[alerts]` table: every receiver has a name of its own, an address, a key, and something to hear.

use std::collections::BTreeSet;

use super::super::alerts::{AlertKind, Webhook};
use super::super::kind::ProblemKind;
use super::super::raw::{RawAlerts, RawWebhook};
use super::super::read::Given;
use super::super::similar::similar;
use super::Check;
use crate::{InstanceId, ServiceName};

impl Check<'_> {
    /// Every receiver, in the order of the file.
    pub(super) fn alerts(
        &mut self,
        given: Option<Given<RawAlerts>>,
        declared: &BTreeSet<String>,
    ) -> Vec<Webhook> {
        let list = given.and_then(|table| table.value.webhook).map(|list| list.value).unwrap_or_default();
        let mut hooks: Vec<Webhook> = Vec::with_capacity(list.len());
        for one in list {
            let at = one.at.clone();
            let Some(hook) = self.webhook(one, declared) else { continue };
            if hooks.iter().any(|other| other.name == hook.name) {
                self.problem(&at, ProblemKind::ListedTwice(hook.name.clone()));
            }
            hooks.push(hook);
        }
        hooks
    }

    fn webhook(&mut self, given: Given<RawWebhook>, declared: &BTreeSet<String>) -> Option<Webhook> {
        let (at, raw) = (given.at, given.value);
        let keys = [
            ("name", raw.name.is_none()),
            ("url", raw.url.is_none()),
            ("secret_file", raw.secret_file.is_none()),
            ("events", raw.events.is_none()),
        ];
        for (key, _) in keys.iter().filter(|(_, missing)| *missing) {
            self.missing(&at, key);
        }
        let name = raw.name.and_then(|name| self.hook_name(name));
        if let Some(url) = &raw.url {
            self.endpoint(url);
            self.url_port(url);
        }
        let secret_file = raw.secret_file.and_then(|path| self.path(&path));
        let events = raw.events.map(|list| self.alert_kinds(&list));
        let services = raw.services.map(|list| self.services_of(&list.value, declared)).unwrap_or_default();
        Some(Webhook {
            name: name?,
            url: raw.url?.value,
            secret_file: secret_file?,
            events: events?,
            services,
        })
    }

    /// A port that is none is told here, not a day of attempts later.
    fn url_port(&mut self, given: &Given<String>) {
        let rest = given.value.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let behind = authority.rsplit_once(']').map_or(authority, |(_, behind)| behind);
        let port = behind.split_once(':').map(|(_, port)| port);
        // An address with a password is reported already, and must not be shown.
        if !authority.contains('@') && port.is_some_and(|port| !matches!(port.parse::<u16>(), Ok(1..))) {
            self.problem(&given.at, ProblemKind::Endpoint(given.value.clone()));
        }
    }

    /// A name is a label, as that of an instance is, so that it can be typed and shown anywhere.
    fn hook_name(&mut self, given: Given<String>) -> Option<String> {
        match given.value.parse::<InstanceId>() {
            Ok(_) => Some(given.value),
            Err(e) => {
                self.problem(&given.at, ProblemKind::Name(e));
                None
            }
        }
    }

    fn alert_kinds(&mut self, list: &Given<Vec<Given<String>>>) -> BTreeSet<AlertKind> {
        if list.value.is_empty() {
            self.problem(&list.at, ProblemKind::NoEvents);
        }
        let mut kinds = BTreeSet::new();
        for given in &list.value {
            let Some(kind) = self.word(Some(given), (AlertKind::WORDS, AlertKind::ALL)) else { continue };
            if !kinds.insert(kind) {
                self.problem(&given.at, ProblemKind::ListedTwice(given.value.clone()));
            }
        }
        kinds
    }

    fn services_of(&mut self, list: &[Given<String>], declared: &BTreeSet<String>) -> BTreeSet<ServiceName> {
        let mut services = BTreeSet::new();
        for given in list {
            let name = given.value.clone();
            if !declared.contains(&name) {
                let similar = similar(&name, declared.iter().map(String::as_str)).map(str::to_owned);
                self.problem(&given.at, ProblemKind::UnknownService { name, similar });
                continue;
            }
            match name.parse::<ServiceName>() {
                Ok(service) if services.contains(&service) => {
                    self.problem(&given.at, ProblemKind::ListedTwice(name));
                }
                // A name that cannot be one is reported where the service is declared.
                parsed => services.extend(parsed),
            }
        }
        services
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::Config;
    use super::*;

    const GOOD: &str =
        "name = \"ops\"\nurl = \"http://127.0.0.1:9/x\"\nsecret_file = \"key\"\nevents = [\"oom\"]\n";

    fn parse(keys: &str) -> Result<Config, String> {
        let text = format!("[service.api]\ncommand = \"x\"\n[[alerts.webhook]]\n{keys}");
        Config::parse(&text, Path::new("/srv/insula.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn a_receiver_is_read_with_its_key_beside_the_file() {
        let config = parse(&format!("{GOOD}services = [\"api\"]\n")).unwrap();
        let hook = &config.alerts[0];
        assert_eq!((hook.name.as_str(), hook.url.as_str()), ("ops", "http://127.0.0.1:9/x"));
        assert_eq!(hook.secret_file, Path::new("/srv/key"));
        assert_eq!(hook.events, BTreeSet::from([AlertKind::Oom]));
        assert_eq!(hook.services.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_to_type() {
        let with = |from: &str, to: &str| parse(&GOOD.replace(from, to)).unwrap_err();
        let cases = [
            (with("\"oom\"", "\"unhealty\""), "did you mean `unhealthy`?"),
            (with("\"oom\"", ""), "name at least one event"),
            (with("\"oom\"", "\"oom\", \"oom\""), "listed twice"),
            (with("http:", "ftp:"), "is not an address"),
            (with(":9/", ":99999/"), "is not an address"),
            (with("127.0.0.1:9/", "[::1]:x/"), "is not an address"),
            (with("127.0.0.1", "me:secret@127.0.0.1"), "`...@127.0.0.1:9/x`"),
            (with("name = \"ops\"\n", ""), "`name` is missing"),
            (with("secret_file = \"key\"\n", ""), "`secret_file` is missing"),
            (with("url", "ulr"), "did you mean `url`?"),
            (with("\"ops\"", "\"no such name\""), "alerts.webhook"),
            (parse(&format!("{GOOD}services = [\"apl\"]\n")).unwrap_err(), "did you mean `api`?"),
            (parse(&format!("{GOOD}[[alerts.webhook]]\n{GOOD}")).unwrap_err(), "`ops` is listed twice"),
        ];
        for (said, wanted) in cases {
            assert!(said.contains(wanted), "no {wanted:?} in {said}");
        }
    }
}
