//! What an instance costs beside the application itself, as slopes: between two numbers of instances, so that
//! what is there once does not count.

use std::path::Path;

use anyhow::Context;
use insula_spec::InstanceName;
use insula_store::{Change, Event, EventKind, Store, Wanted};

use crate::cloud::Cloud;
use crate::goal::{Beside, Goal};
use crate::table::Table;
use crate::{Extent, process};

/// Seconds over which idleness is watched.
const WATCHED: u32 = 10;
/// The most that an idle daemon may take, in KiB.
const IDLE: f64 = 12.0 * 1024.0;
/// A configuration with no instance.
const UNTOUCHED: &str = r#"
[settings]
data_dir = "./data"
port = 0

[service.many]
command = "./insula-bench app"
isolation = "namespace"
"#;

/// Memory and processor time of the daemon: idle, with sleeping instances, with running ones.
pub(crate) fn measure(insula: &Path, cloud: &mut Cloud, extent: Extent) -> anyhow::Result<Vec<Table>> {
    let subjects = ["nothing ran yet", "eleven instances were started", "for each sleeping instance"];
    let mut sleeping = Table::new("memory of the idle daemon", "KiB PSS", &subjects)
        .goal(Goal::at_most(IDLE, 0))
        .goal(Goal::at_most(IDLE, 1).known(15_872.0))
        .goal(Goal::at_most(6.0, 2));
    sleeping.add(0, untouched(insula)?);
    sleeping.add(1, process::pss_of(&cloud.pids()?)?);
    sleeping.add(2, asleep(cloud, extent)?);
    let (running, quiet) = running(cloud, extent)?;
    Ok(vec![sleeping, running, quiet])
}

/// A daemon with a service that nobody has asked for yet.
fn untouched(insula: &Path) -> anyhow::Result<f64> {
    let cloud = Cloud::with(insula, UNTOUCHED, &[])?;
    cloud.until_shells_wait()?;
    let memory = process::pss_of(&cloud.pids()?)?;
    cloud.stop()?;
    Ok(memory)
}

/// Growth for each instance that sleeps: known to a daemon that was started with so many, and more.
fn asleep(cloud: &mut Cloud, extent: Extent) -> anyhow::Result<f64> {
    let (few, many) = (extent.sleeping / 10, extent.sleeping);
    let mut seen = Vec::new();
    for (from, to) in [(0, few), (few, many)] {
        cloud.restart(|home| remember(&home.join("state.db"), from, to))?;
        seen.push(process::pss_of(&cloud.pids()?)?);
    }
    Ok((seen[1] - seen[0]) / count(many - few)?)
}

/// Writes instances into the store that sleep, as if they had run once.
fn remember(path: &Path, from: usize, to: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(path).await?;
        for n in from..to {
            let name: InstanceName = format!("many:s{n}").parse()?;
            store.remember(&name, Event::new(EventKind::Remembered, "measured")).await?;
            let change = Change::none().wanted(Wanted::Asleep);
            store.transition(&name, change, Event::new(EventKind::Slept, "measured")).await?;
        }
        Ok(store.close().await?)
    })
}

/// Growth for each running instance, and what their idleness costs.
fn running(cloud: &Cloud, extent: Extent) -> anyhow::Result<(Table, Table)> {
    let (few, many) = (extent.instances / 2, extent.instances);
    let subjects =
        ["the application", "its agent", "the daemon: growth for each", "the kernel: growth for each"];
    let title = format!("memory of running instances, {few} to {many}");
    let mut table = Table::new(title, "KiB", &subjects)
        .goal(Goal::at_most(512.0, 2).beside(Beside::With(1)))
        .goal(Goal::at_most(410.0, 3).known(830.0));
    let mut agents = Vec::new();
    let mut seen = Vec::new();
    for n in 0..many {
        if n == few {
            seen.push((process::pss_of(&cloud.pids()?)?, process::kernel_kib()?));
        }
        let name = format!("many:i{n}");
        cloud.ask(&["spawn", &name])?;
        let detail = cloud.ask(&["inspect", &name])?;
        let pid = |field: &str| {
            let pid = detail["processes"][field].as_u64().and_then(|pid| u32::try_from(pid).ok());
            pid.with_context(|| format!("no `{field}` of `{name}`"))
        };
        agents.push(pid("agent_pid")?);
        table.add(0, process::pss_of(&[pid("app_pid")?])?);
    }
    let (daemon, kernel) = (process::pss_of(&cloud.pids()?)?, process::kernel_kib()?);
    let each = count(many - few)?;
    table.add(1, process::pss_of(&agents)? / count(many)?);
    table.add(2, (daemon - seen[0].0) / each);
    table.add(3, (kernel - seen[0].1) / each);
    let quiet = idleness(cloud, many, &agents)?;
    for n in 0..many {
        cloud.ask(&["stop", &format!("many:i{n}")])?;
    }
    Ok((table, quiet))
}

/// Processor time of the daemon and the agents while nobody asks for anything, and what a health check adds.
fn idleness(cloud: &Cloud, many: usize, agents: &[u32]) -> anyhow::Result<Table> {
    let title = format!("idle with {many} running instances");
    let mut table = Table::new(title, "us of processor time", &["each second", "each active health check"])
        .goal(Goal::at_most(200.0, 0))
        .goal(Goal::at_most(50.0, 1).known(130.0));
    cloud.until_shells_wait()?;
    let all: Vec<u32> = cloud.pids()?.into_iter().chain(agents.iter().copied()).collect();
    let idle = process::cpu_over(&all, WATCHED)?;
    table.add(0, idle);
    let (checked, rate) = (20_usize, 10.0);
    for n in 0..checked {
        cloud.ask(&["spawn", &format!("checked:i{n}")])?;
    }
    // What a start leaves to be done is not a check.
    cloud.until_shells_wait()?;
    let busy = process::cpu_over(&all, WATCHED)?;
    table.add(1, (busy - idle) / (count(checked)? * rate));
    for n in 0..checked {
        cloud.ask(&["stop", &format!("checked:i{n}")])?;
    }
    Ok(table)
}

fn count(n: usize) -> anyhow::Result<f64> {
    Ok(f64::from(u32::try_from(n).context("too many instances")?))
}
