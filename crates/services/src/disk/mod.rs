//! What tenants' directories hold: counted one after another, never in the way of a request.
//!
//! ```text
//! keeper: it ended ───────┐
//! operator asks ──────────┼─inbox─► meter (one task) ──► count, off the runtime ──► directory
//! each minute, who runs ──┘                                    └─ crossing ──► journal
//! ```
//! Directories with a limit are counted by themselves; others when somebody asks.

mod fill;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use insula_isolation::{DiskHold, DiskPlace};
use insula_spec::{IdRange, InstanceName, LevelChoice, Limits, ServiceSpec};
use insula_store::{Change, Event, EventKind, EventQuery};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

pub use self::fill::{DiskEvent, Fill};
use crate::shared::{Phase, Shared};

/// Pause between two rounds over what runs.
const EVERY: Duration = Duration::from_secs(60);
/// A round takes at most one in so many parts of the time.
const REST: u32 = 20;
/// How long counting one directory may take.
const COUNTING: Duration = Duration::from_secs(2);
/// Questions that may wait. What an instance did beyond that is seen in the next round.
const INBOX: usize = 256;

/// What a directory held when it was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskReading {
    /// Bytes in use.
    pub used: u64,
    /// Whether that is all of it: there may have been too little time, or no right to look.
    pub complete: bool,
    /// The limit in bytes that holds.
    pub limit: Option<u64>,
    /// What bounds it; `None` without a limit.
    pub hold: Option<DiskHold>,
    /// How full it is.
    pub fill: Fill,
    /// When it was counted.
    pub at: SystemTime,
}

/// A question to the meter.
#[derive(Debug)]
struct Ask {
    name: InstanceName,
    /// The instance was just started.
    started: bool,
    reply: Option<oneshot::Sender<Option<DiskReading>>>,
}

/// A way to the meter, and its inbox until it begins.
#[derive(Debug)]
pub(crate) struct Meter {
    asks: mpsc::Sender<Ask>,
    inbox: Mutex<Option<mpsc::Receiver<Ask>>>,
}

impl Default for Meter {
    fn default() -> Self {
        let (asks, inbox) = mpsc::channel(INBOX);
        Self { asks, inbox: Mutex::new(Some(inbox)) }
    }
}

/// Tells the meter what an instance with a limit does.
#[derive(Debug, Clone)]
pub(crate) struct Hint(mpsc::Sender<Ask>);

impl Hint {
    /// Takes note of what goes into the journal.
    pub(crate) fn saw(&self, name: &InstanceName, event: &Event) {
        let started = match event.kind {
            EventKind::Woken | EventKind::Spawned | EventKind::Restarted => true,
            EventKind::Slept | EventKind::Stopped | EventKind::Exited | EventKind::Failed => false,
            _ => return,
        };
        let ask = Ask { name: name.clone(), started, reply: None };
        if self.0.try_send(ask).is_err() {
            tracing::debug!(instance = %name, "its directory is counted in the next round");
        }
    }
}

impl Meter {
    /// For the keeper of an instance; `None` where there is no limit.
    pub(crate) fn hint(&self, spec: Option<&ServiceSpec>) -> Option<Hint> {
        spec.and_then(|spec| spec.limits.disk).map(|_| Hint(self.asks.clone()))
    }

    /// Counts a directory now. `None` when nobody knows the instance, or nothing is counted any more.
    pub(crate) async fn read(&self, name: &InstanceName) -> Option<DiskReading> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask { name: name.clone(), started: false, reply: Some(reply) };
        self.asks.send(ask).await.ok()?;
        answer.await.ok().flatten()
    }
}

/// Begins to count, unless it has begun. Where no directory has a limit and nobody asks, there is no need to.
pub(crate) fn begin(shared: &Arc<Shared>) {
    let inbox = shared.meter.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(inbox) = inbox {
        shared.keepers.spawn(run(Arc::clone(shared), inbox));
    }
}

/// Counts until this process takes no part any more.
async fn run(shared: Arc<Shared>, mut inbox: mpsc::Receiver<Ask>) {
    let mut phase = shared.phase.subscribe();
    let cancelled = Arc::new(AtomicBool::new(false));
    let work = async {
        let mut round = Instant::now() + EVERY;
        loop {
            tokio::select! {
                ask = inbox.recv() => match ask {
                    Some(ask) => answer(&shared, ask, &cancelled).await,
                    None => return,
                },
                () = sleep_until(round) => {
                    let begun = Instant::now();
                    for name in running(&shared) {
                        look(&shared, &name, &cancelled).await;
                    }
                    round = Instant::now() + EVERY.max(begun.elapsed() * REST);
                }
            }
        }
    };
    tokio::select! {
        () = work => {}
        // An error is the end of the sender: of whom this is part.
        _ = phase.wait_for(|phase| *phase != Phase::Serving) => {}
    }
    // What is under way on another thread ends with its next file.
    cancelled.store(true, Ordering::Relaxed);
}

