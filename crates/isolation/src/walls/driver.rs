//! crun and runc as makers of containers: run by the agent inside the instance's walls, as a workload that is a wall
//! itself.
//!
//! ```text
//! /crun, /runc   the program, and the libraries of the host for it, read-only
//! /bundle        the description of the container
//! /state         where the program keeps its notes; in memory, gone with the walls
//! /rootfs        the container's root; /bound/N what is mounted in it
//! ```
//! The walls are those of every container: the instance's namespaces, ids, control groups. What the driver adds is a
//! mount namespace with the container's root, and the system call list in the words of OCI. Process ids stay those of
//! the walls, so that the program is nobody's PID 1 and signals mean what they mean elsewhere.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use insula_frames::{RootPlan, ViewOp, ViewPlan};
use insula_spec::{Driver, Launch};

use super::bundle::{self, Bound, Bundle};
use super::root;
use super::view::{self, CannotShow, MEETING, Place, Step, View};
use super::{Shared, changes};
use crate::disk::Own;
use crate::programs;

const BUNDLE: &str = "/bundle";
const STATE: &str = "/state";
const ROOTFS: &str = "/rootfs";
const BOUND: &str = "/bound";

/// Files that a container with layers gets beside them.
const NAMES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// Where the host keeps libraries, which these programs need.
const LIBRARIES: [&str; 9] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/etc/ld.so.cache"];

/// The command that runs the container.
pub(crate) fn command(driver: Driver) -> Vec<String> {
    let program = format!("/{}", driver.as_str());
    let root = format!("--root={STATE}");
    // Control groups are the host's business; neither driver finds any that it may change.
    // Control groups are the host's business; neither driver finds any that it may change. runc warns of that, on the
    // standard error of the workload if nothing else is said; what it fails at comes there all the same.
    let own: &[&str] = match driver {
        Driver::Runc => &["--rootless=true", "--log=/state/log"],
        Driver::Agent | Driver::Crun => &["--cgroup-manager=disabled"],
    };
    let run = ["run", "--no-new-keyring", "--bundle", BUNDLE, "guest"];
    let all = [&program, &root].into_iter().map(String::as_str).chain(own.iter().copied()).chain(run);
    all.map(ToOwned::to_owned).collect()
}

/// Builds the view around the program.
pub(crate) fn build(
    shared: &Shared,
    launch: &Launch,
    place: Place<'_>,
    driver: Driver,
) -> Result<View, CannotShow> {
    let (bottom, mut mounts) = root::bottom(shared, place.ground, place.agent)?;
    let layered = bottom != RootPlan::Memory;
    let mut ops = around(shared, launch, driver)?;
    let mut bounds = Vec::new();
    if layered {
        named_files(launch, &mut ops, &mut bounds);
    } else {
        // A mount of its own, since the program makes mount points in it.
        ops.push(view::tmpfs(ROOTFS, 0o755, 1 << 20));
        ops.extend(view::system(launch.network).into_iter().filter_map(of_container));
    }
    let ground = place.ground;
    bind_all(shared, launch, place, (&mut ops, &mut bounds, &mut mounts))?;
    if ground.changes.is_some() {
        // The container sees the tenant's directory where it is bound; the cover goes with it.
        let own = bounds.iter().find(|bound| Path::new(&bound.target) == launch.data_dir);
        ops.extend(own.map(|bound| changes::cover_in(Path::new(&bound.source))));
    }
    let read_only = launch.root.read_only || !layered;
    let description = Bundle { ground, rootfs: ROOTFS, read_only, bounds: &bounds };
    let content = bundle::describe(launch, &description)
        .map_err(|e| CannotShow { path: "config.json".into(), source: io::Error::other(e) })?;
    ops.push(ViewOp::File { target: format!("{BUNDLE}/config.json"), content });
    let plan = ViewPlan {
        hostname: launch.instance.id.as_str().to_owned(),
        root: RootPlan::Memory,
        read_only: true,
        guest: layered.then(|| (ROOTFS.to_owned(), bottom)),
        ops,
    };
    Ok(View { plan, mounts, inside: None })
}

