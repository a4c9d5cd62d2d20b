//! What all keepers share.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use insula_isolation::{Backend, Registry, Unavailable};
use insula_spec::{Config, IdRange, InstanceName, NetPolicy, Outside, ServiceName, ServiceSpec};
use insula_store::{IdRangeError, Store};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::census::Census;
use crate::counts::Counts;
use crate::directory::Directory;
use crate::disk::Meter;
use crate::routing::Routing;

/// Most walls under construction at once; further starts wait for their turn.
const LAUNCHES: usize = 32;

/// Whether this process takes part in the life of its instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Yes.
    Serving,
    /// They are being stopped; those inside get this long.
    Down { drain: Duration },
    /// They are left running.
    Detached,
}

/// What is to run: the configuration, and its services by name.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: Arc<Config>,
    pub(crate) specs: BTreeMap<ServiceName, Arc<ServiceSpec>>,
}

impl Plan {
    fn new(config: Arc<Config>) -> Arc<Self> {
        let specs =
            config.services.iter().map(|(name, spec)| (name.clone(), Arc::new(spec.clone()))).collect();
        Arc::new(Self { config, specs })
    }
}

/// What all keepers share.
#[derive(Debug)]
pub(crate) struct Shared {
    plan: RwLock<Arc<Plan>>,
    pub(crate) registry: Registry,
    pub(crate) store: Store,
    pub(crate) directory: Directory,
    pub(crate) routing: Arc<Routing>,
    pub(crate) census: Arc<Census>,
    pub(crate) counts: Counts,
    pub(crate) meter: Meter,
    /// When this began.
    pub(crate) since: SystemTime,
    pub(crate) launches: Semaphore,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) keepers: TaskTracker,
    /// Where keepers live, whoever calls them.
    pub(crate) runtime: Handle,
    pub(crate) pumps: TaskTracker,
    /// Tells pumps to end, whatever is still to come.
    pub(crate) pumps_end: CancellationToken,
}

/// How host ids are given where every instance gets a range of its own ([`insula_isolation::Capabilities`]).
const OWN_RANGE: &str = "range per instance";

/// Why the host ids of an instance are not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostIdsError {
    /// The level does not work here.
    #[error(transparent)]
    Level(#[from] Unavailable),
    /// The store has none to give.
    #[error(transparent)]
    Range(#[from] IdRangeError),
}

impl Shared {
    /// For keepers on the runtime that this is called on.
    pub(crate) fn new(config: Arc<Config>, registry: Registry, store: Store) -> Arc<Self> {
        Arc::new(Self {
            plan: RwLock::new(Plan::new(config)),
            registry,
            store,
            directory: Directory::default(),
            routing: Arc::default(),
            census: Arc::default(),
            counts: Counts::default(),
            meter: Meter::default(),
            since: SystemTime::now(),
            launches: Semaphore::new(LAUNCHES),
            phase: watch::Sender::new(Phase::Serving),
            keepers: TaskTracker::new(),
            runtime: Handle::current(),
            pumps: TaskTracker::new(),
            pumps_end: CancellationToken::new(),
        })
    }

    /// What is to run now.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        // The value under this lock is a whole plan at every moment.
        Arc::clone(&self.plan.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is asked of a service; `None` if the configuration does not have it.
    pub(crate) fn spec(&self, service: &ServiceName) -> Option<Arc<ServiceSpec>> {
        self.plan().specs.get(service).cloned()
    }

    /// The host ids that belong to this instance alone; `None` where instances share theirs.
    pub(crate) async fn host_ids(
        &self,
        name: &InstanceName,
        backend: &dyn Backend,
    ) -> Result<Option<IdRange>, HostIdsError> {
        if backend.probe()?.ids != OWN_RANGE {
            return Ok(None);
        }
        let known = self.directory.read().get(name).and_then(|entry| entry.ids);
        if known.is_some() {
            return Ok(known);
        }
        let ids = self.store.id_range(name).await?;
        if let Some(entry) = self.directory.write().get_mut(name) {
            entry.ids = Some(ids);
        }
        Ok(Some(ids))
    }

    pub(crate) fn is_serving(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }
}

impl Site {
    /// What the instance may reach outside, and whether somebody said so: what the operator set, else what the
    /// configuration says.
    pub(crate) fn net(&self) -> (NetPolicy, bool) {
        let set = self.shared.directory.read().get(&self.name).and_then(|entry| entry.net.clone());
        set.map_or_else(|| (self.spec.net.clone(), self.spec.net_given), |net| (net, true))
    }

    /// What holds for everything that the instance does outside.
    pub(crate) fn outside(&self) -> Outside {
        Outside { net: self.net().0, bandwidth: self.spec.limits.bandwidth }
    }
}

/// One instance in its surroundings.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) shared: Arc<Shared>,
    pub(crate) spec: Arc<ServiceSpec>,
    pub(crate) name: InstanceName,
}
