//! What a workload at level `namespace` sees: planned here, carried out by the agent.
//!
//! ```text
//! /usr /bin /lib …   the host's system directories, read-only
//! /etc               a handful of files: names, certificates, time zone, linker; never passwords or keys
//! /proc /dev /tmp    its own; no devices but null, zero, full, random, urandom, tty
//! WORKDIR            read-only, with Insula's own files and other tenants' data masked
//! {data_dir}/{id}    read-write, nobody else's
//! mounts             as configured
//! /run/insula        where it may make its socket
//! ```

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use insula_frames::{RootPlan, ViewOp, ViewPlan};
use insula_linux::mount::{self, Attributes};
use insula_spec::{Driver, Launch, Level, Mount, Network};

use super::root::{self, Ground};
use super::{Shared, changes, driver, guest, routed};
use crate::disk::Own;

/// Name of the workload's own socket in its directory.
pub(crate) const SOCKET_NAME: &str = "app.sock";
/// Where a workload behind a mount wall may make its socket.
pub(crate) const SOCKET_INSIDE: &str = "/run/insula/app.sock";

/// The directory of that socket.
pub(crate) const MEETING: &str = "/run/insula";

/// Directories of the system at the top of the file system; on most hosts links into `/usr`.
const SYSTEM: [&str; 7] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"];

/// Files of `/etc` that programs need and that hold no secret.
const ETC: [&str; 18] = [
    "alternatives",
    "ca-certificates",
    "debian_version",
    "fonts",
    "host.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "perl",
    "protocols",
    "python3",
    "python3.11",
    "services",
    "timezone",
];

/// Parts of `/etc/ssl` without private keys.
const ETC_SSL: [&str; 2] = ["ssl/certs", "ssl/openssl.cnf"];

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const MIB: u64 = 1 << 20;

/// The plan, and the mounts to pass beside it, in the order of its `Attach` steps.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) plan: ViewPlan,
    pub(crate) mounts: Vec<OwnedFd>,
    /// What the agent of a guest does with it.
    pub(crate) inside: Option<ViewPlan>,
}

/// A host path to show, before it is decided who opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) read_only: bool,
}

/// A path that cannot be shown.
#[derive(Debug)]
pub(crate) struct CannotShow {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Where a view is built.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) level: Level,
    /// The program that makes the container, where that is not the agent.
    pub(crate) driver: Option<Driver>,
    /// Host path of the directory for the workload's socket.
    pub(crate) app_dir: &'a Path,
    /// What the launch stands on.
    pub(crate) ground: &'a Ground,
    /// Host pid of the agent, in whose user namespace the ids are.
    pub(crate) agent: i32,
    /// The tenant's own directory, where it is a mount.
    pub(crate) own: Own,
    /// Under whose ids the files of the instance are shown, where its processes do not have its own.
    pub(crate) shown_by: Option<&'a File>,
}

/// Builds the view of one launch.
pub(crate) fn build(shared: &Shared, launch: &Launch, mut place: Place<'_>) -> Result<View, CannotShow> {
    if guest::is_guest(place.level) {
        return guest::build(shared, launch, place);
    }
    if let Some(driver) = place.driver {
        return driver::build(shared, launch, place, driver);
    }
    let mut own = place.own.take_mount();
    let (bottom, mut mounts) = root::bottom(shared, place.ground, place.agent)?;
    let mut ops = match &bottom {
        RootPlan::Memory => system(launch.network),
        RootPlan::Layers { .. } => own_system(launch),
    };
    if place.level == Level::Container {
        ops.extend(root::covered());
    }
    for step in steps(launch, place.app_dir, place.ground, &shared.hidden) {
        match step {
            Step::Show(shown) if !shown.read_only && shown.target == launch.data_dir && own.is_some() => {
                mounts.extend(own.take());
                ops.push(ViewOp::Attach { target: text(&shown.target), dir: true });
            }
            Step::Show(shown) => ops.push(open(shared, &shown, &mut mounts)?),
            Step::MaskDir(target) => {
                ops.push(ViewOp::Tmpfs { target: text(&target), mode: 0o755, size: MIB });
            }
            Step::MaskFile(target) => ops.push(null_over(&target)),
        }
    }
    if place.ground.changes.is_some() {
        ops.push(changes::cover(launch));
    }
    let another = place.ground.user.is_some();
    if !shared.privileged() || another {
        ops.push(ViewOp::Own { target: text(&launch.data_dir) });
    }
    if !shared.privileged() {
        let targets = place.ground.volumes.iter().map(|volume| text(&volume.target));
        ops.extend(targets.map(|target| ViewOp::Own { target }));
    }
    if another {
        ops.push(ViewOp::Own { target: MEETING.to_owned() });
    }
    let hostname = launch.instance.id.as_str().to_owned();
    let read_only = launch.root.read_only || bottom == RootPlan::Memory;
    Ok(View { plan: ViewPlan { hostname, root: bottom, read_only, guest: None, ops }, mounts, inside: None })
}

