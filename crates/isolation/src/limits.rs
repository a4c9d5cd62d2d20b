//! What this host can enforce, and what it leaves behind: common to the levels built from namespaces and
//! control groups.

use std::sync::Arc;

use insula_linux::cgroup;
use insula_spec::{Level, Limits};
use rustix::process::{Resource, getrlimit};

use crate::contract::{Capabilities, LaunchError, Record, Swept};
use crate::walls::{self, IdMode, Shared};

/// Refuses a launch whose limits would not be enforced. That on disk is looked at when it is put up.
pub(crate) fn check(shared: &Shared, level: Level, limits: &Limits) -> Result<(), LaunchError> {
    if let Err(e) = cgroup::check(&shared.layout, limits) {
        return Err(LaunchError::Unenforceable { what: e.what, level, hint: e.hint });
    }
    let hard = getrlimit(Resource::Nofile).maximum;
    match (limits.open_files, hard) {
        (Some(asked), Some(hard)) if u64::from(asked) > hard => Err(LaunchError::Unenforceable {
            what: "open_files",
            level,
            hint: format!("ask for at most {hard}, or raise the hard limit of the daemon (LimitNOFILE=)"),
        }),
        _ => Ok(()),
    }
}

/// What to report of this host.
pub(crate) fn capabilities(shared: &Shared) -> Capabilities {
    let mut notes = Vec::new();
    match shared.ids {
        IdMode::Ranges => {}
        IdMode::Subordinate { .. } => {
            notes.push(
                "all instances share one subordinate id range; run as root to give each its own".into(),
            );
        }
        IdMode::Single => notes.push(
            "all instances run under the daemon's own id; install newuidmap and add a range to /etc/subuid \
             and /etc/subgid, or run as root"
                .into(),
        ),
    }
    if let cgroup::Layout::None { why, hint } = &shared.layout {
        notes.push(format!("memory, CPU and pid limits are refused: {why}; {hint}"));
    }
    if let Some(why) = &shared.deaf {
        notes.push(format!(
            "starts take some milliseconds longer: agents are not told when a workload listens ({why}); run the \
             daemon where no other program stops system calls by seccomp, on Linux 5.5 or later"
        ));
    }
    Capabilities { cgroups: shared.layout.name(), ids: shared.ids.as_str(), program: None, notes }
}

/// Sweeps on a thread that may block.
pub(crate) async fn sweep(shared: Arc<Shared>, level: Level, known: &[Record]) -> Swept {
    let known = known.to_vec();
    let swept = tokio::task::spawn_blocking(move || walls::sweep::sweep(&shared, level, &known)).await;
    swept.unwrap_or_else(|e| Swept { failed: vec![e.to_string()], ..Swept::default() })
}