/// The program and what it stands on.
fn around(shared: &Shared, launch: &Launch, driver: Driver) -> Result<Vec<ViewOp>, CannotShow> {
    let name = driver.as_str();
    let program = programs::locate(name, shared.levels.container.path.as_deref())
        .ok_or_else(|| CannotShow { path: name.into(), source: io::ErrorKind::NotFound.into() })?;
    let mut ops = vec![
        ViewOp::Proc { target: "/proc".to_owned() },
        view::tmpfs("/tmp", 0o1777, 16 << 20),
        view::tmpfs(STATE, 0o700, 16 << 20),
    ];
    let library = |op: &ViewOp| match op {
        ViewOp::Bind { target, .. } | ViewOp::Symlink { target, .. } => LIBRARIES.contains(&target.as_str()),
        _ => false,
    };
    ops.extend(view::system(launch.network).into_iter().filter(library));
    let bind =
        |source: String, target: String| ViewOp::Bind { source, target, read_only: true, optional: false };
    ops.push(bind(program.to_string_lossy().into_owned(), format!("/{name}")));
    let groups = "/sys/fs/cgroup".to_owned();
    ops.push(match driver {
        // It looks for control groups before it finds that it may use none.
        Driver::Runc => bind(groups.clone(), groups),
        // It looks which version they are of, and whether they are of both.
        Driver::Agent | Driver::Crun => ViewOp::Dir { target: groups, mode: 0o755 },
    });
    ops.extend(view::devices());
    Ok(ops)
}

/// A step that shows the host's system, in the guest's root; `None` for what the guest's kernel brings.
fn of_container(op: ViewOp) -> Option<ViewOp> {
    let inside = |target: &str| format!("{ROOTFS}{target}");
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

/// Names of the network, beside a root that has others.
fn named_files(launch: &Launch, ops: &mut Vec<ViewOp>, bounds: &mut Vec<Bound>) {
    for op in view::names().into_iter().chain([view::resolver(launch.network)]) {
        let (op, target) = match op {
            ViewOp::File { target, content } if NAMES.contains(&target.as_str()) => {
                (ViewOp::File { target: format!("{BOUND}{target}"), content }, target)
            }
            ViewOp::Bind { source, target, read_only, .. } if Path::new(&source).exists() => {
                let at = format!("{BOUND}{target}");
                (ViewOp::Bind { source, target: at, read_only, optional: true }, target)
            }
            _ => continue,
        };
        ops.push(op);
        bounds.push(Bound { source: format!("{BOUND}{target}"), target, read_only: true });
    }
}

/// What the workload sees of the host's files, each at a place of its own that the guest's mounts name.
fn bind_all(
    shared: &Shared,
    launch: &Launch,
    place: Place<'_>,
    (ops, bounds, mounts): (&mut Vec<ViewOp>, &mut Vec<Bound>, &mut Vec<OwnedFd>),
) -> Result<(), CannotShow> {
    let mut own = match place.own {
        Own::Plain(_) => None,
        Own::Mount(mount) => Some(mount),
    };
    // What the host could not give to the user of the guest, the agent does.
    let give = !shared.privileged() || place.ground.user.is_some();
    let mut last: Option<(PathBuf, PathBuf)> = None;
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
                let theirs = tenants || target == Path::new(MEETING);
                let at =
                    if target == Path::new(MEETING) { target.clone() } else { format!("{BOUND}/{n}").into() };
                let source = at.to_string_lossy().into_owned();
                let bound = Bound {
                    source: source.clone(),
                    target: target.to_string_lossy().into_owned(),
                    read_only: shown.read_only,
                };
                bounds.push(bound);
                shown.target.clone_from(&at);
                last = Some((target, at));
                match own.take_if(|_| tenants) {
                    Some(mount) => {
                        mounts.push(mount);
                        ops.push(ViewOp::Attach { target: source.clone(), dir: true });
                    }
                    None => ops.push(view::open(shared, &shown, mounts)?),
                }
                if give && theirs {
                    ops.push(ViewOp::Own { target: source });
                }
            }
            Step::MaskDir(target) => {
                ops.push(view::tmpfs(&moved(&target).to_string_lossy(), 0o755, 1 << 20));
            }
            Step::MaskFile(target) => ops.push(view::null_over(&moved(&target))),
        }
    }
    Ok(())
}
