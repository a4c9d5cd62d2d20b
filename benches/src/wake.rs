//! The first request to something that sleeps, beside the least that it could take.
//!
//! A floor starts the same program with the same arguments and environment in the same folder, and connects
//! again and again until it answers: every 100 us, or every 1 ms where the start takes tens of milliseconds.
//! The second floor does so behind namespaces like those of Insula, but for the network, through `unshare`,
//! which is one more program to execute.
//!
//! What is not the same: Insula's applications have a control group of their own, and with that a share of a
//! busy machine that the floors do not have. On a machine that is not busy it makes no difference.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cloud::Cloud;
use crate::peers::Running;
use crate::table::Table;
use crate::{Extent, http};

/// An application, as Insula knows it and as it is started by hand.
struct Kind {
    title: &'static str,
    instance: &'static str,
    host: &'static str,
    asleep: &'static str,
    argv: fn(&Path, u16) -> Vec<String>,
    /// How often the floor tries to connect.
    every: Duration,
}

/// What Insula gives a service that names no `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const OFTEN: Duration = Duration::from_micros(100);
const LESS_OFTEN: Duration = Duration::from_millis(1);

const KINDS: [Kind; 4] = [
    Kind {
        title: "cold wake, static server",
        instance: "cold:a",
        host: "a.cold.localhost",
        asleep: "asleep",
        argv: app,
        every: OFTEN,
    },
    Kind {
        title: "frozen wake, static server (beside its cold start)",
        instance: "ice:a",
        host: "a.ice.localhost",
        asleep: "frozen",
        argv: app,
        every: OFTEN,
    },
    Kind {
        title: "cold wake, python3 -m http.server",
        instance: "python:a",
        host: "a.python.localhost",
        asleep: "asleep",
        argv: python,
        every: LESS_OFTEN,
    },
    Kind {
        title: "cold wake, node http",
        instance: "node:a",
        host: "a.node.localhost",
        asleep: "asleep",
        argv: node,
        every: LESS_OFTEN,
    },
];

fn app(dir: &Path, _: u16) -> Vec<String> {
    vec![dir.join("insula-bench").display().to_string(), crate::APP.to_owned()]
}

fn python(_: &Path, port: u16) -> Vec<String> {
    ["python3", "-m", "http.server", "--bind", "127.0.0.1"]
        .map(str::to_owned)
        .into_iter()
        .chain([port.to_string()])
        .collect()
}

fn node(dir: &Path, _: u16) -> Vec<String> {
    vec!["node".to_owned(), dir.join("server.js").display().to_string()]
}

/// Milliseconds to the first byte, for each kind of application.
pub(crate) fn measure(cloud: &Cloud, extent: Extent) -> anyhow::Result<Vec<Table>> {
    let mut tables = Vec::new();
    for kind in &KINDS {
        let mut table =
            Table::new(kind.title, "ms", &["floor: spawn + connect", "floor in namespaces", "insula"]);
        for _ in 0..extent.rounds * extent.wakes {
            table.add(0, floor(cloud.dir(), kind, &[])?);
            table.add(1, floor(cloud.dir(), kind, &UNSHARE)?);
            cloud.until(kind.instance, kind.asleep)?;
            table.add(2, http::first_byte(cloud.port, kind.host)?);
        }
        tables.push(table);
    }
    Ok(tables)
}

const UNSHARE: [&str; 8] =
    ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount", "--ipc", "--uts"];

fn floor(dir: &Path, kind: &Kind, before: &[&str]) -> anyhow::Result<f64> {
    let port = http::free_port()?;
    let argv: Vec<_> = before.iter().map(|word| (*word).to_owned()).chain((kind.argv)(dir, port)).collect();
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).current_dir(dir).env_clear().env("PATH", PATH).env("PORT", port.to_string());
    let started = Instant::now();
    let _running = Running::start(&mut command)?;
    http::first_answer(port, "app", kind.every)?;
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}