/// A step that depends on the launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Show(Shown),
    MaskDir(PathBuf),
    MaskFile(PathBuf),
}

/// What is shown of the host, with everything hidden masked where it would shine through. The tenant's own
/// directory comes after the masks, because it usually lies below one.
pub(crate) fn steps(launch: &Launch, app_dir: &Path, ground: &Ground, hidden: &[PathBuf]) -> Vec<Step> {
    let workdir = Shown { source: launch.workdir.clone(), target: launch.workdir.clone(), read_only: true };
    let mounts = launch.mounts.iter().map(|Mount { source, target, read_only }| Shown {
        source: source.clone(),
        target: target.clone(),
        read_only: *read_only,
    });
    let mut all = Vec::new();
    for shown in Some(workdir).filter(|_| launch.root.show_workdir).into_iter().chain(mounts) {
        let masks = masks(&shown, hidden);
        all.push(Step::Show(shown));
        all.extend(masks);
    }
    let own = |source: &Path, target: &Path| {
        Step::Show(Shown { source: source.to_owned(), target: target.to_owned(), read_only: false })
    };
    all.push(own(&launch.data_dir, &launch.data_dir));
    all.extend(ground.volumes.iter().map(|volume| own(&volume.source, &volume.target)));
    all.push(own(app_dir, Path::new(MEETING)));
    all
}

/// Masks for what is hidden below a mount, or is it. Links are resolved first: a name must not get around a
/// mask.
fn masks(shown: &Shown, hidden: &[PathBuf]) -> Vec<Step> {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let source = real(&shown.source);
    let mask = |path: &PathBuf| {
        let path = real(path);
        let below = path.strip_prefix(&source).ok()?;
        let target =
            if below.as_os_str().is_empty() { shown.target.clone() } else { shown.target.join(below) };
        match fs::metadata(&path) {
            Ok(m) if m.is_dir() => Some(Step::MaskDir(target)),
            Ok(_) => Some(Step::MaskFile(target)),
            // What is not there cannot shine through.
            Err(_) => None,
        }
    };
    hidden.iter().filter_map(mask).collect()
}

/// With rights over all paths the host opens the mount and passes it; an ordinary user's agent can reach
/// whatever that user can.
pub(crate) fn open(shared: &Shared, shown: &Shown, mounts: &mut Vec<OwnedFd>) -> Result<ViewOp, CannotShow> {
    let cannot = |source| CannotShow { path: shown.source.clone(), source };
    let dir = fs::metadata(&shown.source).map_err(cannot)?.is_dir();
    let target = text(&shown.target);
    if shared.privileged() {
        let tree = mount::clone_tree(&shown.source, Attributes::safe(shown.read_only)).map_err(cannot)?;
        mounts.push(tree);
        return Ok(ViewOp::Attach { target, dir });
    }
    Ok(ViewOp::Bind { source: text(&shown.source), target, read_only: shown.read_only, optional: false })
}

