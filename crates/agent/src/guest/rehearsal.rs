//! One launch that nobody asked for, before the agent of a guest says that it waits.
//!
//! ```text
//! launchpad of the workload waits ──► a second root ──► its own launchpad ──executes──► this program, which ends
//! ```
//! What the guest's kernel does for the first time costs it several times as much as later: it makes processes of the
//! host to stand for those of the guest, and keeps them when theirs end; it patches programs where they call it. Here
//! all that is paid while nobody waits. Nothing of it is left but what the kernel keeps: the second root is a directory
//! in the guest's own memory, and is unmounted.

use std::fs;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use insula_frames::{
    GUEST_AGENT, GUEST_ROOT, GuestPlan, Ids, LaunchPlan, Probe, Role, RootPlan, ToAgent, ViewOp, ViewPlan,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{WaitOptions, waitpid};

use super::room::Room;
use crate::host::Connection;
use crate::launchpad::{Launchpad, Outcome};

/// The second root. The place of the first one must stay unknown to the guest's kernel until it is filled: what it has
/// looked at, it does not look at again.
const PLACE: &str = "/dev/rehearsal";
/// The word by which this program knows that it is the one that is launched.
const EXTRA: &str = "extra";

/// An ordinary user of the guest.
const SOMEBODY: u32 = 1000;

/// Whether this process is the one that was launched; all that it has to do is end.
pub(crate) fn is_extra() -> Option<ExitCode> {
    (std::env::args().nth(1).as_deref() == Some(EXTRA)).then_some(ExitCode::SUCCESS)
}

/// Launches, and waits for the end. Answers the launchpad of the workload, which has rehearsed, too.
pub(super) fn run() -> io::Result<Launchpad> {
    let plan = heard(plan())?;
    // Before the other one: what stands for that one's processes is then free for the workload.
    let waiting = Launchpad::behind_a_wall(GUEST_ROOT, Some(&plan))?;
    fs::create_dir(PLACE)?;
    let mut pad = Launchpad::behind_a_wall(PLACE, None)?;
    let Role::Guest(guest) = &plan.role else { return Err(io::ErrorKind::InvalidData.into()) };
    let furnished = Room::at(PLACE).furnish(&guest.root, &guest.view);
    drop(furnished.map_err(|failure| io::Error::new(failure.error.kind(), failure.on))?);
    pad.ready()?;
    pad.launch(&plan)?;
    pad.go()?;
    executed(&mut pad)?;
    waitpid(Some(pad.pid()), WaitOptions::empty())?;
    unmount(PLACE, UnmountFlags::DETACH)?;
    fs::remove_dir(PLACE)?;
    Ok(waiting)
}

/// Sends a plan to itself, the way in which the host will.
fn heard(plan: LaunchPlan) -> io::Result<LaunchPlan> {
    let (mut host, guest) = UnixStream::pair()?;
    host.write_all(&ToAgent::Launch(Box::new(plan)).encode())?;
    match Connection::new(guest.into())?.wait_frame()? {
        Some((ToAgent::Launch(plan), _)) => Ok(*plan),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn executed(pad: &mut Launchpad) -> io::Result<()> {
    loop {
        match pad.outcome() {
            Outcome::Executed => return Ok(()),
            Outcome::Failed(_, errno) => return Err(io::Error::from_raw_os_error(errno)),
            Outcome::Undecided => {}
        }
        poll(&mut [PollFd::new(pad, PollFlags::IN)], None)?;
    }
}

/// A plan like others: the same mounts, read as the one that will come.
fn plan() -> LaunchPlan {
    let bind = |from: &str| ViewOp::Bind {
        source: from.to_owned(),
        target: from.to_owned(),
        read_only: true,
        optional: false,
    };
    let ops = vec![
        ViewOp::Proc { target: "/proc".to_owned() },
        bind("/dev"),
        ViewOp::Tmpfs { target: "/dev/shm".to_owned(), mode: 0o1777, size: 1 << 20 },
        bind("/own"),
    ];
    let hostname = "localhost".to_owned();
    let view = ViewPlan { hostname, root: RootPlan::Memory, read_only: true, guest: None, ops };
    let guest = GuestPlan { root: "/".to_owned(), view, processes: Some(1 << 10) };
    LaunchPlan {
        argv: [GUEST_AGENT, EXTRA].map(ToOwned::to_owned).to_vec(),
        env: vec!["PATH=/".to_owned()],
        cwd: "/".to_owned(),
        ids: Some(Ids { agent_root: true, workload: SOMEBODY, group: SOMEBODY }),
        groups: Vec::new(),
        view: None,
        open_files: None,
        stop_signal: None,
        role: Role::Guest(Box::new(guest)),
        probe: Probe { port: 0, socket: String::new() },
        filters: Vec::new(),
        spill: false,
    }
}
