//! What the kernel says about processes and the machine.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// CPU seconds of these processes and everything below them, without what has ended.
pub(crate) fn cpu_seconds(pids: &[u32]) -> anyhow::Result<f64> {
    cpu_of(&tree(pids)?)
}

/// CPU seconds of these processes alone: of all their threads that live (`schedstat`, in nanoseconds; the ticks
/// of `stat` are too coarse for tasks that run for microseconds).
pub(crate) fn cpu_of(pids: &[u32]) -> anyhow::Result<f64> {
    let mut total = Duration::ZERO;
    for pid in pids {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).context("a process is gone")? {
            // A thread may end between the two reads.
            let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            let ran = text.split_whitespace().next().context("an empty `schedstat`")?;
            total += Duration::from_nanos(ran.parse()?);
        }
    }
    Ok(total.as_secs_f64())
}

/// Memory of one process, in KiB (`Pss` of `/proc/PID/smaps_rollup`).
pub(crate) fn pss_kib(pid: u64) -> anyhow::Result<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("cannot read the memory")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no `Pss`")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// These processes and everything below them.
fn tree(pids: &[u32]) -> anyhow::Result<Vec<u32>> {
    let mut all = pids.to_vec();
    let mut at = 0;
    while let Some(&pid) = all.get(at) {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).context("a process is gone")? {
            let text = fs::read_to_string(thread?.path().join("children"))?;
            all.extend(text.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        at += 1;
    }
    Ok(all)
}

/// The load of the machine: 1, 5 and 15 minutes.
pub(crate) fn load() -> anyhow::Result<String> {
    let text = fs::read_to_string("/proc/loadavg").context("cannot read the load")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}