/// Nothing, in the place of a file.
pub(crate) fn null_over(target: &Path) -> ViewOp {
    ViewOp::Bind { source: "/dev/null".to_owned(), target: text(target), read_only: true, optional: false }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The part that is the same for every launch.
pub(crate) fn system(network: Network) -> Vec<ViewOp> {
    let bind = |path: String, optional| ViewOp::Bind {
        source: path.clone(),
        target: path,
        read_only: true,
        optional,
    };
    let mut ops = vec![bind("/usr".to_owned(), false)];
    for dir in SYSTEM {
        match fs::read_link(dir) {
            Ok(to) => ops.push(ViewOp::Symlink { target: dir.to_owned(), to: relative(&to) }),
            Err(_) => ops.push(bind(dir.to_owned(), true)),
        }
    }
    ops.extend(ETC.iter().chain(&ETC_SSL).map(|name| bind(format!("/etc/{name}"), true)));
    ops.extend(names());
    ops.push(resolver(network));
    ops.push(ViewOp::Proc { target: "/proc".to_owned() });
    ops.extend(devices());
    ops.push(tmpfs("/tmp", 0o1777, 256 * MIB));
    ops.push(ViewOp::Symlink { target: "/var/tmp".to_owned(), to: "../tmp".to_owned() });
    ops.push(ViewOp::Symlink { target: "/var/run".to_owned(), to: "../run".to_owned() });
    ops
}

/// What a root file system of its own does not bring, or must not: the kernel's file systems, devices, places
/// for what is gone with a run, the names of its network.
fn own_system(launch: &Launch) -> Vec<ViewOp> {
    let mut ops = vec![ViewOp::Proc { target: "/proc".to_owned() }];
    ops.extend(devices());
    ops.push(tmpfs("/tmp", 0o1777, 256 * MIB));
    if launch.root.read_only {
        ops.push(tmpfs("/run", 0o1777, 64 * MIB));
    }
    ops.extend(names().into_iter().filter(
        |op| !matches!(op, ViewOp::File { target, .. } if target == "/etc/passwd" || target == "/etc/group"),
    ));
    ops.push(resolver(launch.network));
    ops
}

/// Which name servers are asked.
pub(crate) fn resolver(network: Network) -> ViewOp {
    let target = "/etc/resolv.conf".to_owned();
    match network {
        Network::Host => ViewOp::Bind { source: target.clone(), target, read_only: true, optional: true },
        // Whatever is asked comes to the resolver of the network wall.
        Network::Routed => {
            let text = std::fs::read_to_string(&target).unwrap_or_default();
            ViewOp::File { target, content: routed::resolvers(&text).into_bytes() }
        }
        Network::Isolated => ViewOp::File { target, content: b"nameserver 127.0.0.1\n".to_vec() },
    }
}

/// A link of the top directory, said without a leading `/`: while the view is put together, an absolute link
/// would lead out of it.
fn relative(to: &Path) -> String {
    text(to.strip_prefix("/").unwrap_or(to))
}

pub(crate) fn tmpfs(target: &str, mode: u32, size: u64) -> ViewOp {
    ViewOp::Tmpfs { target: target.to_owned(), mode, size }
}

pub(crate) fn names() -> [ViewOp; 4] {
    let file = |name: &str, content: &str| ViewOp::File {
        target: format!("/etc/{name}"),
        content: content.as_bytes().to_vec(),
    };
    [
        file(
            "passwd",
            "root:x:0:0:root:/:/usr/sbin/nologin\napp:x:1000:1000:app:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
        ),
        file("group", "root:x:0:\napp:x:1000:\nnogroup:x:65534:\n"),
        file("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        file("hostname", "localhost\n"),
    ]
}

pub(crate) fn devices() -> Vec<ViewOp> {
    let link = |name: &str, to: &str| ViewOp::Symlink { target: format!("/dev/{name}"), to: to.to_owned() };
    let mut ops = vec![tmpfs("/dev", 0o755, MIB)];
    ops.extend(DEVICES.map(|name| ViewOp::Bind {
        source: format!("/dev/{name}"),
        target: format!("/dev/{name}"),
        read_only: true,
        optional: name == "tty",
    }));
    ops.extend([
        link("fd", "/proc/self/fd"),
        link("stdin", "/proc/self/fd/0"),
        link("stdout", "/proc/self/fd/1"),
        link("stderr", "/proc/self/fd/2"),
    ]);
    ops.push(tmpfs("/dev/shm", 0o1777, 64 * MIB));
    ops
}

#[cfg(test)]
mod tests;
