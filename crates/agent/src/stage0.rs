//! From an ordinary child of the host to a blank shell.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use insula_frames::{FromAgent, Setup, Step, ToAgent, Walls};
use insula_linux::fork::{self, Fork};
use insula_linux::{loopback, wall};
use rustix::thread::UnshareFlags;

use crate::host::Connection;
use crate::inside::Agent;
use crate::launchpad::Launchpad;

/// What a shell is made from.
pub(crate) struct Material {
    pub(crate) key: String,
    pub(crate) epoch: u64,
    pub(crate) listener: OwnedFd,
    pub(crate) app_groups: Vec<OwnedFd>,
    /// System call filters of the workload.
    pub(crate) filters: Vec<Vec<u8>>,
    pub(crate) own_pids: bool,
    /// Means something to the host as long as it is open.
    pub(crate) _token: Option<OwnedFd>,
    /// Listeners of the network wall, or why there are none.
    pub(crate) egress: Result<Vec<OwnedFd>, i32>,
}

/// Runs all stages. What went wrong has been told to the host.
pub(crate) fn run() -> Result<(), ()> {
    // SAFETY: the host passes the control socket as standard input, and nothing else in this process owns
    // descriptor 0.
    let control = unsafe { OwnedFd::from_raw_fd(0) };
    let mut host = Connection::new(keep_off_standard_streams(control).map_err(drop)?).map_err(drop)?;
    match raise(&mut host) {
        Ok(Some((material, launchpad))) => {
            Agent::new(host, material, launchpad).and_then(Agent::run).map_err(drop)
        }
        Ok(None) => Ok(()),
        Err((step, e, detail)) => {
            let errno = e.raw_os_error().unwrap_or(0);
            let detail = if errno == 0 { format!("{detail}: {e}") } else { detail.to_owned() };
            host.send(&FromAgent::Failed { step, errno, detail });
            host.flush().map_err(drop)?;
            Err(())
        }
    }
}

/// Puts /dev/null in the place of the socket and closes whatever else was inherited: none of it may reach a
/// workload.
pub(crate) fn keep_off_standard_streams(control: OwnedFd) -> io::Result<OwnedFd> {
    let moved = rustix::io::fcntl_dupfd_cloexec(&control, 3)?;
    // Descriptor 0 stays open for good, as /dev/null.
    std::mem::forget(control);
    // SAFETY: this is the start of the process: beside the standard streams it owns only the socket.
    unsafe { fork::close_all_but(moved.as_fd()) }?;
    let null = std::fs::File::open("/dev/null")?;
    fork::place_fd(null.as_raw_fd(), 0)?;
    Ok(moved)
}

