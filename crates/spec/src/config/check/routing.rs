//! The `[routing]` table: every target must be there, and every prefix and host be one that can be met.

use std::collections::{BTreeMap, BTreeSet};

use super::super::kind::ProblemKind;
use super::super::raw::RawRouting;
use super::super::read::{Entries, Given};
use super::super::routing::{RESERVED, Routing, Target, is_below};
use super::super::similar::similar;
use super::{Check, domain_name};
use crate::{InstanceId, InstanceName, ServiceName, ServiceSpec};

/// Why the instances of a service share its requests: a route says so.
pub(super) const ROUTED: &str = "a route names it as a whole: its instances share the requests \
                                 (`versions = true`)";

/// What targets and hosts are compared with.
#[derive(Debug)]
pub(super) struct Known<'a> {
    /// The names of services, as typed.
    pub(super) names: &'a BTreeSet<String>,
    /// Those that can be one.
    pub(super) services: &'a BTreeMap<ServiceName, ServiceSpec>,
    /// The domain itself.
    pub(super) domain: &'a str,
}

impl Check<'_> {
    /// The table.
    pub(super) fn routing(&mut self, raw: RawRouting, known: &Known<'_>) -> Routing {
        let paths = raw.path.map(|table| table.value).unwrap_or_default();
        let mut hosts = raw.host.map(|table| table.value).unwrap_or_default();
        let below = raw.subdomain.map(|table| self.subdomains(table, &mut hosts, known));
        Routing {
            default: raw.default.and_then(|given| self.target(&given, known)),
            paths: self.paths(paths, known),
            hosts: self.hosts(hosts, known),
            below: below.unwrap_or_default(),
        }
    }

    /// Rows of tenement's table: a label or a host becomes a row of `host`, `*.` what is given back.
    fn subdomains(
        &mut self,
        given: Given<Entries<String>>,
        hosts: &mut Entries<String>,
        known: &Known<'_>,
    ) -> BTreeMap<String, Target> {
        self.note(&given.at, "a table of tenement's; write `[routing.host]` with whole host names");
        let mut below = BTreeMap::new();
        for mut entry in given.value.0 {
            if let Some(parent) = entry.key.value.strip_prefix("*.") {
                let Some(parent) = domain_name(parent) else {
                    self.problem(&entry.key.at, ProblemKind::Domain(entry.key.value));
                    continue;
                };
                below.extend(self.target(&entry.value, known).map(|target| (parent, target)));
                continue;
            }
            if !entry.key.value.contains('.') {
                entry.key.value = format!("{}.{}", entry.key.value, known.domain);
            }
            let own = format!("{}.{}", entry.value.value, known.domain);
            // The name leads there without a row.
            if !entry.key.value.eq_ignore_ascii_case(&own) {
                hosts.0.push(entry);
            }
        }
        below
    }

    fn paths(&mut self, given: Entries<String>, known: &Known<'_>) -> BTreeMap<String, Target> {
        let mut paths = BTreeMap::new();
        for entry in given.0 {
            let target = self.target(&entry.value, known);
            let (Some(prefix), Some(target)) = (self.prefix(&entry.key), target) else { continue };
            if paths.insert(prefix, target).is_some() {
                self.problem(&entry.key.at, ProblemKind::ListedTwice(entry.key.value));
            }
        }
        paths
    }

    /// A prefix without the slash at its end.
    fn prefix(&mut self, key: &Given<String>) -> Option<String> {
        let path = self.url_path(key);
        let prefix = path.strip_suffix('/').unwrap_or(&path);
        let why = match prefix {
            _ if !path.starts_with('/') => return None,
            _ if path.contains('?') => "a query is not part of a path",
            _ if prefix.contains("//") || prefix.ends_with('/') => "two slashes stand together",
            _ if prefix.split('/').any(|part| part == "." || part == "..") => {
                "clients resolve dots themselves"
            }
            _ => {
                let reserved = RESERVED.iter().find(|reserved| is_below(prefix, reserved));
                if let Some(reserved) = reserved {
                    self.problem(&key.at, ProblemKind::ReservedPath { path: path.clone(), reserved });
                }
                return reserved.is_none().then(|| prefix.to_owned());
            }
        };
        self.problem(&key.at, ProblemKind::RoutePath { path: path.clone(), why });
        None
    }

    fn hosts(&mut self, given: Entries<String>, known: &Known<'_>) -> BTreeMap<String, Target> {
        let mut hosts = BTreeMap::new();
        for entry in given.0 {
            let target = self.target(&entry.value, known);
            let Some(host) = domain_name(&entry.key.value) else {
                self.problem(&entry.key.at, ProblemKind::Domain(entry.key.value));
                continue;
            };
            if let Some(owner) = owner(&host, known) {
                self.problem(&entry.key.at, ProblemKind::HostTaken { host: entry.key.value, owner });
                continue;
            }
            let Some(target) = target else { continue };
            if hosts.insert(host, target).is_some() {
                self.problem(&entry.key.at, ProblemKind::ListedTwice(entry.key.value));
            }
        }
        hosts
    }

    /// A service or an instance of one that is declared.
    fn target(&mut self, given: &Given<String>, known: &Known<'_>) -> Option<Target> {
        let text = given.value.as_str();
        let (service, id) = match text.split_once(':') {
            Some((service, id)) => (service, Some(id)),
            None => (text, None),
        };
        let name = service.parse::<ServiceName>().ok();
        let id = id.map(str::parse::<InstanceId>).transpose();
        let (Some(name), Ok(id)) = (name, id) else {
            self.problem(&given.at, ProblemKind::RouteTarget(text.to_owned()));
            return None;
        };
        if !known.names.contains(service) {
            let similar = similar(service, known.names.iter().map(String::as_str)).map(str::to_owned);
            self.problem(&given.at, ProblemKind::UnknownService { name: service.to_owned(), similar });
            return None;
        }
        Some(match id {
            Some(id) => Target::Instance(InstanceName::new(name, id)),
            None => {
                if known.services.get(&name).is_some_and(|spec| !spec.versions) {
                    self.problem(&given.at, ProblemKind::RouteTenants(name.to_string()));
                }
                Target::Service(name)
            }
        })
    }
}

/// What routes name without an instance: then all instances of a service share its requests.
pub(super) fn whole(raw: &RawRouting) -> BTreeSet<String> {
    let tables = [&raw.path, &raw.host, &raw.subdomain].into_iter().flatten();
    let rows = tables.flat_map(|table| &table.value.0).map(|entry| &entry.value);
    rows.chain(&raw.default).map(|given| given.value.clone()).collect()
}

/// Where a host leads without `[routing.host]`.
fn owner(host: &str, known: &Known<'_>) -> Option<String> {
    let Known { names, domain, .. } = known;
    if host == *domain {
        return Some("the domain itself".to_owned());
    }
    let inside = host.strip_suffix(domain)?.strip_suffix('.')?;
    match inside.split_once('.') {
        None => names.contains(inside).then(|| format!("service `{inside}`")),
        Some((id, service)) => {
            let whole = names.contains(service) && id.parse::<InstanceId>().is_ok();
            whole.then(|| format!("instance `{service}:{id}`"))
        }
    }
}
