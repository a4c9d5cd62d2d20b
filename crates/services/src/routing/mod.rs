//! Which version of a service answers: the one table of weights.
//!
//! ```text
//! pick ──► table (one pointer) ──► split of the service ──► version
//!            ▲
//!            └── swapped as a whole, after the store has all weights of the change
//! ```
//! A request sees the weights before a change or those after it, never a mixture. Changes wait for each
//! other, so that the table and the store have them in the same order.

mod split;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use insula_spec::config::Target;
use insula_spec::{Config, InstanceId, InstanceName, ServiceName};
use insula_store::{ChangeError, Event, EventKind, Store, VersionRow, Weighing};

pub(crate) use self::split::{Split, WEIGHT_MAX};
use crate::boot::StartError;
use crate::shared::Shared;

/// Why no version of a service answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoVersion {
    /// The configuration has no such service.
    #[error("there is no service `{0}`")]
    UnknownService(ServiceName),
    /// Its instances are tenants, none of which answers for the others.
    #[error("service `{0}` has tenants, not versions")]
    Tenants(ServiceName),
    /// No version has a weight.
    #[error("no version of `{0}` takes requests")]
    NoneWeighed(ServiceName),
}

impl NoVersion {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownService(name) => format!("add `[service.{name}]` to `insula.toml`"),
            Self::Tenants(name) => format!("ask for one of its instances, `ID.{name}.DOMAIN`"),
            Self::NoneWeighed(name) => {
                format!(
                    "run `insula deploy {name}:ID`, or give a version a weight: `insula weight {name} ID=100`"
                )
            }
        }
    }
}

type Table = HashMap<ServiceName, Arc<Split>>;

/// The weights of all services, and who is changing them.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    table: RwLock<Arc<Table>>,
    /// Held from before a change is stored until it is in the table.
    change: tokio::sync::Mutex<()>,
    /// What is being deployed or routed now.
    busy: Mutex<BTreeSet<Target>>,
}

impl Routing {
    /// Takes over what the store knows, as far as it has a meaning now.
    pub(crate) fn load<'a>(&self, rows: impl Iterator<Item = &'a VersionRow>) {
        let mut weights: BTreeMap<ServiceName, BTreeMap<InstanceId, u8>> = BTreeMap::new();
        for VersionRow { name, weight, .. } in rows {
            weights.entry(name.service.clone()).or_default().insert(name.id.clone(), *weight);
        }
        let split = |(service, weights)| {
            let split = Split::new(&service, weights);
            (service, Arc::new(split))
        };
        self.swap(weights.into_iter().map(split).collect());
    }

    /// The weights of a service.
    pub(crate) fn split(&self, service: &ServiceName) -> Option<Arc<Split>> {
        // The value under this lock is a whole table at every moment.
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(service).map(Arc::clone)
    }

    /// Whether this instance has a weight.
    pub(crate) fn weight(&self, name: &InstanceName) -> u8 {
        self.split(&name.service).map_or(0, |split| split.weight(&name.id))
    }

    /// Changes weights of one service: decides by those that hold, writes, then swaps. An error of `decide`
    /// changes nothing.
    pub(crate) async fn weigh<E: From<ChangeError>>(
        &self,
        store: &Store,
        service: &ServiceName,
        decide: impl FnOnce(&BTreeMap<InstanceId, u8>) -> Result<Decision, E>,
    ) -> Result<(), E> {
        let _turn = self.change.lock().await;
        let mut weights = self.split(service).map(|split| split.weights().clone()).unwrap_or_default();
        let Decision { deployed, changes, about, event } = decide(&weights)?;
        let full = |id: &InstanceId| InstanceName::new(service.clone(), id.clone());
        let weighing =
            Weighing { deployed, weights: changes.iter().map(|(id, weight)| (full(id), *weight)).collect() };
        weights.extend(changes);
        let detail = serde_json::json!({ "weights": weights });
        store.weigh(weighing, (&about, event.detail(detail))).await?;
        self.replace(service, weights);
        Ok(())
    }

    /// A version is not known any more.
    pub(crate) async fn forget(&self, name: &InstanceName) {
        let _turn = self.change.lock().await;
        let Some(split) = self.split(&name.service) else { return };
        let mut weights = split.weights().clone();
        if weights.remove(&name.id).is_some() {
            self.replace(&name.service, weights);
        }
    }

    fn replace(&self, service: &ServiceName, weights: BTreeMap<InstanceId, u8>) {
        let mut table = Table::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner));
        table.insert(service.clone(), Arc::new(Split::new(service, weights)));
        self.swap(table);
    }

    fn swap(&self, table: Table) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    /// The right to deploy or route it, for one at a time; `None` while somebody else has it.
    pub(crate) fn claim(self: &Arc<Self>, what: Target) -> Option<Claim> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.insert(what.clone()).then(|| Claim { routing: Arc::clone(self), what })
    }
}

/// What a change of weights comes to.
#[derive(Debug)]
pub(crate) struct Decision {
    /// What was deployed just now.
    pub(crate) deployed: Option<InstanceName>,
    /// The weights that change.
    pub(crate) changes: BTreeMap<InstanceId, u8>,
    /// In whose history the event goes.
    pub(crate) about: InstanceName,
    /// Why; the weights that hold afterwards are added to it.
    pub(crate) event: Event,
}

/// The right to deploy or route something.
#[derive(Debug)]
pub(crate) struct Claim {
    routing: Arc<Routing>,
    what: Target,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.routing.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.what);
    }
}

/// Takes over the weights that the store has. The instances that `[instances]` declares of a service that
/// never had any share its requests.
pub(crate) async fn load(shared: &Shared, config: &Config) -> Result<(), StartError> {
    let rows = shared.store.versions().await?;
    let versioned = |row: &&VersionRow| config.services.get(&row.name.service).is_some_and(|s| s.versions);
    shared.routing.load(rows.iter().filter(versioned));
    for (service, ids) in &config.instances {
        let fresh = rows.iter().all(|row| row.name.service != *service);
        let first = ids.first().filter(|_| fresh && config.services.get(service).is_some_and(|s| s.versions));
        let Some(first) = first else { continue };
        let decide = |_: &BTreeMap<InstanceId, u8>| {
            Ok::<_, ChangeError>(Decision {
                deployed: None,
                changes: ids.iter().map(|id| (id.clone(), WEIGHT_MAX)).collect(),
                about: InstanceName::new(service.clone(), first.clone()),
                event: Event::new(EventKind::Routed, "declared under `[instances]`"),
            })
        };
        shared.routing.weigh(&shared.store, service, decide).await?;
    }
    Ok(())
}
