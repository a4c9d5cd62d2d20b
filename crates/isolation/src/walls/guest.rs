//! The view around a program that makes containers, such as runsc: nothing of the host but that program, and
//! what its guest is to see.
//!
//! ```text
//! /runsc      the program, read-only
//! /bundle     the description of the guest
//! /state      where the program keeps its notes; in memory, gone with the walls
//! /rootfs     the guest's root: layers, or the host's system directories
//! /bound/N    what is mounted in the guest: data, working directory, `mounts`
//! /run/insula where the guest may make its socket
//! ```
//! Where a mount of the guest goes is decided by that program, inside the guest's root: a link in an image leads
//! nowhere else.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use insula_frames::{RootPlan, ViewOp, ViewPlan};
use insula_spec::{Launch, Level};

use super::Shared;
use super::oci::{self, Bound, Bundle};
use super::root;
use super::view::{self, CannotShow, MEETING, Place, Step, View};
use crate::disk::Own;
use crate::programs;

const PROGRAM: &str = "/runsc";
const BUNDLE: &str = "/bundle";
const STATE: &str = "/state";
const ROOTFS: &str = "/rootfs";
const BOUND: &str = "/bound";

/// Files that a guest with layers gets beside them.
const NAMES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// Whether this level's workload is run by a program that makes containers.
pub(crate) fn is_guest(level: Level) -> bool {
    level == Level::Gvisor
}

/// The command that runs the guest.
pub(crate) fn command(shared: &Shared) -> Vec<String> {
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

/// Builds the view around the program.
pub(crate) fn build(shared: &Shared, launch: &Launch, place: Place<'_>) -> Result<View, CannotShow> {
    let (bottom, mut mounts) = root::bottom(shared, place.ground, place.agent)?;
    let layered = bottom != RootPlan::Memory;
    let program = programs::locate("runsc", shared.levels.gvisor.path.as_deref())
        .ok_or_else(|| CannotShow { path: "runsc".into(), source: io::ErrorKind::NotFound.into() })?;
    let mut ops = vec![
        ViewOp::Proc { target: "/proc".to_owned() },
        view::tmpfs("/tmp", 0o1777, 16 << 20),
        view::tmpfs(STATE, 0o700, 16 << 20),
        ViewOp::Bind {
            source: program.to_string_lossy().into_owned(),
            target: PROGRAM.to_owned(),
            read_only: true,
            optional: false,
        },
    ];
    ops.extend(view::devices());
    let mut bounds = Vec::new();
    match layered {
        true => named_files(launch, &mut ops, &mut bounds),
        false => {
            // A mount of its own, since the program makes mount points in it.
            ops.push(view::tmpfs(ROOTFS, 0o755, 1 << 20));
            ops.extend(view::system(launch.network).into_iter().filter_map(of_guest));
        }
    }
    let ground = place.ground;
    bind(shared, launch, place, (&mut ops, &mut bounds, &mut mounts))?;
    let bundle =
        Bundle { ground, rootfs: ROOTFS, read_only: launch.root.read_only || !layered, bounds: &bounds };
    let content = oci::describe(launch, &bundle)
        .map_err(|e| CannotShow { path: "config.json".into(), source: io::Error::other(e) })?;
    ops.push(ViewOp::File { target: format!("{BUNDLE}/config.json"), content });
    let plan = ViewPlan {
        hostname: launch.instance.id.as_str().to_owned(),
        root: RootPlan::Memory,
        read_only: true,
        guest: layered.then(|| (ROOTFS.to_owned(), bottom)),
        ops,
    };
    Ok(View { plan, mounts })
}

/// A step that shows the host's system, in the guest's root; `None` for what the guest's kernel brings.
fn of_guest(op: ViewOp) -> Option<ViewOp> {
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
fn bind(
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
