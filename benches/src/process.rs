//! What the kernel says about processes and the machine.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::Context;

/// CPU seconds of these processes and everything below them, without what has ended.
pub(crate) fn cpu_seconds(pids: &[u32]) -> anyhow::Result<f64> {
    cpu_of(&tree(pids)?)
}

/// CPU seconds of these processes alone: of all their threads that live (`schedstat`, in nanoseconds; the ticks
/// of `stat` are too coarse for tasks that run for microseconds).
pub(crate) fn cpu_of(pids: &[u32]) -> anyhow::Result<f64> {
    Ok(threads(pids)?.into_iter().map(|(_, ran)| ran).sum::<Duration>().as_secs_f64())
}

/// The threads of these processes and how long each has run.
fn threads(pids: &[u32]) -> anyhow::Result<Vec<(PathBuf, Duration)>> {
    let mut all = Vec::new();
    for pid in pids {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).context("a process is gone")? {
            let path = thread?.path();
            // A thread may end between the two reads.
            let Ok(text) = fs::read_to_string(path.join("schedstat")) else { continue };
            let ran = text.split_whitespace().next().context("an empty `schedstat`")?;
            all.push((path, Duration::from_nanos(ran.parse()?)));
        }
    }
    Ok(all)
}

/// Microseconds of processor time that these processes alone take each second, watched for this long. What a
/// thread did that ended meanwhile does not count: those that end have been idle for seconds.
pub(crate) fn cpu_over(pids: &[u32], seconds: u32) -> anyhow::Result<f64> {
    let before: HashMap<_, _> = threads(pids)?.into_iter().collect();
    // Nothing is waited for: this is the time in which nothing should happen.
    thread::park_timeout(Duration::from_secs(seconds.into()));
    let ran = |(thread, ran): (PathBuf, Duration)| {
        ran.saturating_sub(before.get(&thread).copied().unwrap_or_default())
    };
    let total: Duration = threads(pids)?.into_iter().map(ran).sum();
    Ok(total.as_secs_f64() * 1e6 / f64::from(seconds))
}

/// Memory of these processes alone, in KiB (`Pss` of `/proc/PID/smaps_rollup`).
pub(crate) fn pss_of(pids: &[u32]) -> anyhow::Result<f64> {
    let of = |pid: &u32| {
        let path = format!("/proc/{pid}/smaps_rollup");
        kib(&fs::read_to_string(path).context("cannot read the memory")?, "Pss:")
    };
    pids.iter().map(of).sum()
}

/// Memory that the kernel itself holds, of the whole machine, in KiB (`/proc/meminfo`).
pub(crate) fn kernel_kib() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/meminfo").context("cannot read `/proc/meminfo`")?;
    ["Slab:", "KernelStack:", "PageTables:", "Percpu:"].into_iter().map(|name| kib(&text, name)).sum()
}

fn kib(text: &str, name: &str) -> anyhow::Result<f64> {
    let line =
        text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no `{name}`"))?;
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

/// What a process has started, where that is one process.
pub(crate) fn only_child(pid: u32) -> anyhow::Result<u32> {
    let all = tree(&[pid])?;
    anyhow::ensure!(all.len() == 2, "{} processes instead of one and its child", all.len());
    Ok(all[1])
}

/// The load of the machine: 1, 5 and 15 minutes.
pub(crate) fn load() -> anyhow::Result<String> {
    let text = fs::read_to_string("/proc/loadavg").context("cannot read the load")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}
