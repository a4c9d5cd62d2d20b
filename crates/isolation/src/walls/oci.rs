//! The OCI description of a guest, for the program that makes containers of it (OCI runtime specification,
//! `config.md`).
//!
//! It is the same for every workload: an agent that waits, in a root file system that is filled when it is known for
//! whom. What it names as sources lies in the view that the agent outside builds around that program, never on the host.

use insula_frames::GUEST_AGENT;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capabilities, Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType, Mount, MountBuilder, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
    UserBuilder,
};

/// Version of the specification that is followed.
const VERSION: &str = "1.0.2";

/// What the agent of the guest is allowed, by the guest's own kernel: mounts, the ids of the workload, its end. The
/// workload gets none of it.
const AGENTS: [Capability; 9] = [
    Capability::SysAdmin,
    Capability::SysChroot,
    Capability::Setuid,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Kill,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
];

/// The description as JSON: `root` is the guest's first root, `own` a directory that it sees under the same name, `words`
/// are told to the agent.
pub(crate) fn describe(root: &str, own: &str, words: &[&str]) -> Result<Vec<u8>, OciSpecError> {
    let root = RootBuilder::default().path(root).readonly(false).build()?;
    let linux = LinuxBuilder::default().namespaces(namespaces()?).build()?;
    let spec: Spec = SpecBuilder::default()
        .version(VERSION)
        .root(root)
        .hostname("localhost")
        .process(process(words)?)
        .mounts(mounts(own)?)
        .linux(linux)
        .build()?;
    Ok(serde_json::to_vec(&spec)?)
}

fn process(words: &[&str]) -> Result<Process, OciSpecError> {
    let allowed = || Capabilities::from(AGENTS);
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(allowed())
        .effective(allowed())
        .permitted(allowed())
        .inheritable(Capabilities::new())
        .ambient(Capabilities::new())
        .build()?;
    ProcessBuilder::default()
        .terminal(false)
        .user(UserBuilder::default().uid(0u32).gid(0u32).build()?)
        .args(std::iter::once(&GUEST_AGENT).chain(words).map(ToString::to_string).collect::<Vec<_>>())
        .env(Vec::new())
        .cwd("/")
        .capabilities(capabilities)
        .rlimits(Vec::new())
        .no_new_privileges(true)
        .build()
}

/// Those of the view around it are the instance's own already; the network stays as it is.
fn namespaces() -> Result<Vec<LinuxNamespace>, OciSpecError> {
    use LinuxNamespaceType::{Ipc, Mount, Pid, Uts};
    [Pid, Mount, Ipc, Uts].map(|typ| LinuxNamespaceBuilder::default().typ(typ).build()).into_iter().collect()
}

fn mounts(own: &str) -> Result<Vec<Mount>, OciSpecError> {
    let mount = |typ: &str, source: &str, target: &str, options: &[&str]| {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        MountBuilder::default().destination(target).typ(typ).source(source).options(options).build()
    };
    Ok(vec![
        mount("proc", "proc", "/proc", &["nosuid", "nodev", "noexec"])?,
        mount("tmpfs", "tmpfs", "/dev", &["nosuid", "mode=755", "size=1m"])?,
        mount("bind", own, own, &["rbind", "nosuid", "nodev", "rw"])?,
    ])
}
