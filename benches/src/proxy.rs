//! The price of a hop: other proxies and Insula in front of the same application, under the load of `wrk`.

use std::process::Command;

use crate::cloud::Cloud;
use crate::goal::{Beside, Goal};
use crate::peers::{self, Peer, Running};
use crate::table::Table;
use crate::wrk::{self, Target};
use crate::{Extent, http, process};

/// Connections that clients keep open at once.
const CONNECTIONS: [u32; 2] = [16, 64];

/// Places of subjects in the tables.
const SILENT: usize = 0;
const LOGGING: usize = 1;
const CADDY: usize = 2;
const INSULA: usize = 3;
const TENEMENT: &str = "tenement";

/// One proxy: its processes, and that of the application behind it.
struct Subject {
    name: &'static str,
    target: Target,
    proxy: Vec<u32>,
    /// Whether what these processes have started is part of the proxy.
    tree: bool,
    app: u32,
}

impl Subject {
    fn peer(name: &'static str, peer: &Peer, app: u32) -> Self {
        let target = Target { port: peer.port, host: "app" };
        Self { name, target, proxy: vec![peer.pid()], tree: true, app }
    }

    fn insula(name: &'static str, cloud: &Cloud, instance: &str, host: &'static str) -> anyhow::Result<Self> {
        http::first_answer(cloud.port, host, http::SELDOM)?;
        let (target, app) = (Target { port: cloud.port, host }, cloud.app_pid(instance)?);
        Ok(Self { name, target, proxy: cloud.pids()?, tree: false, app })
    }

    /// CPU seconds of the proxy, and of the application.
    fn used(&self) -> anyhow::Result<(f64, f64)> {
        let count = if self.tree { process::cpu_seconds } else { process::cpu_of };
        Ok((count(&self.proxy)?, process::cpu_of(&[self.app])?))
    }
}

/// CPU time for each request in the proxy and in the application, and requests for each second.
pub(crate) fn measure(cloud: &Cloud, extent: Extent) -> anyhow::Result<Vec<Table>> {
    let (dir, backend) = (cloud.dir(), http::free_port()?);
    let program = dir.join("insula-bench");
    let app = Running::start(Command::new(&program).arg(crate::APP).env("PORT", backend.to_string()))?;
    http::first_answer(backend, "app", http::SELDOM)?;
    let off = peers::nginx(&dir.join("nginx-off"), backend, false)?;
    let on = peers::nginx(&dir.join("nginx-on"), backend, true)?;
    let caddy = peers::caddy(&dir.join("caddy"), backend)?;
    let tenement = peers::tenement(&dir.join("tenement"), &program)?;
    let mut subjects = vec![
        Subject::peer("nginx, no access log", &off, app.pid()),
        Subject::peer("nginx, access log", &on, app.pid()),
        Subject::peer("caddy, access log and metrics", &caddy, app.pid()),
        Subject::insula("insula", cloud, "hot:a", "a.hot.localhost")?,
        Subject::insula("insula, network namespace", cloud, "walled:a", "a.walled.localhost")?,
        Subject::insula("insula, Unix socket", cloud, "unix:a", "a.unix.localhost")?,
    ];
    if let Some(peer) = &tenement {
        let target = Target { port: peer.port, host: "a.hot.localhost" };
        let app = process::only_child(peer.pid())?;
        subjects.push(Subject { name: TENEMENT, target, proxy: vec![peer.pid()], tree: false, app });
    }
    let mut tables = Vec::new();
    for connections in CONNECTIONS {
        tables.extend(compare(&subjects, connections, extent)?);
    }
    Ok(tables)
}

fn compare(subjects: &[Subject], connections: u32, extent: Extent) -> anyhow::Result<[Table; 3]> {
    let names: Vec<_> = subjects.iter().map(|s| s.name).collect();
    let table = |what: &str, unit| Table::new(format!("{what}, {connections} connections"), unit, &names);
    // With like: the second writes an access log as Insula does, the first is the most that nginx can.
    let mut proxy = table("proxy CPU per request", "us")
        .beside(LOGGING)
        .goal(Goal::at_most(1.2, INSULA).beside(Beside::Times(LOGGING)))
        .goal(Goal::at_most(0.3, INSULA).beside(Beside::Times(CADDY)));
    if let Some(tenement) = subjects.iter().position(|s| s.name == TENEMENT) {
        proxy = proxy.goal(Goal::at_most(0.3, INSULA).beside(Beside::Times(tenement)).known(0.35));
    }
    let mut app = table("application's CPU per request", "us")
        .beside(LOGGING)
        .goal(Goal::at_most(1.05, INSULA).beside(Beside::Times(LOGGING)).known(1.26));
    let mut rate = table("requests per second", "1/s")
        .beside(SILENT)
        .goal(Goal::at_least(0.9, INSULA).beside(Beside::Times(SILENT)));
    for _ in 0..extent.rounds {
        for (at, subject) in subjects.iter().enumerate() {
            let before = subject.used()?;
            let load = wrk::load(&subject.target, connections, extent.seconds)?;
            let after = subject.used()?;
            proxy.add(at, (after.0 - before.0) * 1_000_000.0 / load.requests);
            app.add(at, (after.1 - before.1) * 1_000_000.0 / load.requests);
            rate.add(at, load.rate);
        }
    }
    Ok([proxy, app, rate])
}
