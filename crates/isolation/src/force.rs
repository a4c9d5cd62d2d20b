//! What the kernel says is in force for a running workload: read back, not remembered.

use std::fs;
use std::io;
use std::path::Path;

use insula_linux::identity::Identity;

use crate::contract::Record;

mod cpu;

/// What is in force for the main process of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Name of the program that the kernel runs: at level `gvisor` that is runsc, behind whose own filters the
    /// workload is.
    pub program: String,
    /// Capabilities that it has or could gain, as a mask: effective, permitted and bounding set together.
    pub capabilities: u64,
    /// Whether no program that it executes can gain rights.
    pub no_new_privs: bool,
    /// System call filters: none, or how many are installed.
    pub filters: u32,
    /// The operator's filter, file and digest; `None` where it is Insula's own list, or none at all.
    pub profile: Option<String>,
    /// Ids inside and on the host: `inside host count`.
    pub id_map: String,
    /// File system of its root, and whether it can be written: `overlay rw`.
    pub root: String,
    /// Most memory, in bytes, by its control group.
    pub memory_max: Option<u64>,
    /// Most processes and threads, by its control group.
    pub pids_max: Option<u64>,
    /// Share of CPU time under contention, by its control group: 100 is that of a group without a limit.
    pub cpu_weight: Option<u64>,
    /// Most CPU time, in thousandths of one CPU, by its control group.
    pub cpu_quota: Option<u64>,
    /// Namespaces that are not those of this process, by the names of namespaces(7); `None` where they may not be
    /// read.
    pub namespaces: Option<Vec<String>>,
}

/// Kinds of namespaces, as `/proc/PID/ns` names them.
const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// Reads what is in force. `None` when the workload has ended.
///
/// # Errors
/// When `/proc` cannot be read, or does not say what it should.
pub fn in_force(record: &Record) -> io::Result<Option<InForce>> {
    let app = Identity { pid: record.app_pid, start: record.app_start };
    if !app.lives()? {
        return Ok(None);
    }
    let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", record.app_pid));
    let (status, map, mounts) = (read("status")?, read("uid_map")?, read("mountinfo")?);
    let namespaces = match namespaces(record.app_pid) {
        // Who owns another's processes may not look at all of them.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => None,
        found => Some(found?),
    };
    // The pid may have passed to another process while it was read.
    if !app.lives()? {
        return Ok(None);
    }
    let found = parse(&status, &map, &mounts).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some(InForce {
        memory_max: limit(record, &["memory.max", "memory.limit_in_bytes"]),
        pids_max: limit(record, &["pids.max"]),
        cpu_weight: of_group(record, &["cpu.weight", "cpu.shares"], cpu::weight),
        cpu_quota: of_group(record, &["cpu.max", "cpu.cfs_quota_us"], cpu::quota),
        namespaces,
        profile: record.filter.clone(),
        ..found
    }))
}

fn parse(status: &str, map: &str, mounts: &str) -> Option<InForce> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    };
    let mask = |name: &str| field(name).and_then(|text| u64::from_str_radix(text, 16).ok());
    let filters = match field("Seccomp")? {
        "2" => field("Seccomp_filters").and_then(|n| n.parse().ok()).unwrap_or(1),
        _ => 0,
    };
    Some(InForce {
        program: field("Name")?.to_owned(),
        capabilities: mask("CapEff")? | mask("CapPrm")? | mask("CapBnd")?,
        no_new_privs: field("NoNewPrivs")? == "1",
        filters,
        profile: None,
        id_map: map
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
            .join(", "),
        root: root_of(mounts).unwrap_or_default(),
        memory_max: None,
        pids_max: None,
        cpu_weight: None,
        cpu_quota: None,
        namespaces: None,
    })
}

/// Which of its namespaces are others than those of this process.
fn namespaces(pid: i32) -> io::Result<Vec<String>> {
    let mut own = Vec::new();
    for kind in NAMESPACES {
        let of = |process: &str| match fs::read_link(format!("/proc/{process}/ns/{kind}")) {
            // A kernel without this kind.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        };
        if of(&pid.to_string())? != of("self")? {
            own.push(kind.to_owned());
        }
    }
    Ok(own)
}

/// The mount at `/` in `/proc/PID/mountinfo` (proc(5)): the last one there covers those before it.
fn root_of(mounts: &str) -> Option<String> {
    let at_root = |line: &&str| line.split(' ').nth(4) == Some("/");
    let line = mounts.lines().rfind(at_root)?;
    let (mount, system) = line.split_once(" - ")?;
    let writable = mount.split(' ').nth(5)?.split(',').next()?;
    Some(format!("{} {writable}", system.split(' ').next()?))
}

/// What the control group of the workload has in the first of these files.
fn limit(record: &Record, files: &[&str]) -> Option<u64> {
    // Version 1 says "no limit" by a number near the end of its range.
    const NONE: u64 = 1 << 60;
    of_group(record, files, |_, text| text.trim().parse().ok().filter(|limit| *limit < NONE))
}

/// What the control group of the workload says in the first of these files that is there; `understand` is told which.
fn of_group(record: &Record, files: &[&str], understand: fn(&Path, &str) -> Option<u64>) -> Option<u64> {
    let apps = record.cgroups.iter().filter(|dir| of_app(dir));
    let mut paths = apps.flat_map(|dir| files.iter().map(|file| dir.join(file)));
    paths
        .find_map(|path| Some((fs::read_to_string(&path).ok()?, path)))
        .and_then(|(text, path)| understand(&path, &text))
}

/// The leaf of the workload, not that of the agent.
fn of_app(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name.to_string_lossy().ends_with("app"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tpython3\nCapInh:\t0\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000001\n\
                          CapBnd:\t0000000000000004\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";
    const MOUNTS: &str = "1 0 0:1 / / ro,nosuid - ext4 /dev/a rw\n2 1 0:2 / / rw,nosuid - overlay none rw\n\
                          3 2 0:3 / /tmp rw - tmpfs none rw\n";

    #[test]
    fn what_the_kernel_says_is_understood() {
        let found = parse(STATUS, "         0     131072      65536\n", MOUNTS).unwrap();
        assert_eq!((found.program.as_str(), found.capabilities, found.filters), ("python3", 5, 3));
        assert_eq!((found.id_map.as_str(), found.root.as_str()), ("0 131072 65536", "overlay rw"));
        assert!(found.no_new_privs);
    }

    #[test]
    fn a_process_without_filters_is_told_as_one() {
        let open = STATUS.replace("Seccomp:\t2", "Seccomp:\t0").replace("NoNewPrivs:\t1", "NoNewPrivs:\t0");
        let found = parse(&open, "", "").unwrap();
        assert_eq!((found.filters, found.no_new_privs, found.root.as_str()), (0, false, ""));
        assert_eq!(parse("", "", ""), None);
    }
}
