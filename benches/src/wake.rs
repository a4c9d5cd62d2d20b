//! The first request to something that sleeps, beside the least that it could take.
//!
//! Two floors start the same program with the same arguments and environment in the same folder, and connect
//! again and again until it answers: one without any wall, every 100 us, or every 1 ms where the start takes
//! tens of milliseconds; one behind the same walls (`floor.c`). Before a wake of Insula its blank shells wait
//! again, as they do a moment after any wake.
//!
//! What is not the same: Insula's applications have a control group of their own, and with that a share of a
//! busy machine that the first floor does not have. On a machine that is not busy it makes no difference.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cloud::Cloud;
use crate::floor::Floor;
use crate::goal::{Beside, Goal};
use crate::peers::Running;
use crate::table::Table;
use crate::{Extent, http};

/// An application, as Insula knows it and as it is started by hand.
struct Kind {
    title: &'static str,
    instance: &'static str,
    host: &'static str,
    asleep: &'static str,
    level: &'static str,
    argv: fn(&Path, u16) -> Vec<String>,
    /// How often the floor without walls tries to connect.
    every: Duration,
    goals: &'static [Goal],
}

/// Places of subjects in the tables.
const FLOOR: usize = 0;
const INSULA: usize = 2;

/// What is above the floor, in milliseconds.
pub(crate) const fn above(ms: f64, floor: usize, insula: usize) -> Goal {
    Goal::at_most(ms, insula).beside(Beside::More(floor))
}

/// What an interpreter's own start leaves room for.
const SLOW: Goal = Goal::at_most(1.03, INSULA).beside(Beside::Times(FLOOR));

/// What Insula gives a service that names no `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const OFTEN: Duration = Duration::from_micros(100);
const LESS_OFTEN: Duration = Duration::from_millis(1);

const KINDS: [Kind; 5] = [
    Kind {
        title: "cold wake, static server, level namespace",
        instance: "cold:a",
        host: "a.cold.localhost",
        asleep: "asleep",
        level: "namespace",
        argv: app,
        every: OFTEN,
        goals: &[
            above(1.0, FLOOR, INSULA).known(1.2),
            above(5.0, FLOOR, INSULA).p90(),
            Goal::at_most(2.0, INSULA).known(3.9),
        ],
    },
    Kind {
        title: "cold wake, static server, level process",
        instance: "bare:a",
        host: "a.bare.localhost",
        asleep: "asleep",
        level: "process",
        argv: app,
        every: OFTEN,
        goals: &[above(1.0, FLOOR, INSULA).known(1.3), above(5.0, FLOOR, INSULA).p90()],
    },
    Kind {
        title: "frozen wake, static server (beside its cold start)",
        instance: "ice:a",
        host: "a.ice.localhost",
        asleep: "frozen",
        level: "namespace",
        argv: app,
        every: OFTEN,
        goals: &[Goal::at_most(1.0, INSULA)],
    },
    Kind {
        title: "cold wake, python3 -m http.server",
        instance: "python:a",
        host: "a.python.localhost",
        asleep: "asleep",
        level: "namespace",
        argv: python,
        every: LESS_OFTEN,
        goals: &[SLOW],
    },
    Kind {
        title: "cold wake, node http",
        instance: "node:a",
        host: "a.node.localhost",
        asleep: "asleep",
        level: "namespace",
        argv: node,
        every: LESS_OFTEN,
        goals: &[SLOW.known(1.12)],
    },
];

pub(crate) fn app(dir: &Path, _: u16) -> Vec<String> {
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
    let floor = Floor::build(cloud.dir())?;
    let mut tables = Vec::new();
    for kind in &KINDS {
        let subjects = ["floor: same walls by hand", "floor: no walls", "insula"];
        let table = Table::new(kind.title, "ms", &subjects);
        let mut table = kind.goals.iter().copied().fold(table, Table::goal);
        // The first wake of a kind only makes its shells known, and its way of sleeping one's own: what an earlier
        // daemon left asleep is not frozen.
        http::first_byte(cloud.port, kind.host)?;
        for _ in 0..extent.rounds * extent.wakes {
            cloud.until(kind.instance, kind.asleep)?;
            cloud.until_shells_wait()?;
            let woken = http::first_byte(cloud.port, kind.host)?;
            table.add(FLOOR, floor.wake(kind.level, &kind.argv)?);
            table.add(1, by_hand(cloud.dir(), kind)?);
            table.add(INSULA, woken);
        }
        tables.push(table);
    }
    Ok(tables)
}

fn by_hand(dir: &Path, kind: &Kind) -> anyhow::Result<f64> {
    let port = http::free_port()?;
    let argv = (kind.argv)(dir, port);
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).current_dir(dir).env_clear().env("PATH", PATH).env("PORT", port.to_string());
    let started = Instant::now();
    let _running = Running::start(&mut command)?;
    http::first_answer(port, "app", kind.every)?;
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}
