//! The life of instances, on a level without walls.
//!
//! Time stands still in these tests, unless a test moves it: nothing here depends on how fast the machine is.
#![allow(clippy::unwrap_used, reason = "a test stops where something is not as it says")]

mod crash;
mod deploy;
mod disk;
mod fake;
mod operator;
mod sleep;
mod wake;
mod worker;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use insula_isolation::Registry;
use insula_services::{Held, Lease, LeaseError, Observed, Services, Upstream};
use insula_spec::{Config, InstanceName};
use insula_store::{EventKind, EventQuery, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use fake::{Fake, Host};

/// Longest time, in real time, that one test may take; beyond it, it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The resolution of timers.
const TICK: Duration = Duration::from_millis(1);

/// A store, a host, and the services that run on them.
struct World {
    host: Arc<Host>,
    store: Store,
    config: Arc<Config>,
    services: Services,
    _dir: tempfile::TempDir,
    _clock: StoppedClock,
}

/// Holds time still: while a blocking task runs, tokio does not advance a paused clock by itself.
struct StoppedClock(std::sync::mpsc::Sender<()>);

impl StoppedClock {
    fn new() -> Self {
        tokio::time::pause();
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        tokio::task::spawn_blocking(move || {
            if receiver.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                // Not by `eprintln`, which the harness would keep to itself.
                std::io::stderr().write_all(format!("{test} hangs\n").as_bytes()).unwrap();
                std::process::abort();
            }
        });
        Self(sender)
    }
}

impl Drop for StoppedClock {
    fn drop(&mut self) {
        // The blocking task may be gone already, when its runtime is.
        self.0.send(()).unwrap_or_default();
    }
}

impl World {
    /// `service` are further lines of `[service.notes]`. Nothing is declared; `notes:alice` is known, asleep.
    async fn new(service: &str) -> Self {
        let config = format!("[service.notes]\ncommand = \"app\"\n{service}\n");
        Self::with(&config, &["notes:alice"]).await
    }

    async fn with(config: &str, known: &[&str]) -> Self {
        let clock = StoppedClock::new();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("insula.db")).await.unwrap();
        for name in known {
            let event = insula_store::Event::new(EventKind::Remembered, "the test begins");
            store.remember(&name.parse().unwrap(), event).await.unwrap();
        }
        let config = Arc::new(Config::parse(config, Path::new("/tmp/insula.toml")).unwrap());
        let host = Host::new();
        let services = start(&config, &host, &store).await;
        Self { host, store, config, services, _dir: dir, _clock: clock }
    }

    /// Another process takes over.
    async fn take_over(&mut self) {
        self.services = start(&self.config, &self.host, &self.store).await;
    }

    /// The same, while this process still has streams to these instances.
    async fn take_over_holding(&mut self, names: Vec<InstanceName>) -> Vec<Held> {
        let registry = Registry::new(vec![Arc::new(Fake(Arc::clone(&self.host)))]);
        let started =
            Services::start_holding(Arc::clone(&self.config), registry, self.store.clone(), names).await;
        let (services, held) = started.unwrap();
        self.services = services;
        held
    }

    async fn lease(&self) -> Result<Lease, LeaseError> {
        self.services.lease(&alice(), soon()).await
    }

    async fn until(&self, observed: Observed) {
        until(&self.services, &alice(), observed).await;
    }

    /// Lets time pass, and one tick of the timers more, because they round up.
    async fn pass(&self, time: Duration) {
        tokio::time::advance(time + TICK).await;
    }

    /// Lets every task run that can, so that a wrong one has its chance to do wrong.
    async fn settle(&self) {
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
    }

    async fn launched(&self, n: usize) {
        self.host.until(|host| host.launches() >= n).await;
    }

    async fn relaunched(&self, n: usize) {
        self.host.until(|host| host.relaunches() >= n).await;
    }

    /// Lets the next health check, due after `interval`, run to its end.
    async fn check(&self, interval: Duration) {
        let mut asked = self.host.workload("notes:alice").asked();
        let before = *asked.borrow_and_update();
        self.pass(interval).await;
        asked.wait_for(|n| *n > before).await.unwrap();
        // The answer goes through two sockets, which are looked at once in some sixty turns.
        for _ in 0..32 {
            self.settle().await;
        }
    }

    /// Waits until no more than these tasks are alive. There is no event for that.
    async fn tasks_at_most(&self, n: usize) {
        while tokio::runtime::Handle::current().metrics().num_alive_tasks() > n {
            tokio::task::yield_now().await;
        }
    }

    /// The causes of the events of this kind, oldest first, as soon as there are so many.
    async fn events(&self, kind: EventKind, n: usize) -> Vec<String> {
        let mut follow = self.store.follow();
        loop {
            follow.borrow_and_update();
            let query = EventQuery { instance: Some(alice()), kinds: vec![kind], ..EventQuery::default() };
            let causes: Vec<_> =
                self.store.events(query).await.unwrap().into_iter().map(|row| row.event.cause).collect();
            if causes.len() >= n {
                return causes;
            }
            follow.changed().await.unwrap();
        }
    }
}

/// Runs a test once per case, each in a runtime with a clock of its own.
fn each<C>(cases: impl IntoIterator<Item = C>, mut test: impl AsyncFnMut(C)) {
    for case in cases {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(case));
    }
}

async fn start(config: &Arc<Config>, host: &Arc<Host>, store: &Store) -> Services {
    let registry = Registry::new(vec![Arc::new(Fake(Arc::clone(host)))]);
    Services::start(Arc::clone(config), registry, store.clone()).await.unwrap()
}

fn alice() -> InstanceName {
    "notes:alice".parse().unwrap()
}

/// A deadline far enough away for everything that does not hang.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// Waits until an instance is there; hangs, and fails by the runner's limit, if it never is.
async fn until(services: &Services, name: &InstanceName, observed: Observed) {
    let mut changes = services.changes();
    loop {
        changes.borrow_and_update();
        if services.status(name).is_some_and(|status| status.observed == observed) {
            return;
        }
        changes.changed().await.unwrap();
    }
}

/// One exchange; the connection is given back.
async fn ask(lease: &Lease) -> String {
    let mut upstream = match lease.reuse() {
        Some(upstream) => upstream,
        None => lease.connect().await.unwrap(),
    };
    let answer = exchange(&mut upstream).await;
    upstream.keep();
    answer
}

async fn exchange(upstream: &mut Upstream) -> String {
    upstream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hi") {
        assert_ne!(upstream.read_buf(&mut answer).await.unwrap(), 0, "the answer ended early");
    }
    String::from_utf8(answer).unwrap()
}
