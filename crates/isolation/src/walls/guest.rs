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
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use insula_frames::{
    GUEST_AGENT, GUEST_ROOT, GuestPlan, Ids, LaunchPlan, Probe, Role, RootPlan, ViewOp, ViewPlan,
};
use insula_spec::{IdRange, Launch, Level, Limits, Network};

use super::Shared;
use super::borrow;
use super::oci;
use super::root::{self, Ground};
use super::view::{self, CannotShow, MEETING, Place, Step, View};
use crate::disk::Own;
use crate::programs;

const PROGRAM: &str = "/runsc";
const BUNDLE: &str = "/bundle";
const STATE: &str = "/state";
const GUEST: &str = "/guest";
const OWN: &str = "/own";
/// In the guest: the host's system directories, for those who bring none.
const SYSTEM: &str = "/system";

const MIB: u64 = 1 << 20;

/// Files that a guest with layers gets beside them.
const NAMES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

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

/// The launch of the program, before it is known for whom.
pub(crate) fn wall(shared: &Shared, network: Network) -> Result<LaunchPlan, CannotShow> {
    let program = programs::locate("runsc", shared.levels.gvisor.path.as_deref())
        .ok_or_else(|| CannotShow { path: "runsc".into(), source: io::ErrorKind::NotFound.into() })?;
    let content = oci::describe(GUEST, OWN)
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
    ops.extend(view::system(network).into_iter().filter_map(of_guest));
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
    let kernel = |target: &str| ViewOp::Bind {
        source: target.to_owned(),
        target: target.to_owned(),
        read_only: false,
        optional: false,
    };
    let mut inside = bare(launch, launch.root.read_only || !layered);
    inside.ops = vec![
        ViewOp::Proc { target: "/proc".to_owned() },
        kernel("/dev"),
        view::tmpfs("/dev/shm", 0o1777, 64 * MIB),
        view::tmpfs("/tmp", 0o1777, 256 * MIB),
    ];
    let mut plan = bare(launch, false);
    let mut show = Showing { mounts, ops: Vec::new(), inside: &mut inside.ops };
    if layered {
        if launch.root.read_only {
            show.inside.push(view::tmpfs("/run", 0o1777, 64 * MIB));
        }
        show.named_files(launch);
        plan.guest = Some((format!("{GUEST}{GUEST_ROOT}"), bottom));
    }
    show.bind(shared, launch, place)?;
    let Showing { mounts, ops, .. } = show;
    plan.ops = ops;
    Ok(View { plan, mounts, inside: Some(inside) })
}

/// A step that shows the host's system, to the guest; `None` for what the guest's kernel brings.
fn of_guest(op: ViewOp) -> Option<ViewOp> {
    let inside = |target: &str| format!("{GUEST}{SYSTEM}{target}");
    match op {
        ViewOp::Bind { source, target, read_only, optional } if !target.starts_with("/dev") => {
            Some(ViewOp::Bind { source, target: inside(&target), read_only, optional })
        }
        ViewOp::Symlink { target, to } if !target.starts_with("/dev") => {
            Some(ViewOp::Symlink { target: inside(&target), to })
        }
        ViewOp::File { target, content } => Some(ViewOp::File { target: inside(&target), content }),
        _ => None,
    }
}

/// Something to mount this on.
fn place_for(source: &Path, at: &Path) -> ViewOp {
    let target = at.to_string_lossy().into_owned();
    match source.is_dir() {
        true => ViewOp::Dir { target, mode: 0o755 },
        false => ViewOp::File { target, content: Vec::new() },
    }
}

/// What is shown, and how the agent in the guest gets it to its place.
struct Showing<'a> {
    mounts: Vec<OwnedFd>,
    ops: Vec<ViewOp>,
    inside: &'a mut Vec<ViewOp>,
}

impl Showing<'_> {
    /// What the agent in the guest does with what lies at `at`.
    fn place(&mut self, at: &str, target: &str, read_only: bool) {
        let (source, target) = (at.to_owned(), target.to_owned());
        self.inside.push(ViewOp::Bind { source, target, read_only, optional: false });
    }

    /// Names of the network, beside a root that has others.
    fn named_files(&mut self, launch: &Launch) {
        for op in view::names().into_iter().chain([view::resolver(launch.network)]) {
            let (op, target) = match op {
                ViewOp::File { target, content } if NAMES.contains(&target.as_str()) => {
                    (ViewOp::File { target: format!("{OWN}{target}"), content }, target)
                }
                ViewOp::Bind { source, target, read_only, .. } if Path::new(&source).exists() => {
                    let at = format!("{OWN}{target}");
                    (ViewOp::Bind { source, target: at, read_only, optional: false }, target)
                }
                _ => continue,
            };
            self.ops.push(op);
            self.place(&format!("{OWN}{target}"), &target, true);
        }
    }

    /// What the workload sees of the host's files, each at a place of its own.
    fn bind(&mut self, shared: &Shared, launch: &Launch, place: Place<'_>) -> Result<(), CannotShow> {
        let mut own = match place.own {
            Own::Plain(_) => None,
            Own::Mount(mount) => Some(mount),
        };
        // What the host could not give to the user of the guest, the agent does.
        let give = !shared.privileged() || place.ground.user.is_some();
        let mut last: Option<(PathBuf, PathBuf)> = None;
        let mut masked: Vec<(PathBuf, PathBuf)> = Vec::new();
        let steps = view::steps(launch, place.app_dir, place.ground, &shared.hidden);
        for (n, step) in steps.into_iter().enumerate() {
            // A mask lies in what was shown before it.
            let moved = |target: &Path| match &last {
                Some((was, is)) => {
                    target.strip_prefix(was).map_or_else(|_| target.to_owned(), |rest| is.join(rest))
                }
                None => target.to_owned(),
            };
            match step {
                Step::Show(mut shown) => {
                    let target = shown.target.clone();
                    let tenants = !shown.read_only && shown.source == launch.data_dir;
                    let meeting = target == Path::new(MEETING);
                    if meeting {
                        // The agent outside looks there for the socket.
                        self.ops.push(view::open(shared, &shown, &mut self.mounts)?);
                    }
                    // The guest cannot make a place to mount on in what it shows read-only.
                    let under =
                        masked.iter().find_map(|(was, is)| Some(is.join(target.strip_prefix(was).ok()?)));
                    self.ops.extend(under.map(|place| place_for(&shown.source, &place)));
                    let at = format!("{OWN}/{n}");
                    self.place(&at, &target.to_string_lossy(), shown.read_only);
                    shown.target = PathBuf::from(&at);
                    last = Some((target, shown.target.clone()));
                    match own.take_if(|_| tenants) {
                        Some(mount) => {
                            self.mounts.push(mount);
                            self.ops.push(ViewOp::Attach { target: at.clone(), dir: true });
                        }
                        None => self.ops.push(view::open(shared, &shown, &mut self.mounts)?),
                    }
                    if let (Some(ids), Some(mount), false) = (place.shown_by, self.mounts.last(), meeting) {
                        borrow::show(mount, ids, shown.read_only)
                            .map_err(|source| CannotShow { path: shown.source.clone(), source })?;
                    }
                    if give && (tenants || meeting) {
                        self.ops.push(ViewOp::Own { target: at });
                    }
                }
                Step::MaskDir(target) => {
                    let at = moved(&target);
                    self.ops.push(view::tmpfs(&at.to_string_lossy(), 0o755, MIB));
                    masked.push((target, at));
                }
                Step::MaskFile(target) => self.ops.push(view::null_over(&moved(&target))),
            }
        }
        Ok(())
    }
}
