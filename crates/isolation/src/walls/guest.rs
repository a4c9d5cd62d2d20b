//! The view around a program that makes containers, such as runsc: nothing of the host but that program, and
//! what its guest is to see.
//!
//! ```text
//! before it is known for whom                       when it is
//! /runsc       the program, read-only
//! /bundle      the description of the guest
//! /state       where it keeps its notes; in memory
//! /guest       the guest's first root, shared:
//!      agent   its PID 1
//!      system  the host's system directories
//!      root    empty                                 layers, where there are any
//! /own         shared, empty                         /own/N: data, working directory, `mounts`
//! /run/insula  empty                                 where the guest may make its socket
//! ```
//! The guest's kernel has `/guest` and `/own` from its start; what is mounted below them later, it sees. The agent in the
//! guest binds each `/own/N` to its place, inside the root: a link in an image leads nowhere else.

use std::io;
use std::path::Path;

use insula_frames::{
    GUEST_AGENT, GUEST_REHEARSES, GUEST_ROOT, GuestPlan, Ids, LaunchPlan, Probe, Role, RootPlan, ViewOp,
    ViewPlan,
};
use insula_spec::{IdRange, Launch, Level, Limits, Network};

use super::bundle::Bound;
use super::root::{self, Ground};
use super::staged::{self, Staged};
use super::view::{self, CannotShow, MEETING, Place, View};
use super::{Shared, borrow, changes, oci};
use crate::programs;

const PROGRAM: &str = "/runsc";
const BUNDLE: &str = "/bundle";
const STATE: &str = "/state";
const GUEST: &str = "/guest";
const OWN: &str = "/own";
/// In the guest: the host's system directories, for those who bring none.
const SYSTEM: &str = "/system";

const MIB: u64 = 1 << 20;

/// Where the guest's kernel mounts what it brings by itself, and the directory of the workload's socket.
const PLACES: [&str; 4] = ["/proc", "/dev", "/tmp", MEETING];

/// What the program around a guest may take beside what the guest does: its own threads, and a few for each process in
/// there, which stands for one of the host.
const OF_PROGRAM: u32 = 256;
const FOR_EACH: u32 = 8;

/// Whether this level's workload is run by a program that makes containers.
pub(crate) fn is_guest(level: Level) -> bool {
    level == Level::Gvisor
}

/// The limits of the control group around the program: the one on processes is kept by the guest's kernel.
pub(crate) fn around(limits: &Limits) -> Limits {
    let pids = limits.pids.map(|n| n.saturating_mul(FOR_EACH).saturating_add(OF_PROGRAM));
    Limits { pids, ..*limits }
}

/// The command that runs the guest.
fn command(shared: &Shared) -> Vec<String> {
    let platform = format!("--platform={}", shared.levels.gvisor.platform);
    let root = format!("--root={STATE}");
    let bundle = format!("--bundle={BUNDLE}");
    let words = [
        PROGRAM,
        &root,
        &platform,
        // The network namespace is the instance's own: its host is nobody else's.
        "--network=host",
        "--ignore-cgroups",
        "--host-uds=create",
        "--overlay2=none",
        "run",
        &bundle,
        "guest",
    ];
    words.map(ToOwned::to_owned).to_vec()
}

/// The launch of the program, before it is known for whom; `ahead` of time, the guest rehearses.
pub(crate) fn wall(shared: &Shared, network: Network, ahead: bool) -> Result<LaunchPlan, CannotShow> {
    let program = programs::locate("runsc", shared.levels.gvisor.path.as_deref())
        .ok_or_else(|| CannotShow { path: "runsc".into(), source: io::ErrorKind::NotFound.into() })?;
    let words: &[&str] = if ahead { &[GUEST_REHEARSES] } else { &[] };
    let content = oci::describe(GUEST, OWN, words)
        .map_err(|e| CannotShow { path: "config.json".into(), source: io::Error::other(e) })?;
    let dir = |target: String| ViewOp::Dir { target, mode: 0o755 };
    let shared_tmpfs =
        |target: &str, size| [view::tmpfs(target, 0o755, size), ViewOp::Shared { target: target.to_owned() }];
    let mut ops = vec![
        ViewOp::Proc { target: "/proc".to_owned() },
        view::tmpfs("/tmp", 0o1777, 16 * MIB),
        view::tmpfs(STATE, 0o700, 16 * MIB),
        ViewOp::Bind {
            source: program.to_string_lossy().into_owned(),
            target: PROGRAM.to_owned(),
            read_only: true,
            optional: false,
        },
        ViewOp::File { target: format!("{BUNDLE}/config.json"), content },
        dir(MEETING.to_owned()),
    ];
    ops.extend(view::devices());
    ops.extend(shared_tmpfs(GUEST, 16 * MIB));
    ops.extend(["/proc", "/dev", OWN, GUEST_ROOT].map(|name| dir(format!("{GUEST}{name}"))));
    ops.push(ViewOp::Agent { target: format!("{GUEST}{GUEST_AGENT}") });
    ops.extend(shared_tmpfs(OWN, MIB));
    ops.push(view::tmpfs(&format!("{GUEST}{SYSTEM}"), 0o755, MIB));
    ops.extend(staged::system(&format!("{GUEST}{SYSTEM}"), network));
    ops.extend(PLACES.map(|name| dir(format!("{GUEST}{SYSTEM}{name}"))));
    let view = ViewPlan {
        hostname: "localhost".to_owned(),
        root: RootPlan::Memory,
        read_only: true,
        guest: None,
        ops,
    };
    Ok(LaunchPlan {
        argv: command(shared),
        env: Vec::new(),
        cwd: "/".to_owned(),
        ids: Some(Ids { agent_root: true, workload: IdRange::WORKLOAD, group: IdRange::WORKLOAD }),
        groups: Vec::new(),
        view: Some(view),
        open_files: None,
        stop_signal: None,
        role: Role::Wall,
        probe: Probe { port: 0, socket: view::SOCKET_INSIDE.to_owned() },
        filters: Vec::new(),
        spill: false,
    })
}

