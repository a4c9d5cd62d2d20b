//! What each running instance costs, beside the application itself, and what is kept of it when it is stopped.

use anyhow::Context;
use serde_json::Value;

use crate::cloud::Cloud;
use crate::table::Table;
use crate::{Extent, process};

/// Starts the instances one by one; tells what the daemon grew by for each, and what its agent takes.
pub(crate) fn measure(cloud: &Cloud, extent: Extent) -> anyhow::Result<Table> {
    let subjects = [
        "the application",
        "its agent",
        "the daemon: growth for each",
        "the daemon: kept of each after a stop",
    ];
    let title = format!("memory of {} running instances", extent.instances);
    let mut table = Table::new(title, "KiB PSS", &subjects);
    let before = daemon(cloud)?;
    let mut running = Vec::new();
    for n in 0..extent.instances {
        let name = format!("many:i{n}");
        cloud.ask(&["spawn", &name])?;
        running.push(name);
    }
    let grown = daemon(cloud)? - before;
    for name in &running {
        let detail = cloud.ask(&["inspect", name])?;
        let pid = |field: &str| detail["processes"][field].as_u64().context("no pid");
        table.add(0, f64::from(process::pss_kib(pid("app_pid")?)?));
        table.add(1, f64::from(process::pss_kib(pid("agent_pid")?)?));
    }
    for name in &running {
        cloud.ask(&["stop", name])?;
    }
    let count = f64::from(u32::try_from(running.len()).context("too many instances")?);
    table.add(2, grown / count);
    table.add(3, (daemon(cloud)? - before) / count);
    Ok(table)
}

/// Memory of the daemon, in KiB.
fn daemon(cloud: &Cloud) -> anyhow::Result<f64> {
    let health = cloud.ask(&["health"])?;
    let bytes = health.get("daemon_memory_bytes").and_then(Value::as_f64);
    Ok(bytes.context("insula does not tell its memory")? / 1024.0)
}
