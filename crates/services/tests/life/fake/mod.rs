//! A level without walls: a workload is a task that answers on loopback, and does what a test tells it.

mod workload;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use insula_isolation::{
    Adopted, Backend, BoxFuture, Capabilities, Connect, Event, Exit, Gone, LaunchError, LogStream, Record,
    Sandbox, Stream, Swept, Unavailable, Usage,
};
use insula_spec::{InstanceName, Launch, Level, Network, Placement};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use workload::{Workload, placement};

/// How the next start of a workload goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// It listens at once.
    Well,
    /// The program is not there.
    NoProgram,
    /// The walls cannot be built, this time.
    NoWalls,
    /// It never listens.
    Mute,
    /// It listens, and its health checks fail.
    Ill,
    /// It ends at once.
    Exits(Exit),
    /// It waits for [`Host::let_start`] before it is launched.
    Held,
}

#[derive(Debug, Default)]
struct Inner {
    plan: VecDeque<Start>,
    always: Option<Start>,
    workloads: HashMap<String, Arc<Workload>>,
    launches: usize,
    /// The environment of the last launch.
    env: Vec<(String, insula_spec::Secret)>,
    relaunches: usize,
    adoptions: usize,
    stops: usize,
    keys: usize,
    refuse_adoption: bool,
    refuse_relaunch: bool,
    ids: Option<&'static str>,
}

/// The host of all workloads; survives a [`insula_services::Services`], as a real one does.
#[derive(Debug, Default)]
pub(crate) struct Host {
    inner: Mutex<Inner>,
    held: Notify,
    /// Grows with everything that happens here.
    changes: watch::Sender<u64>,
}

impl Host {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// The next starts go like this; later ones go well.
    pub(crate) fn plan(&self, starts: impl IntoIterator<Item = Start>) {
        self.inner().plan.extend(starts);
    }

    /// All starts go like this, beyond the plan.
    pub(crate) fn always(&self, start: Start) {
        self.inner().always = Some(start);
    }

    /// Waits until something holds here.
    pub(crate) async fn until(&self, mut holds: impl FnMut(&Self) -> bool) {
        self.changes.subscribe().wait_for(|_| holds(self)).await.unwrap();
    }

    fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    pub(crate) fn let_start(&self) {
        self.held.notify_one();
    }

    pub(crate) fn refuse_adoption(&self) {
        self.inner().refuse_adoption = true;
    }

    pub(crate) fn refuse_relaunch(&self) {
        self.inner().refuse_relaunch = true;
    }

    /// Every instance gets host ids of its own.
    pub(crate) fn own_ids(&self) {
        self.inner().ids = Some("range per instance");
    }

    pub(crate) fn launches(&self) -> usize {
        self.inner().launches
    }

    /// Whether the last launch had this variable.
    pub(crate) fn launched_with(&self, name: &str, value: &str) -> bool {
        self.inner().env.iter().any(|(n, v)| n == name && v.expose() == value)
    }

    pub(crate) fn relaunches(&self) -> usize {
        self.inner().relaunches
    }

    pub(crate) fn adoptions(&self) -> usize {
        self.inner().adoptions
    }

    pub(crate) fn stops(&self) -> usize {
        self.inner().stops
    }

    /// Sets of walls that stand.
    pub(crate) fn standing(&self) -> usize {
        self.inner().workloads.len()
    }

    /// Whether the walls of an instance are committed.
    pub(crate) fn is_committed(&self, name: &str) -> bool {
        self.inner().workloads.values().any(|w| w.name.to_string() == name && *w.committed.borrow())
    }

    /// The workload of an instance; there must be exactly one.
    pub(crate) fn workload(&self, name: &str) -> Arc<Workload> {
        let inner = self.inner();
        let mut found = inner.workloads.values().filter(|w| w.name.to_string() == name);
        let one = found.next().unwrap_or_else(|| panic!("`{name}` does not run"));
        assert!(found.next().is_none(), "`{name}` runs twice");
        Arc::clone(one)
    }

    fn next_start(&self) -> Start {
        let mut inner = self.inner();
        inner.plan.pop_front().or(inner.always).unwrap_or(Start::Well)
    }

    fn build(&self, name: &InstanceName) -> Arc<Workload> {
        let mut inner = self.inner();
        inner.keys += 1;
        let key = format!("walls-{}", inner.keys);
        let workload = Workload::new(name, &key);
        inner.workloads.insert(key, Arc::clone(&workload));
        workload
    }

    async fn begin(&self, workload: &Arc<Workload>, start: Start) {
        workload.alive.send_replace(true);
        match start {
            Start::Exits(exit) => workload.end(exit),
            Start::Mute => {}
            Start::Ill => {
                workload.fall_ill(true);
                workload.listen().await;
            }
            _ => workload.listen().await,
        }
    }
}

/// The level itself.
#[derive(Debug)]
pub(crate) struct Fake(pub(crate) Arc<Host>);

impl Backend for Fake {
    fn level(&self) -> Level {
        Level::Namespace
    }

    fn probe(&self) -> Result<Capabilities, Unavailable> {
        let ids = self.0.inner().ids.unwrap_or("one id");
        Ok(Capabilities { cgroups: None, ids, program: None, notes: Vec::new() })
    }

