//! What one part of the file says about another: instances of services, ports of instances.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Settings;
use super::super::kind::ProblemKind;
use super::super::raw::RawService;
use super::super::read::{Entries, Entry, Given, Integer};
use super::super::similar::similar;
use super::Check;
use crate::{InstanceId, ServiceName};

/// Declared instances by service.
pub(super) type Instances = BTreeMap<ServiceName, BTreeSet<InstanceId>>;

/// The declared names of services, as typed.
pub(super) fn names(tables: &Entries<RawService>) -> BTreeSet<String> {
    tables.0.iter().map(|entry| entry.key.value.clone()).collect()
}

impl Check<'_> {
    /// The `[instances]` table.
    pub(super) fn instances(
        &mut self,
        given: Entries<Vec<Given<String>>>,
        declared: &BTreeSet<String>,
    ) -> Instances {
        let mut instances = Instances::new();
        for entry in given.0 {
            let name = &entry.key.value;
            if !declared.contains(name) && !self.is_broken(name) {
                let similar = similar(name, declared.iter().map(String::as_str)).map(str::to_owned);
                self.problem(&entry.key.at, ProblemKind::UnknownService { name: name.clone(), similar });
            }
            let ids = self.ids(&entry.value.value);
            // A name that cannot be one is reported where the service is declared.
            if let Ok(name) = name.parse() {
                instances.insert(name, ids);
            }
        }
        instances
    }

    /// Whether the table of this service is there, but was not understood.
    fn is_broken(&self, name: &str) -> bool {
        ["service", "process"].iter().any(|table| self.problems.about(&format!("{table}.{name}")))
    }

    fn ids(&mut self, list: &[Given<String>]) -> BTreeSet<InstanceId> {
        let mut ids = BTreeSet::new();
        for given in list {
            match given.value.parse::<InstanceId>() {
                Ok(id) if ids.contains(&id) => {
                    self.problem(&given.at, ProblemKind::ListedTwice(id.to_string()));
                }
                Ok(id) => {
                    ids.insert(id);
                }
                Err(e) => self.problem(&given.at, ProblemKind::Name(e)),
            }
        }
        ids
    }

    /// No TCP port may be promised twice, and each must belong to a declared instance.
    pub(super) fn ports(&mut self, settings: &Settings, tables: &Entries<RawService>, declared: &Instances) {
        let mut owners = BTreeMap::from([(settings.port, "settings.port".to_owned())]);
        for service in &tables.0 {
            let listens = service.value.value.listen_tcp.as_ref().map(|table| table.value.0.as_slice());
            for entry in listens.unwrap_or_default() {
                self.port_owner(entry, &mut owners);
                let ids = declared.get(service.key.value.as_str());
                if ids.is_none_or(|ids| !ids.contains(entry.key.value.as_str())) {
                    let (service, id) = (service.key.value.clone(), entry.key.value.clone());
                    self.problem(&entry.key.at, ProblemKind::UndeclaredInstance { service, id });
                }
            }
        }
    }

    fn port_owner(&mut self, entry: &Entry<Integer>, owners: &mut BTreeMap<u16, String>) {
        let Some(port) = self.number(&entry.value, 1..=u16::MAX) else { return };
        match owners.get(&port) {
            Some(owner) => {
                let owner = owner.clone();
                self.problem(&entry.value.at, ProblemKind::PortTaken { port, owner });
            }
            None => {
                owners.insert(port, entry.value.at.key.clone());
            }
        }
    }
}
