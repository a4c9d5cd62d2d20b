//! The rooms of the worker, put together.

use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::Context;
use insula_edge::control::{Admission, Control, Gauge, Keys, Limits, Live, Place};
use insula_edge::observe::Observe;
use insula_edge::public::{Door, Hands, Observer, Proxy, RequestIds, Routes, Settings, TrustedProxies};
use insula_egress::Egress;
use insula_isolation::{Engine, EngineConfig};
use insula_services::Services;
use insula_spec::{Config, LevelChoice};
use insula_store::{Event, EventKind, Store};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::apex;
use super::footprint::Processes;
use super::gear::Gear;
use super::heirs::Waiting;
use super::settings::{engine_config, place, store_options, watched};
use super::tenancy::Tenancy;
use crate::alerts::{Alerts, Origin};
use crate::egress;
use crate::home::Home;
use crate::lifeline::{LevelLine, Report};
use crate::siblings;

type Serving = JoinSet<anyhow::Result<()>>;

/// Everything that lives in the worker.
#[derive(Debug)]
pub(super) struct Rooms {
    pub(super) home: Home,
    pub(super) store: Store,
    pub(super) engine: Arc<Engine>,
    services: Services,
    pub(super) tenancy: Arc<Tenancy>,
    epoch: u64,
    /// Lets idle connections keep their time when the public side ends.
    pub(super) retiring: CancellationToken,
    /// Ends the public side.
    pub(super) drain: CancellationToken,
    pub(super) public: Serving,
    /// Ends the control API.
    pub(super) quiet: CancellationToken,
    pub(super) control: Serving,
    /// Ends hearing of earlier workers.
    pub(super) stop_heirs: CancellationToken,
    pub(super) heirs: Option<JoinHandle<()>>,
    pub(super) lock: Option<ManuallyDrop<OwnedFd>>,
    /// Restarts that a new configuration asks for.
    chores: JoinSet<()>,
    /// Sees every exchange of the public side.
    pub(super) observe: Arc<Observe>,
    recorder: JoinHandle<()>,
    /// Tells receivers what goes wrong.
    alerts: Alerts,
    /// To the process that judges what leaves the walls.
    egress: Egress,
}

impl Rooms {
    /// Opens one after the other, each with what it needs of those before it.
    pub(super) async fn open(gear: Gear) -> anyhow::Result<Self> {
        let Gear { home, config, insecure_api, agent, lock, heirs, control, http, tcp } = gear;
        let admission = apex::admission(insecure_api, &http)?;
        let config = Arc::new(config);
        let store = Store::open_with(&home.database(), store_options(&config)).await?;
        let epoch = store.next_epoch().await?;
        // What can fail for reasons of the configuration comes before anything is made on the host.
        let ids = Arc::new(RequestIds::new(store.request_key().await?, epoch));
        let (observe, recorder) = Observe::start(watched(&home, &config, ids)?)?;
        observe.register(config.services.keys());
        let (egress, heard) = egress::open(&home, epoch);
        let engine = engine_config(&home, &config, agent, epoch)?;
        let engine = Arc::new(Engine::new(EngineConfig { egress: Some(egress.clone()), ..engine })?);
        let place = place(&config, epoch);
        let elders = match heirs {
            Some(listener) => Some(Waiting::meet(listener).await.context("cannot hear earlier workers")?),
            None => None,
        };
        let names = elders.as_ref().map(Waiting::names).unwrap_or_default();
        let start = Services::start_holding(Arc::clone(&config), engine.registry(), store.clone(), names);
        let (services, held) = start.await?;
        store.note(None, Event::new(EventKind::WorkerStarted, format!("worker {epoch}"))).await?;
        engine.warm();
        for service in config.services.values() {
            if let LevelChoice::Fixed(level) = service.isolation {
                engine.expect(level, service.network);
            }
        }
        let recorder = tokio::spawn(recorder.run(store.clone()));
        tokio::spawn(egress::record(store.clone(), heard.denials));
        tokio::spawn(siblings::serve(services.clone(), heard.visits));
        let alerts = Alerts::start(&config.alerts, &store, &Origin::of(&home)?);
        let mut rooms = Self {
            tenancy: Arc::new(Tenancy::new(services.clone())),
            home,
            store,
            engine,
            services,
            epoch,
            retiring: CancellationToken::new(),
            drain: CancellationToken::new(),
            public: JoinSet::new(),
            quiet: CancellationToken::new(),
            control: JoinSet::new(),
            stop_heirs: CancellationToken::new(),
            heirs: None,
            lock,
            chores: JoinSet::new(),
            observe,
            recorder,
            alerts,
            egress,
        };
        let api = rooms.control_api(Arc::clone(&config), place, admission);
        let inside = api.inside(rooms.drain.clone());
        if let Some(elders) = elders {
            let stop = rooms.stop_heirs.clone();
            rooms.heirs = Some(elders.serve((rooms.services(), inside.clone()), held, stop));
        }
        rooms.serve_public(&config, apex::door(inside, &rooms.tenancy)?, http, tcp)?;
        if let Some(control) = control {
            rooms.serve_control(api, control);
        }
        Ok(rooms)
    }