/// Who runs and has a limit.
fn running(shared: &Shared) -> Vec<InstanceName> {
    let plan = shared.plan();
    let limited =
        |name: &InstanceName| plan.specs.get(&name.service).is_some_and(|s| s.limits.disk.is_some());
    let map = shared.directory.read();
    map.iter().filter(|(name, e)| e.record.is_some() && limited(name)).map(|(name, _)| name.clone()).collect()
}

async fn answer(shared: &Arc<Shared>, ask: Ask, cancelled: &Arc<AtomicBool>) {
    let Ask { name, started, reply } = ask;
    let reading = match started {
        // Counting would be in the way of whoever was just woken.
        true => shared.directory.read().get(&name).and_then(|entry| entry.disk.clone()),
        false => look(shared, &name, cancelled).await,
    };
    if let (true, Some(DiskReading { fill: Fill::Full, .. })) = (started, &reading) {
        write(shared, &name, reading.as_ref(), true).await;
    }
    if let Some(reply) = reply
        && reply.send(reading).is_err()
    {
        tracing::debug!(instance = %name, "nobody waits for what it holds any more");
    }
}

/// Counts one directory, and writes down what changed.
async fn look(shared: &Arc<Shared>, name: &InstanceName, cancelled: &Arc<AtomicBool>) -> Option<DiskReading> {
    let spec = shared.spec(&name.service)?;
    let (level, ids, before) = {
        let map = shared.directory.read();
        let entry = map.get(name)?;
        (entry.level, entry.ids, entry.disk.as_ref().map(|reading| reading.fill))
    };
    let level = level.map_or(spec.isolation, LevelChoice::Fixed);
    let level = shared.registry.resolve(level, None).and_then(|level| shared.registry.backend(level));
    let walled = level.is_ok_and(|backend| backend.bounds_disk());
    let dir = spec.tenant_dir(&name.id);
    let (limits, cancel) = (spec.limits, Arc::clone(cancelled));
    let counted = tokio::task::spawn_blocking(move || {
        let place = DiskPlace { dir: &dir, limits, walled, ids };
        (place.measure(COUNTING, &cancel), place.hold())
    });
    let (used, hold) = match counted.await {
        Ok((Ok(used), hold)) => (used, hold),
        Ok((Err(error), _)) => {
            tracing::debug!(instance = %name, %error, "cannot count what it holds");
            return None;
        }
        Err(error) => {
            tracing::warn!(instance = %name, %error, "counting broke off");
            return None;
        }
    };
    let before = match before {
        Some(fill) => fill,
        None => last_told(shared, name).await,
    };
    let hard = hold.as_ref().is_some_and(|hold| hold.mechanism.is_hard());
    let limit = used.limit;
    let fill = match limit {
        Some(limit) if used.complete || used.used >= limit => before.next(used.used, limit, hard),
        Some(_) => before,
        None => Fill::Room,
    };
    let at = SystemTime::now();
    let reading = DiskReading { used: used.used, complete: used.complete, limit, hold, fill, at };
    if let Some(entry) = shared.directory.write().get_mut(name) {
        entry.disk = Some(reading.clone());
    }
    if fill != before && limit.is_some() {
        write(shared, name, Some(&reading), false).await;
    }
    Some(reading)
}

/// How full it was when it was last told: an earlier process may have told of it.
async fn last_told(shared: &Shared, name: &InstanceName) -> Fill {
    let query = EventQuery {
        instance: Some(name.clone()),
        kinds: vec![EventKind::Disk],
        limit: Some(1),
        newest_first: true,
        ..EventQuery::default()
    };
    match shared.store.events(query).await {
        Ok(rows) => rows.first().and_then(|row| DiskEvent::of(&row.event)).map_or(Fill::Room, |e| e.disk),
        Err(error) => {
            tracing::warn!(instance = %name, %error, "cannot read how full its directory was");
            Fill::Room
        }
    }
}

async fn write(shared: &Shared, name: &InstanceName, reading: Option<&DiskReading>, started: bool) {
    let Some(DiskReading { used, limit: Some(limit), hold: Some(hold), fill, .. }) = reading else { return };
    let mechanism = hold.mechanism.to_string();
    let told = DiskEvent { disk: *fill, used: *used, limit: *limit, mechanism, started };
    say(name, &told);
    if let Err(error) = shared.store.transition(name, Change::none(), told.event()).await {
        tracing::warn!(instance = %name, %error, "cannot record how full its directory is");
    }
}

/// Tells the daemon's own log, at a level that fits.
fn say(name: &InstanceName, told: &DiskEvent) {
    let (service, cause) = (&name.service, told.event().cause);
    match told.disk {
        Fill::Room => {
            tracing::info!(instance = %name, %service, used = told.used, limit = told.limit, "{cause}")
        }
        Fill::Near | Fill::Full => {
            tracing::warn!(instance = %name, %service, used = told.used, limit = told.limit, "{cause}");
        }
    }
}

/// A directory as the walls see it: for whoever asks what would bound it.
pub(crate) fn hold(
    spec: &ServiceSpec,
    name: &InstanceName,
    walled: bool,
    ids: Option<IdRange>,
) -> Option<DiskHold> {
    let limits: Limits = spec.limits;
    DiskPlace { dir: &spec.tenant_dir(&name.id), limits, walled, ids }.hold()
}
