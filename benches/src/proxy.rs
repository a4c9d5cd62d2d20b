//! The price of a hop: nginx and Insula in front of the same application, under the load of `wrk`.

use std::process::Command;

use anyhow::Context;

use crate::cloud::Cloud;
use crate::peers::{self, Running};
use crate::table::Table;
use crate::{Extent, http, process};

/// Connections that clients keep open at once.
const CONNECTIONS: [u32; 2] = [16, 64];

/// One proxy: where it listens, under which name, and its processes.
struct Subject {
    name: &'static str,
    port: u16,
    host: &'static str,
    pids: Vec<u32>,
}

/// CPU time for each request, and requests for each second.
pub(crate) fn measure(cloud: &Cloud, extent: Extent) -> anyhow::Result<Vec<Table>> {
    let backend = http::free_port()?;
    let app = cloud.dir().join("insula-bench");
    let _app = Running::start(Command::new(app).arg(crate::APP).env("PORT", backend.to_string()))?;
    http::first_answer(backend, "app", http::SELDOM)?;
    let (off, off_port) = peers::nginx(&cloud.dir().join("nginx-off"), backend, false)?;
    let (on, on_port) = peers::nginx(&cloud.dir().join("nginx-on"), backend, true)?;
    http::first_answer(cloud.port, "a.hot.localhost", http::SELDOM)?;
    let subjects = [
        Subject { name: "nginx, no access log", port: off_port, host: "app", pids: vec![off.pid()] },
        Subject { name: "nginx, access log", port: on_port, host: "app", pids: vec![on.pid()] },
        Subject { name: "insula", port: cloud.port, host: "a.hot.localhost", pids: Vec::new() },
    ];
    let mut tables = Vec::new();
    for connections in CONNECTIONS {
        let names: Vec<_> = subjects.iter().map(|s| s.name).collect();
        let mut cpu = Table::new(format!("proxy CPU per request, {connections} connections"), "us", &names);
        let mut rate = Table::new(format!("requests per second, {connections} connections"), "1/s", &names);
        for _ in 0..extent.rounds {
            for (at, subject) in subjects.iter().enumerate() {
                let pids = if subject.pids.is_empty() { cloud.pids()? } else { subject.pids.clone() };
                let own = subject.pids.is_empty();
                let used = || if own { process::cpu_of(&pids) } else { process::cpu_seconds(&pids) };
                let before = used()?;
                let load = load(subject, connections, extent.seconds)?;
                cpu.add(at, (used()? - before) * 1_000_000.0 / load.requests);
                rate.add(at, load.rate);
            }
        }
        tables.extend([cpu, rate]);
    }
    Ok(tables)
}

/// What `wrk` did.
struct Load {
    requests: f64,
    rate: f64,
}

fn load(subject: &Subject, connections: u32, seconds: u32) -> anyhow::Result<Load> {
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s")])
        .args(["-H", &format!("Host: {}", subject.host), &format!("http://127.0.0.1:{}/", subject.port)])
        .output()
        .context("cannot run `wrk`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // Errors have lines of their own, which are there only when there were any.
    let clean = output.status.success() && !text.contains("Socket errors") && !text.contains("Non-2xx");
    anyhow::ensure!(clean, "{}: requests failed:\n{text}", subject.name);
    let number =
        |line: Option<&str>, word: usize| -> Option<f64> { line?.split_whitespace().nth(word)?.parse().ok() };
    let requests = number(text.lines().find(|line| line.contains(" requests in ")), 0);
    let rate = number(text.lines().find(|line| line.starts_with("Requests/sec:")), 1);
    Ok(Load { requests: requests.context("no count")?, rate: rate.context("no rate")? })
}
