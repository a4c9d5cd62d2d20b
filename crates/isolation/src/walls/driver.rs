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
use std::path::Path;

use insula_frames::{RootPlan, ViewOp, ViewPlan};
use insula_spec::{Driver, Launch};

use super::bundle::{self, Bundle};
use super::staged::{self, Staged};
use super::view::{self, CannotShow, Place, View};
use super::{Shared, changes, root};
use crate::programs;

const BUNDLE: &str = "/bundle";
const STATE: &str = "/state";
const ROOTFS: &str = "/rootfs";
const BOUND: &str = "/bound";

/// Where the host keeps libraries, which these programs need.
const LIBRARIES: [&str; 9] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/etc/ld.so.cache"];

/// The command that runs the container.
pub(crate) fn command(driver: Driver) -> Vec<String> {
    let program = format!("/{}", driver.as_str());
    let root = format!("--root={STATE}");
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
    let (bottom, mounts) = root::bottom(shared, place.ground, place.agent)?;
    let layered = bottom != RootPlan::Memory;
    let mut ops = around(shared, launch, driver)?;
    let mut staged = Staged::new(BOUND, mounts);
    if layered {
        staged.names(launch.network);
    } else {
        // A mount of its own, since the program makes mount points in it.
        ops.push(view::tmpfs(ROOTFS, 0o755, 1 << 20));
        ops.extend(staged::system(ROOTFS, launch.network));
    }
    let ground = place.ground;
    staged.files(shared, launch, place)?;
    let Staged { ops: shown, mounts, bounds, .. } = staged;
    ops.extend(shown);
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
