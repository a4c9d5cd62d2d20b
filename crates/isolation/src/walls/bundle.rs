//! The OCI description of a launch, for a driver that makes a container of it (OCI runtime specification, `config.md`).
//!
//! It is the same launch as at the other levels, said in other words. What the description names as sources lies
//! in the view that the agent builds around the driver, never on the host.

use insula_linux::seccomp::oci as filter;
use insula_spec::{IdRange, Launch};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capabilities, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxSeccomp, Mount, MountBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType,
    Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};

use super::root::{self, Ground};

/// Version of the specification that is followed.
const VERSION: &str = "1.0.2";

/// A directory or file of the view that the workload sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) read_only: bool,
}

/// What of a description is not in the launch.
#[derive(Debug)]
pub(crate) struct Bundle<'a> {
    pub(crate) ground: &'a Ground,
    /// Where its root file system is.
    pub(crate) rootfs: &'a str,
    pub(crate) read_only: bool,
    /// In the order in which they are mounted.
    pub(crate) bounds: &'a [Bound],
}

/// The description as JSON.
pub(crate) fn describe(launch: &Launch, bundle: &Bundle<'_>) -> Result<Vec<u8>, OciSpecError> {
    let root = RootBuilder::default().path(bundle.rootfs).readonly(bundle.read_only).build()?;
    let texts = |paths: &[&str]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
    let list: LinuxSeccomp = serde_json::from_value(filter::document())?;
    let linux = LinuxBuilder::default()
        .namespaces(namespaces()?)
        .seccomp(list)
        .masked_paths(texts(&root::MASKED))
        .readonly_paths(texts(&root::READ_ONLY))
        .build()?;
    let spec: Spec = SpecBuilder::default()
        .version(VERSION)
        .root(root)
        .hostname(launch.instance.id.as_str())
        .process(process(launch, bundle.ground)?)
        .mounts(mounts(bundle)?)
        .linux(linux)
        .build()?;
    Ok(serde_json::to_vec(&spec)?)
}

fn process(launch: &Launch, ground: &Ground) -> Result<Process, OciSpecError> {
    let none = Capabilities::new;
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(none())
        .effective(none())
        .permitted(none())
        .inheritable(none())
        .ambient(none())
        .build()?;
    let (uid, gid, groups) = match &ground.user {
        Some(user) => (user.uid, user.gid, user.groups.clone()),
        None => (IdRange::WORKLOAD, IdRange::WORKLOAD, Vec::new()),
    };
    let user = UserBuilder::default().uid(uid).gid(gid).additional_gids(groups).build()?;
    let mut limits: Vec<PosixRlimit> = Vec::new();
    if let Some(files) = launch.limits.open_files {
        let limit = PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile);
        limits.push(limit.soft(u64::from(files)).hard(u64::from(files)).build()?);
    }
    ProcessBuilder::default()
        .terminal(false)
        .user(user)
        .args(ground.argv.clone())
        .env(ground.env.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect::<Vec<_>>())
        .cwd(&ground.cwd)
        .capabilities(capabilities)
        .rlimits(limits)
        .no_new_privileges(true)
        .build()
}

/// Those of the walls are the instance's own already. Process ids stay those of the walls, so that the workload is
/// nobody's PID 1 and signals mean what they mean elsewhere.
fn namespaces() -> Result<Vec<LinuxNamespace>, OciSpecError> {
    use LinuxNamespaceType::{Ipc, Mount, Uts};
    [Mount, Ipc, Uts].map(|typ| LinuxNamespaceBuilder::default().typ(typ).build()).into_iter().collect()
}

fn mounts(bundle: &Bundle<'_>) -> Result<Vec<Mount>, OciSpecError> {
    let kernel = |typ: &str, target: &str, options: &[&str]| {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        MountBuilder::default().destination(target).typ(typ).source(typ).options(options).build()
    };
    let mut all = vec![
        kernel("proc", "/proc", &["nosuid", "nodev", "noexec"])?,
        kernel("tmpfs", "/dev", &["nosuid", "mode=755", "size=1m"])?,
        kernel("tmpfs", "/dev/shm", &["nosuid", "nodev", "mode=1777", "size=64m"])?,
        kernel("tmpfs", "/tmp", &["nosuid", "nodev", "mode=1777", "size=256m"])?,
    ];
    if bundle.read_only && !bundle.ground.layers.is_empty() {
        all.push(kernel("tmpfs", "/run", &["nosuid", "nodev", "mode=1777", "size=64m"])?);
    }
    for bound in bundle.bounds {
        let mode = if bound.read_only { "ro" } else { "rw" };
        let options = ["rbind", "nosuid", "nodev", mode].map(ToOwned::to_owned).to_vec();
        let mount = MountBuilder::default().destination(&bound.target).typ("bind");
        all.push(mount.source(&bound.source).options(options).build()?);
    }
    Ok(all)
}