type Failure = (Step, io::Error, &'static str);

/// Raises the walls. Answers in the child, which is the shell; the parent tells its pid and ends here.
fn raise(host: &mut Connection) -> Result<Option<(Material, Launchpad)>, Failure> {
    let walls = |detail| move |e: io::Error| (Step::Walls, e, detail);
    let Some((frame, fds)) = host.wait_frame().map_err(walls("first frame"))? else { return Ok(None) };
    let ToAgent::Setup(setup) = frame else {
        let e = io::Error::from(io::ErrorKind::InvalidData);
        return Err((Step::Walls, e, "the first frame is not Setup"));
    };
    let (mut material, agent_groups) = sort_out(&setup, fds).map_err(walls("descriptors of Setup"))?;
    join(&agent_groups).map_err(walls("control group of the agent"))?;
    drop(agent_groups);
    let outside = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    // SAFETY: this process has had one thread from its start.
    unsafe { fork::unshare(flags(setup.walls)) }.map_err(walls("new namespaces"))?;
    if let Some(inside) = setup.map_self {
        map_self(inside, outside).map_err(walls("id map"))?;
    }
    if setup.walls.has(Walls::NET) {
        loopback::bring_up().map_err(walls("loopback interface"))?;
        if !setup.walls.has(Walls::ROUTED) {
            material.egress = build_wall();
        }
    }
    // SAFETY: this process has had one thread from its start.
    match unsafe { fork::fork() }.map_err(walls("fork"))? {
        Fork::Parent(pid) => {
            host.send(&FromAgent::ShellReady { pid: pid.as_raw_nonzero().get() });
            host.flush().map_err(walls("tell the pid"))?;
            fork::leave(0)
        }
        Fork::Child => shell(material, setup.walls).map(Some),
    }
}

/// What the workload tries to reach comes to listeners of ours. Where the kernel cannot do that, nothing leads
/// out at all: the host is told why when it asks.
fn build_wall() -> Result<Vec<OwnedFd>, i32> {
    wall::build().map(|listeners| listeners.0).map_err(|e| e.raw_os_error().unwrap_or(libc::EIO))
}

/// The first steps inside: a session of its own, orphans come here, the launchpad waits.
fn shell(material: Material, walls: Walls) -> Result<(Material, Launchpad), Failure> {
    let failed = |detail| move |e: io::Error| (Step::Walls, e, detail);
    rustix::process::setsid().map_err(|e| (Step::Walls, e.into(), "session"))?;
    if !walls.has(Walls::PID) {
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own)).map_err(|e| (Step::Walls, e.into(), "subreaper"))?;
    }
    // The one who listens is the one whom a host sees as its peer (unix(7), SO_PEERCRED).
    rustix::net::listen(&material.listener, 4).map_err(|e| (Step::Walls, e.into(), "listen"))?;
    if walls.has(Walls::MOUNT) {
        insula_linux::mount::make_private().map_err(failed("private mounts"))?;
    }
    let launchpad =
        Launchpad::prepare(&material.app_groups, &material.filters).map_err(failed("launchpad"))?;
    Ok((material, launchpad))
}

/// Gives each descriptor beside `Setup` its meaning; the second value are the agent's control groups.
fn sort_out(setup: &Setup, fds: Vec<OwnedFd>) -> io::Result<(Material, Vec<OwnedFd>)> {
    let mut fds = fds.into_iter();
    let agent_groups: Vec<_> = fds.by_ref().take(usize::from(setup.agent_groups)).collect();
    let app_groups: Vec<_> = fds.by_ref().take(usize::from(setup.app_groups)).collect();
    let listener = fds.next().ok_or(io::ErrorKind::InvalidData)?;
    rustix::io::ioctl_fionbio(&listener, true)?;
    let own_pids = setup.walls.has(Walls::PID);
    let (key, filters) = (setup.key.clone(), setup.filters.clone());
    let (_token, egress) = (fds.next().filter(|_| setup.token), Err(0));
    let epoch = setup.epoch;
    Ok((Material { key, epoch, listener, app_groups, filters, own_pids, _token, egress }, agent_groups))
}

/// Puts the calling process, which has one thread, into control groups that are joined through these files.
pub(crate) fn join(groups: &[OwnedFd]) -> io::Result<()> {
    for group in groups {
        rustix::io::write(group.as_fd(), b"0")?;
    }
    Ok(())
}

fn flags(walls: Walls) -> UnshareFlags {
    let pairs = [
        (Walls::USER, UnshareFlags::NEWUSER),
        (Walls::PID, UnshareFlags::NEWPID),
        (Walls::MOUNT, UnshareFlags::NEWNS),
        (Walls::NET, UnshareFlags::NEWNET),
        (Walls::IPC, UnshareFlags::NEWIPC),
        (Walls::UTS, UnshareFlags::NEWUTS),
    ];
    pairs.into_iter().filter(|(wall, _)| walls.has(*wall)).map(|(_, flag)| flag).collect()
}

/// Maps the id that the caller had outside to `inside`, the one mapping that needs no privilege
/// (user_namespaces(7)).
fn map_self(inside: u32, outside: (u32, u32)) -> io::Result<()> {
    write_proc("/proc/self/setgroups", "deny")?;
    write_proc("/proc/self/uid_map", &format!("{inside} {} 1", outside.0))?;
    write_proc("/proc/self/gid_map", &format!("{inside} {} 1", outside.1))
}

fn write_proc(path: &str, text: &str) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}
