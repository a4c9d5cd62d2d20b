//! From the death of an application to the next answer, with a request that waits, beside a loop by hand that
//! waits for the end and starts it again behind the same walls (`floor.c`).

use std::thread;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::cloud::Cloud;
use crate::floor::Floor;
use crate::goal::{Beside, Goal};
use crate::table::Table;
use crate::{Extent, http, wake};

/// More than the `restart_window` of the services, so that each restart is the first in a row.
const APART: Duration = Duration::from_millis(150);

/// Milliseconds from each kill to the first byte, for each level.
pub(crate) fn measure(cloud: &Cloud, extent: Extent) -> anyhow::Result<Vec<Table>> {
    let floor = Floor::build(cloud.dir())?;
    let mut tables = Vec::new();
    let goal = Goal::at_most(1.5, 1).beside(Beside::Times(0));
    for (level, instance, host, goal) in [
        ("namespace", "crash:a", "a.crash.localhost", goal),
        ("process", "crashbare:a", "a.crashbare.localhost", goal.known(1.74)),
    ] {
        let title = format!("crash to answer, static server, level {level}");
        let mut table = Table::new(title, "ms", &["floor: waitpid and respawn", "insula"]).goal(goal);
        http::first_byte(cloud.port, host)?;
        for _ in 0..extent.rounds {
            floor.respawn(level, extent.wakes, &wake::app)?.into_iter().for_each(|ms| table.add(0, ms));
            for _ in 0..extent.wakes {
                table.add(1, crash(cloud, instance, host)?);
            }
        }
        tables.push(table);
    }
    Ok(tables)
}

/// Kills the application and asks at once: the request must be answered, whether the end was noticed or not.
fn crash(cloud: &Cloud, instance: &str, host: &str) -> anyhow::Result<f64> {
    thread::park_timeout(APART);
    let detail = cloud.ask(&["inspect", instance])?;
    let pid = detail["processes"]["app_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.and_then(Pid::from_raw).with_context(|| format!("no pid of `{instance}`"))?;
    kill_process(pid, Signal::KILL)?;
    http::first_byte(cloud.port, host)
}
