//! `insula inspect`: everything about one instance.

use std::time::Duration;

use insula_api::{Client, Detail, InForce};

use crate::cli::NameArgs;
use crate::exit::Exit;
use crate::format::{bytes, or_dash, span};
use crate::printer::Printer;

/// Width of the names of fields.
const NAMES: usize = 10;

pub(super) async fn run(client: &Client, args: NameArgs, printer: Printer) -> anyhow::Result<Exit> {
    let detail = client.inspect(&args.name).await?;
    printer.either(&detail, text)?;
    Ok(Exit::Ok)
}

fn text(d: &Detail) -> String {
    let mut lines = vec![d.summary.name.to_string()];
    let mut line = |name: &str, value: String| lines.push(format!("  {name:NAMES$}  {value}"));
    let notes = d.notes.iter().map(|note| ("note", note.clone()));
    for (name, value) in life(d).into_iter().chain(walls(d)).chain(limits(d)).chain(notes) {
        line(name, value);
    }
    lines.join("\n")
}

fn life(d: &Detail) -> Vec<(&'static str, String)> {
    let s = &d.summary.status;
    let mut fields = vec![
        ("state", format!("{} since {}, wanted {}", s.observed, s.since, s.wanted)),
        ("why", if s.why.is_empty() { "-".to_owned() } else { s.why.clone() }),
        ("url", d.summary.url.clone()),
        ("restarts", d.summary.restarts.to_string()),
        ("wakes", d.summary.wakes.to_string()),
        (
            "sleeps",
            d.idle_timeout_ms.map_or("never".to_owned(), |ms| {
                format!("after {} without requests", span(Duration::from_millis(ms)))
            }),
        ),
    ];
    if !d.command.is_empty() {
        fields.insert(3, ("command", d.command.join(" ")));
    }
    if let Some(health) = s.health {
        fields.push(("health", health.as_str().to_owned()));
    }
    if let Some(p) = &d.processes {
        fields.push(("app", format!("pid {}, started at tick {}", p.app_pid, p.app_start)));
        fields.push(("agent", format!("pid {}, started at tick {}", p.agent_pid, p.agent_start)));
    }
    fields
}

fn walls(d: &Detail) -> Vec<(&'static str, String)> {
    let network = format!("{}: {}", d.network.as_str(), d.network.outbound());
    let floor = d.floor.map_or_else(String::new, |floor| format!(", not below {floor}"));
    let level = format!("{}{floor}", or_dash(d.summary.level));
    let mut fields = vec![("level", level), ("network", network)];
    fields.extend(d.workdir.iter().map(|path| ("workdir", format!("{} (read-only)", path.display()))));
    fields.extend(d.data_dir.iter().map(|path| ("data dir", path.display().to_string())));
    for mount in &d.mounts {
        let mode = if mount.read_only { "read-only" } else { "read-write" };
        let (source, target) = (mount.source.display(), mount.target.display());
        fields.push(("mount", format!("{source} at {target} ({mode})")));
    }
    if let Some(ids) = d.ids {
        let last = ids.base.saturating_add(ids.count).saturating_sub(1);
        fields.push(("host ids", format!("{} to {last}, workload {}", ids.base, ids.workload)));
    }
    if let Some(force) = &d.in_force {
        fields.extend(in_force(force));
    }
    if let Some(p) = &d.placement {
        fields.push(("listens", format!("port {} or {}", p.port, p.socket.display())));
    }
    fields.extend(d.cgroups.iter().map(|path| ("cgroup", path.display().to_string())));
    fields
}

