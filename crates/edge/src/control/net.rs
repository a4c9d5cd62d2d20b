//! What an instance may reach outside: shown, suggested, set.

use std::collections::BTreeMap;
use std::future::Future;

use axum::Json;
use axum::extract::State;
use insula_api::{Net, NetRequest, NetSource, NetSuggestion};
use insula_spec::{InstanceName, NetPolicy, NetRule, Network};
use insula_store::{ChangeError, EventKind, EventQuery, EventRow};

use super::error::ControlError;
use super::extract::{Given, Named};
use super::handlers::{Answer, App};
use super::live::Live;
use super::operations::Operations;

/// Most refusals that are looked at for a suggestion.
const REFUSALS: usize = 1000;

/// What the control API can ask about the outside.
pub trait Nets: Send + Sync + 'static {
    /// What an instance may reach.
    fn net(&self, name: &InstanceName) -> impl Future<Output = Result<Net, ControlError>> + Send;

    /// Sets it; `None` gives it what the configuration says.
    fn set_net(
        &self,
        name: &InstanceName,
        rules: Option<NetPolicy>,
    ) -> impl Future<Output = Result<Net, ControlError>> + Send;
}

pub(super) async fn show<O: Operations>(State(app): App<O>, Named(name): Named) -> Answer<Net> {
    app.operations.net(&name).await.map(Json)
}

pub(super) async fn set<O: Operations>(
    State(app): App<O>,
    Named(name): Named,
    Given(request): Given<NetRequest>,
) -> Answer<Net> {
    let none = || ControlError::Malformed { part: "body", why: "there is none".to_owned() };
    app.operations.set_net(&name, request.ok_or_else(none)?.rules).await.map(Json)
}

impl Nets for Live {
    async fn net(&self, name: &InstanceName) -> Result<Net, ControlError> {
        let net = self.services.net(name).ok_or_else(|| ControlError::UnknownInstance(name.clone()))?;
        let query = EventQuery {
            instance: Some(name.clone()),
            kinds: vec![EventKind::NetDenied],
            limit: Some(REFUSALS),
            newest_first: true,
            ..EventQuery::default()
        };
        let refused = self.store.events(query).await?;
        Ok(Net {
            name: name.clone(),
            suggested: suggestions(&net.policy, &refused),
            rules: net.policy,
            source: if net.set { NetSource::Operator } else { NetSource::Configuration },
        })
    }

    async fn set_net(&self, name: &InstanceName, rules: Option<NetPolicy>) -> Result<Net, ControlError> {
        if let Some(rules) = &rules {
            self.enforceable(name, rules)?;
        }
        self.services.set_net(name, rules).await.map_err(|error| match error {
            ChangeError::Unknown(name) => ControlError::UnknownInstance(name),
            ChangeError::Write(error) => ControlError::Write(error),
        })?;
        self.net(name).await
    }
}

impl Live {
    /// Whether the network of this instance can be judged by these rules.
    fn enforceable(&self, name: &InstanceName, rules: &NetPolicy) -> Result<(), ControlError> {
        let network = self.config.services.get(&name.service).map(|spec| spec.network);
        let why = match network {
            Some(Network::Host) => "its service has the network of the host, which is not judged".to_owned(),
            Some(Network::Routed) => match rules.rules().iter().find(|rule| !is_of_packets(rule)) {
                Some(rule) => {
                    format!("`{rule}` needs a name or a connection, and a routed network has packets")
                }
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        Err(ControlError::Malformed { part: "body", why })
    }
}

/// Whether packets can be judged by a rule.
fn is_of_packets(rule: &NetRule) -> bool {
    matches!(rule, NetRule::Public | NetRule::Block { .. })
}

/// The rules that would let through what was refused, the latest first; those that hold already are left out.
fn suggestions(policy: &NetPolicy, refused: &[EventRow]) -> Vec<NetSuggestion> {
    let mut all: Vec<NetSuggestion> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for row in refused {
        let (detail, event) = (&row.event.detail, &row.event);
        let Some(rule) = detail["rule"].as_str().and_then(|rule| rule.parse::<NetRule>().ok()) else {
            continue;
        };
        if policy.rules().contains(&rule) {
            continue;
        }
        let times = detail["times"].as_u64().unwrap_or(1);
        let place = *places.entry(rule.to_string()).or_insert(all.len());
        match all.get_mut(place) {
            Some(known) => known.times += times,
            None => all.push(NetSuggestion {
                rule: rule.to_string(),
                times,
                last: event.time.into(),
                cause: event.cause.clone(),
            }),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use insula_store::Event;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_refusal_becomes_one_rule_unless_it_holds_already() {
        let row = |rule: &str, times: u64, at: u64| {
            let event = Event::new(EventKind::NetDenied, format!("{rule} was refused"));
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
            let event = Event { time, ..event.detail(json!({ "rule": rule, "times": times })) };
            EventRow { id: at, instance: None, event }
        };
        let refused =
            [row("a.com:443", 2, 9), row("b.com:443", 1, 8), row("a.com:443", 3, 7), row("c.com", 1, 6)];
        let policy = NetPolicy::try_from(vec!["c.com".to_owned()]).unwrap();
        let found = suggestions(&policy, &refused);
        let short: Vec<_> = found.iter().map(|s| (s.rule.as_str(), s.times)).collect();
        assert_eq!(short, [("a.com:443", 5), ("b.com:443", 1)]);
    }
}