    fn serve_public(
        &mut self,
        config: &Config,
        door: Door,
        http: Vec<std::net::TcpListener>,
        tcp: Vec<(insula_spec::InstanceName, std::net::TcpListener)>,
    ) -> anyhow::Result<()> {
        let trusted = TrustedProxies::parse(&config.settings.trusted_proxies)?;
        let (routes, ids) = (Routes::of(config), self.observe.ids());
        let domain = &*config.settings.domain;
        let settings = Settings {
            trusted,
            routes,
            ids,
            retiring: self.retiring.clone(),
            control: Some(door),
            hands: Hands::start()?,
            ..Settings::new(domain)
        };
        let observer: Arc<dyn Observer> = self.observe.clone();
        let proxy = Proxy::new(Arc::clone(&self.tenancy), settings, observer);
        for listener in http {
            let (proxy, drain) = (proxy.clone(), self.drain.clone());
            self.public.spawn(async move { Ok(proxy.serve(listener, drain).await?) });
        }
        for (name, listener) in tcp {
            let (proxy, drain) = (proxy.clone(), self.drain.clone());
            self.public.spawn(async move { Ok(proxy.serve_tcp(listener, name, drain).await?) });
        }
        Ok(())
    }

    fn control_api(&self, config: Arc<Config>, place: Place, admission: Admission) -> Control<Live> {
        let gauge: Arc<dyn Gauge> = Arc::new(Processes { engine: Arc::clone(&self.engine) });
        let watch = (gauge, Arc::clone(&self.observe));
        let live = Live::new(self.services.clone(), self.store.clone(), config, place, watch);
        Control::new(live, Keys::new(self.store.clone(), admission))
    }

    fn serve_control(&mut self, api: Control<Live>, listener: std::os::unix::net::UnixListener) {
        let limits = Limits::of_owner(rustix::process::geteuid().as_raw());
        let quiet = self.quiet.clone();
        self.control.spawn(async move {
            api.serve(listener, limits, quiet).await.context("cannot serve the control socket")
        });
    }

    /// What the parent is told.
    pub(super) fn report(&self) -> Report {
        let level = |backend: &Arc<dyn insula_isolation::Backend>| LevelLine {
            level: backend.level().to_string(),
            unavailable: backend.glance().err().map(|e| e.why),
        };
        let list = self.services.list();
        Report {
            epoch: self.epoch,
            levels: self.engine.registry().all().map(level).collect(),
            instances: list.len(),
            adopted: list.iter().filter(|o| o.record.is_some()).count(),
        }
    }

    /// Starts anew what runs as another configuration said, each in its own time.
    pub(super) fn restart_outdated(&mut self) {
        let outdated = self.services.list().into_iter().filter(|o| o.outdated);
        for name in outdated.map(|o| o.name) {
            let services = self.services.clone();
            self.chores.spawn(async move {
                if let Err(error) = services.restart(&name).await {
                    tracing::warn!(instance = %name, %error, "it was not restarted for its new configuration");
                }
            });
        }
    }

    pub(super) fn services(&self) -> Services {
        self.services.clone()
    }

    /// Comes back when a listener broke, which nothing but a new worker repairs.
    pub(super) async fn broken(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            Some(ended) = self.public.join_next() => ended,
            Some(ended) = self.control.join_next() => ended,
            else => std::future::pending().await,
        };
        match ended {
            Ok(Err(error)) => error,
            Ok(Ok(())) => anyhow::anyhow!("a listener ended that nobody asked to end"),
            Err(panic) => panic.into(),
        }
    }

    /// Takes no more connections from the public.
    pub(super) fn stop_accepting(&self) {
        self.drain.cancel();
    }

    /// Waits until every public connection has ended.
    pub(super) async fn drained(&mut self) {
        while self.public.join_next().await.is_some() {}
    }

    /// Leaves everything running for the next worker.
    pub(super) async fn detach(mut self) -> anyhow::Result<()> {
        tracing::info!("the parent is gone; instances carry on");
        self.public.abort_all();
        self.quiet.cancel();
        self.services.detach().await;
        self.control.abort_all();
        self.engine.close().await;
        self.stop_observing().await;
        Ok(self.store.close().await?)
    }

    /// Writes the last records; the store may be closed afterwards.
    pub(super) async fn end_records(&mut self) {
        self.alerts.end().await;
        self.observe.end_records();
        if let Err(error) = (&mut self.recorder).await {
            tracing::warn!(%error, "the last notable requests may not be recorded");
        }
    }

    /// Writes the last access lines and records.
    async fn stop_observing(&mut self) {
        self.end_records().await;
        let observe = Arc::clone(&self.observe);
        if let Err(error) = tokio::task::spawn_blocking(move || observe.close()).await {
            tracing::warn!(%error, "the last access lines may be missing");
        }
    }

    /// The end, after everything was stopped.
    pub(super) async fn close(mut self) -> anyhow::Result<()> {
        self.public.abort_all();
        self.quiet.cancel();
        while self.control.join_next().await.is_some() {}
        self.engine.close().await;
        self.egress.end().await;
        self.stop_observing().await;
        self.store.note(None, Event::new(EventKind::WorkerStopped, "asked to stop")).await?;
        Ok(self.store.close().await?)
    }
}