/// What the kernel says, read back.
fn in_force(force: &InForce) -> [(&'static str, String); 6] {
    let capabilities = if force.capabilities == "0" { "none" } else { &force.capabilities };
    let gain = if force.no_new_privs { "none can be gained" } else { "more can be gained" };
    let profile = force.profile.as_ref().map_or_else(String::new, |file| format!(", by {file}"));
    let none = || "not limited".to_owned();
    let memory = force.memory_max.map_or_else(none, bytes);
    let pids = force.pids_max.map_or_else(none, |n| n.to_string());
    let weight = force.cpu_weight.map_or_else(String::new, |weight| format!(", cpu weight {weight}"));
    let quota = force.cpu_quota.map_or_else(String::new, |quota| format!(", cpu quota {}", cpus(quota)));
    let own = match force.namespaces.as_deref() {
        None => "not known".to_owned(),
        Some([]) => "none of its own".to_owned(),
        Some(all) => format!("{} of its own", all.join(", ")),
    };
    [
        ("in force", format!("for `{}`, as the kernel says", force.program)),
        ("caps", format!("{capabilities}, {gain}")),
        ("filters", format!("{} on system calls{profile}", force.filters)),
        ("root", format!("{}, ids {}", force.root, force.id_map)),
        ("namespaces", own),
        ("group", format!("memory {memory}, pids {pids}{weight}{quota}")),
    ]
}

/// CPU time, given in thousandths of one CPU.
fn cpus(millis: u64) -> String {
    format!("{}.{:03} CPUs", millis / 1000, millis % 1000)
}

fn limits(d: &Detail) -> Vec<(&'static str, String)> {
    let none = || "not limited".to_owned();
    let usage = d.summary.usage;
    let of = |used: Option<String>, limit: Option<String>| match (used, limit) {
        (Some(used), Some(limit)) => format!("{used} of {limit}"),
        (Some(used), None) => format!("{used}, {}", none()),
        (None, limit) => limit.unwrap_or_else(none),
    };
    let quota = d.limits.cpu_quota.map(|q| cpus(q.millis().into()));
    let disk = (d.summary.disk_bytes.map(bytes), d.limits.disk.map(|limit| bytes(limit.0)));
    let bound = d.disk_bound.as_ref().map(|bound| match bound.why.as_str() {
        "" => bound.mechanism.clone(),
        why => format!("{} ({why})", bound.mechanism),
    });
    let disk = of(disk.0, disk.1);
    vec![
        ("disk", bound.map_or_else(|| disk.clone(), |bound| format!("{disk}, {bound}"))),
        ("memory", of(usage.memory_bytes.map(bytes), d.limits.memory.map(|m| bytes(m.0)))),
        ("pids", of(usage.pids.map(|n| n.to_string()), d.limits.pids.map(|n| n.to_string()))),
        ("cpu quota", quota.unwrap_or_else(none)),
        ("cpu weight", d.limits.cpu_weight.map_or_else(|| "100".to_owned(), |w| w.get().to_string())),
        ("bandwidth", d.limits.bandwidth.map_or_else(none, |rate| format!("{}/s each way", bytes(rate.0)))),
        ("open files", d.limits.open_files.map_or_else(none, |n| n.to_string())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_about_an_instance_is_one_list() {
        let detail: Detail = serde_json::from_value(serde_json::json!({
            "name": "notes:alice",
            "status": {
                "observed": "running", "wanted": "up", "since": "2026-01-01T00:00:00Z", "why": "", "health": "healthy"
            },
            "level": "namespace", "floor": "namespace", "app_pid": 12, "restarts": 0, "wakes": 2,
            "usage": { "memory_bytes": 10_485_760, "cpu_micros": null, "pids": 3 },
            "url": "http://alice.notes.localhost/",
            "command": ["python3", "app.py"],
            "network": "isolated",
            "limits": {
                "memory": 268_435_456, "cpu_weight": 10_000, "cpu_quota": 1500, "pids": null, "open_files": null,
                "disk": 67_108_864
            },
            "disk_bytes": 1_048_576, "disk_bound": { "mechanism": "soft", "why": "mounting needs root" },
            "workdir": "/srv/notes", "data_dir": "/srv/data/notes/alice",
            "mounts": [{ "source": "/srv/fonts", "target": "/fonts", "read_only": true }],
            "ids": { "base": 268_435_456, "count": 65_536, "workload": 268_436_456 },
            "placement": { "port": 8080, "socket": "/run/insula/app.sock" },
            "processes": { "agent_pid": 11, "agent_start": 5, "app_pid": 12, "app_start": 6, "key": "k" },
            "in_force": {
                "program": "python3", "capabilities": "0", "no_new_privs": true, "filters": 2,
                "id_map": "0 268435456 65536", "root": "overlay rw", "memory_max": 268_435_456, "pids_max": null,
                "cpu_weight": 10_000, "cpu_quota": 1500, "namespaces": ["mnt", "pid"]
            },
            "notes": ["`service.notes.cpu_weight`: 20000 is not between 1 and 10000; 10000 is used"],
            "cgroups": [],
            "idle_timeout_ms": 60_000
        }))
        .unwrap();
        insta::assert_snapshot!(text(&detail), @r#"
        notes:alice
          state       running since 2026-01-01T00:00:00.000000Z, wanted up
          why         -
          url         http://alice.notes.localhost/
          command     python3 app.py
          restarts    0
          wakes       2
          sleeps      after 1m without requests
          health      healthy
          app         pid 12, started at tick 6
          agent       pid 11, started at tick 5
          level       namespace, not below namespace
          network     isolated: outbound connections as `net` says (`network = "host"` gives it the host's)
          workdir     /srv/notes (read-only)
          data dir    /srv/data/notes/alice
          mount       /srv/fonts at /fonts (read-only)
          host ids    268435456 to 268500991, workload 268436456
          in force    for `python3`, as the kernel says
          caps        none, none can be gained
          filters     2 on system calls
          root        overlay rw, ids 0 268435456 65536
          namespaces  mnt, pid of its own
          group       memory 256.0 MiB, pids not limited, cpu weight 10000, cpu quota 1.500 CPUs
          listens     port 8080 or /run/insula/app.sock
          disk        1.0 MiB of 64.0 MiB, soft (mounting needs root)
          memory      10.0 MiB of 256.0 MiB
          pids        3, not limited
          cpu quota   1.500 CPUs
          cpu weight  10000
          bandwidth   not limited
          open files  not limited
          note        `service.notes.cpu_weight`: 20000 is not between 1 and 10000; 10000 is used
        "#);
    }
}