    fn place(&self, _: &InstanceName, _: Network) -> Result<Placement, LaunchError> {
        Ok(placement())
    }

    fn launch<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Result<Box<dyn Sandbox>, LaunchError>> {
        Box::pin(async move {
            self.0.inner().launches += 1;
            self.0.inner().env = launch.env.clone();
            self.0.changed();
            let start = self.0.next_start();
            match start {
                Start::Held => self.0.held.notified().await,
                Start::NoProgram => {
                    let source = io::Error::from_raw_os_error(2);
                    return Err(LaunchError::Exec { program: "app".to_owned(), source });
                }
                Start::NoWalls => return Err(LaunchError::Agent("no luck".to_owned())),
                _ => {}
            }
            let workload = self.0.build(&launch.instance);
            self.0.begin(&workload, start).await;
            self.0.changed();
            Ok(Box::new(FakeSandbox { host: Arc::clone(&self.0), workload }) as Box<dyn Sandbox>)
        })
    }

    fn adopt<'a>(&'a self, record: &'a Record, _: u64) -> BoxFuture<'a, Result<Adopted, Gone>> {
        Box::pin(async move {
            let mut inner = self.0.inner();
            inner.adoptions += 1;
            let found = inner.workloads.get(&record.key).filter(|_| !inner.refuse_adoption);
            let workload = Arc::clone(found.ok_or_else(|| Gone::NoAnswer("no such walls".to_owned()))?);
            let listening = workload.address.borrow().is_some();
            let paused = workload.is_frozen();
            Ok(Adopted {
                sandbox: Box::new(FakeSandbox { host: Arc::clone(&self.0), workload }),
                listening,
                paused,
            })
        })
    }

    fn sweep<'a>(&'a self, known: &'a [Record]) -> BoxFuture<'a, Swept> {
        Box::pin(async move {
            let mut inner = self.0.inner();
            let before = inner.workloads.len();
            inner.workloads.retain(|key, _| known.iter().any(|record| record.key == *key));
            Swept { processes: before - inner.workloads.len(), ..Swept::default() }
        })
    }
}

#[derive(Debug)]
struct FakeSandbox {
    host: Arc<Host>,
    workload: Arc<Workload>,
}

impl Drop for FakeSandbox {
    fn drop(&mut self) {
        if !*self.workload.committed.borrow() {
            self.workload.alive.send_replace(false);
            self.host.inner().workloads.remove(&self.workload.key);
        }
    }
}

impl Sandbox for FakeSandbox {
    fn record(&self) -> Record {
        self.workload.record()
    }

    fn connector(&self) -> Arc<dyn Connect> {
        Arc::new(FakeConnect(Arc::clone(&self.workload)))
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<(), Gone>> {
        self.workload.committed.send_replace(true);
        self.host.changed();
        Box::pin(async { Ok(()) })
    }

    fn event(&mut self) -> BoxFuture<'_, Event> {
        let mut events = self.workload.events.subscribe();
        Box::pin(async move {
            events.wait_for(|events| !events.is_empty()).await.unwrap();
            let mut first = None;
            self.workload.events.send_modify(|events| first = events.pop_front());
            first.unwrap()
        })
    }

    fn logs(&mut self) -> Option<LogStream> {
        self.workload.logs.lock().unwrap().take()
    }

    fn pause(&mut self) -> BoxFuture<'_, io::Result<()>> {
        self.workload.frozen.send_replace(true);
        Box::pin(async { Ok(()) })
    }

    fn resume(&mut self) -> BoxFuture<'_, io::Result<()>> {
        self.workload.frozen.send_replace(false);
        Box::pin(async { Ok(()) })
    }

    fn usage(&self) -> Usage {
        Usage { memory_bytes: Some(4096), cpu_micros: Some(1000), ..Usage::default() }
    }

    fn relaunch<'a>(&'a mut self, _: &'a Launch) -> BoxFuture<'a, Result<(), LaunchError>> {
        Box::pin(async move {
            assert!(!self.workload.is_alive(), "relaunched a living workload");
            if self.host.inner().refuse_relaunch {
                return Err(LaunchError::Agent("the shell is gone".to_owned()));
            }
            self.host.inner().relaunches += 1;
            let start = self.host.next_start();
            let started = match start {
                Start::NoProgram | Start::NoWalls => Err(LaunchError::Agent("no luck".to_owned())),
                start => {
                    self.host.begin(&self.workload, start).await;
                    Ok(())
                }
            };
            self.host.changed();
            started
        })
    }

    fn stop(self: Box<Self>, _: Duration) -> BoxFuture<'static, Exit> {
        assert!(!self.workload.is_frozen(), "a frozen workload cannot hear that it shall end");
        self.workload.alive.send_replace(false);
        let mut inner = self.host.inner();
        inner.workloads.remove(&self.workload.key);
        inner.stops += 1;
        drop(inner);
        self.host.changed();
        Box::pin(async { Exit::Signal(15) })
    }

    fn detach(self: Box<Self>) {}
}

#[derive(Debug)]
struct FakeConnect(Arc<Workload>);

impl Connect for FakeConnect {
    fn connect(&self) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async {
            let address = *self.0.address.borrow();
            let address = address.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            TcpStream::connect(address).await.map(Stream::Tcp)
        })
    }
}
