//! What the agent is told to do at a launch.

use insula_frames::{Ids, LaunchPlan, Probe, Role, ViewPlan};
use insula_spec::{IdRange, Launch};

use super::idmap::IdMode;
use super::root::Ground;
use super::{Kind, Shared, driver, guest};
/// The plan of a launch on this ground, in this view if it is to be built: the agent's part of it, and that of a guest.
pub(super) fn plan(
    shared: &Shared,
    kind: Kind,
    launch: &Launch,
    (ground, view): (&Ground, Option<(ViewPlan, Option<ViewPlan>)>),
) -> LaunchPlan {
    let (view, guests) = view.map_or((None, None), |(view, guests)| (Some(view), guests));
    let walled = kind.has_view();
    let user = ground.user.as_ref();
    let inside = |agent_root| {
        let (workload, group) =
            user.map_or((IdRange::WORKLOAD, IdRange::WORKLOAD), |user| (user.uid, user.gid));
        Some(Ids { agent_root, workload, group })
    };
    let ids = match (walled, launch.ids, shared.ids) {
        (true, Some(_), _) | (true, None, IdMode::Subordinate { .. }) => inside(true),
        (false, Some(range), _) => {
            Some(Ids { agent_root: false, workload: range.workload(), group: range.workload() })
        }
        _ => None,
    };
    if let Some(driver) = kind.driver() {
        let bare = bare(launch, ground, Role::Driver);
        return LaunchPlan { argv: driver::command(driver), cwd: "/".to_owned(), ids, view, ..bare };
    }
    let role = if guest::is_guest(kind.level) { guest::role(launch, ground, guests) } else { Role::Program };
    LaunchPlan {
        argv: ground.argv.clone(),
        env: ground.env.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect(),
        cwd: ground.cwd.clone(),
        ids,
        groups: user.map(|user| user.groups.clone()).unwrap_or_default(),
        view,
        open_files: launch.limits.open_files,
        ..bare(launch, ground, role)
    }
}

/// What is the same for every program that is executed.
fn bare(launch: &Launch, ground: &Ground, role: Role) -> LaunchPlan {
    LaunchPlan {
        argv: Vec::new(),
        env: Vec::new(),
        cwd: String::new(),
        ids: None,
        groups: Vec::new(),
        view: None,
        open_files: None,
        stop_signal: ground.stop_signal,
        filters: Vec::new(),
        role,
        probe: Probe {
            port: launch.placement.port,
            socket: launch.placement.socket.to_string_lossy().into_owned(),
        },
        spill: true,
    }
}

/// The host ids of the user as which a workload runs.
pub(super) fn owner_in(kind: Kind, range: IdRange, ground: &Ground) -> (u32, u32) {
    match &ground.user {
        Some(user) if kind.has_view() => {
            (range.base.saturating_add(user.uid), range.base.saturating_add(user.gid))
        }
        _ => (range.workload(), range.workload()),
    }
}
