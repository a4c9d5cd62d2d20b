//! Whether the unit of a running server lets its instances live.

use std::fs;
use std::process::Command;

use super::{Check, Verdict};
use crate::home::Home;

/// Properties of the unit, and what each has to say.
const KEEP: [(&str, &str); 3] =
    [("KillMode", "process"), ("Delegate", "yes"), ("RuntimeDirectoryPreserve", "yes")];

/// Properties that mount over /proc, and what each has to say.
const PROC: [(&str, &str); 4] = [
    ("ProtectKernelTunables", "no"),
    ("ProtectKernelLogs", "no"),
    ("ProtectProc", "default"),
    ("ProcSubset", "all"),
];

/// Looks at the unit in which the server of this home runs; `None` when none runs or in none.
pub(super) fn unit(home: &Home) -> Option<Check> {
    let lock = fs::read_to_string(home.lock_file()).ok()?;
    let pid: i32 = lock.split_whitespace().next()?.parse().ok()?;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let (unit, user) = unit_of(&groups)?;
    let mut command = Command::new("systemctl");
    if user {
        command.arg("--user");
    }
    let names: Vec<_> = KEEP.iter().chain(&PROC).map(|(name, _)| *name).collect();
    let output = command.args(["show", unit, "--property", &names.join(",")]).output().ok()?;
    output.status.success().then(|| judge(unit, &String::from_utf8_lossy(&output.stdout)))
}

/// The service in a process's control groups, and whether it is of a user's own manager.
fn unit_of(groups: &str) -> Option<(&str, bool)> {
    // Version 2 and the manager's own hierarchy of version 1 (cgroups(7)).
    let ours = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
    let path = groups.lines().find(ours)?.rsplit(':').next()?;
    let user = path.contains("/user@");
    let inside = if user { path.split("/user@").nth(1)?.split_once('/')?.1 } else { path };
    Some((inside.split('/').find(|part| part.ends_with(".service"))?, user))
}

fn judge(unit: &str, properties: &str) -> Check {
    let what = "systemd unit";
    let says = |name: &str| properties.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
    let wrong: Vec<_> = KEEP
        .iter()
        .chain(&PROC)
        .filter_map(|(name, wanted)| {
            let said = says(name)?;
            (said != *wanted).then(|| format!("{name}={said} instead of {wanted}"))
        })
        .collect();
    if wrong.is_empty() {
        return Check { what, verdict: Verdict::Good, found: unit.to_owned(), hint: None };
    }
    let found = format!("{unit}: {}", wrong.join(", "));
    let hint =
        "compare it with `insula systemd print-unit`: instances must outlive the server, and mount a /proc";
    Check { what, verdict: Verdict::Poor, found, hint: Some(hint.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_found_in_either_version_and_for_either_manager() {
        let found = |text| unit_of(text).map(|(unit, user)| (unit.to_owned(), user));
        assert_eq!(found("0::/system.slice/insula.service\n"), Some(("insula.service".to_owned(), false)));
        let v1 = "4:memory:/x\n1:name=systemd:/system.slice/insula.service/sub\n";
        assert_eq!(found(v1), Some(("insula.service".to_owned(), false)));
        let user = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/insula.service\n";
        assert_eq!(found(user), Some(("insula.service".to_owned(), true)));
        assert_eq!(found("0::/user.slice/user-0.slice/session-3.scope\n"), None);
        assert_eq!(found("0::/\n"), None);
    }

    #[test]
    fn what_would_end_instances_or_hide_proc_is_named() {
        let good = "KillMode=process\nDelegate=yes\nRuntimeDirectoryPreserve=yes\nProtectKernelTunables=no\n\
                    ProtectKernelLogs=no\nProtectProc=default\nProcSubset=all\n";
        assert_eq!(judge("insula.service", good).verdict, Verdict::Good);
        let bad = good
            .replace("KillMode=process", "KillMode=control-group")
            .replace("Proc=default", "Proc=invisible");
        let check = judge("insula.service", &bad);
        assert_eq!(check.verdict, Verdict::Poor);
        assert!(
            check.found.contains("KillMode=control-group") && check.found.contains("ProtectProc=invisible")
        );
    }
}