/// What the agent of the guest does for this launch; `view` is what [`build`] made of it, unless that was done already.
pub(crate) fn role(launch: &Launch, ground: &Ground, view: Option<ViewPlan>) -> Role {
    let view = view.unwrap_or_else(|| bare(launch, false));
    let root = if ground.layers.is_empty() { SYSTEM } else { GUEST_ROOT };
    Role::Guest(Box::new(GuestPlan { root: root.to_owned(), view, processes: launch.limits.pids }))
}

fn bare(launch: &Launch, read_only: bool) -> ViewPlan {
    let hostname = launch.instance.id.as_str().to_owned();
    ViewPlan { hostname, root: RootPlan::Memory, read_only, guest: None, ops: Vec::new() }
}

/// Builds what is added to the view around the program, and what the agent in the guest does with it.
pub(crate) fn build(shared: &Shared, launch: &Launch, place: Place<'_>) -> Result<View, CannotShow> {
    let (bottom, mounts) = root::bottom(shared, place.ground, place.agent)?;
    let layered = bottom != RootPlan::Memory;
    let changes = place.ground.changes.clone();
    if let (Some(dir), Some(ids), Some(mount)) = (&changes, place.shown_by, mounts.last()) {
        // They belong to the instance, and the layers to nobody.
        borrow::show(mount, ids, false).map_err(|source| CannotShow { path: dir.clone(), source })?;
    }
    let dev = Bound { source: "/dev".to_owned(), target: "/dev".to_owned(), read_only: false };
    let mut inside = bare(launch, launch.root.read_only || !layered);
    inside.ops = vec![
        ViewOp::Proc { target: "/proc".to_owned() },
        bind(dev),
        view::tmpfs("/dev/shm", 0o1777, 64 * MIB),
        view::tmpfs("/tmp", 0o1777, 256 * MIB),
    ];
    let mut plan = bare(launch, false);
    let mut staged = Staged::new(OWN, mounts);
    if layered {
        if launch.root.read_only {
            inside.ops.push(view::tmpfs("/run", 0o1777, 64 * MIB));
        }
        names(&mut staged, launch.network);
        plan.guest = Some((format!("{GUEST}{GUEST_ROOT}"), bottom));
    }
    staged.files(shared, launch, place)?;
    if layered {
        let places = places(&staged);
        staged.ops.extend(places);
    }
    if changes.is_some() {
        // The guest sees the tenant's directory where it is bound; the cover goes with it.
        let own = staged.bounds.iter().find(|bound| Path::new(&bound.target) == launch.data_dir);
        let cover = own.map(|bound| changes::cover_in(Path::new(&bound.source)));
        staged.ops.extend(cover);
    }
    plan.ops = staged.ops;
    inside.ops.extend(staged.bounds.into_iter().map(bind));
    Ok(View { plan, mounts: staged.mounts, inside: Some(inside) })
}

/// A path of the guest's root, as the agent outside sees it.
fn in_root(target: &str) -> String {
    format!("{GUEST}{GUEST_ROOT}{target}")
}

/// Names of the network. What is a file becomes one of the root, as at the other levels.
fn names(staged: &mut Staged, network: Network) {
    staged.names(network);
    for op in &mut staged.ops {
        if let ViewOp::File { target, .. } = op
            && let Some(name) = target.strip_prefix(OWN).map(ToOwned::to_owned)
        {
            staged.bounds.retain(|bound| bound.target != name);
            *target = in_root(&name);
        }
    }
}

/// Places in the root to mount on. What lies below a mount of the guest's kernel, the guest has to make.
fn places(staged: &Staged) -> Vec<ViewOp> {
    let lies = |op: &ViewOp| match op {
        ViewOp::Attach { target, dir: true } => Some(target.clone()),
        ViewOp::Bind { source, target, .. } if Path::new(source).is_dir() => Some(target.clone()),
        _ => None,
    };
    let lie: Vec<String> = staged.ops.iter().filter_map(lies).collect();
    let shown =
        staged.bounds.iter().filter(|bound| lie.contains(&bound.source)).map(|bound| bound.target.as_str());
    let own = |target: &&str| !PLACES.iter().any(|place| Path::new(target).starts_with(place));
    let places = PLACES.into_iter().chain(shown.filter(own));
    places.map(|target| ViewOp::Dir { target: in_root(target), mode: 0o755 }).collect()
}

/// What the agent in the guest does with something that lies in its view.
fn bind(bound: Bound) -> ViewOp {
    let Bound { source, target, read_only } = bound;
    ViewOp::Bind { source, target, read_only, optional: false }
}
