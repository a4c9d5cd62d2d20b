//! The launchpad behind a wall: what it does ahead, because each call to the kernel of a guest is dear, and what is left.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use insula_frames::{GuestPlan, LaunchPlan, Role, Step, ToAgent};
use insula_linux::{credentials, fork, signals};
use rustix::process::Resource;
use rustix::thread::CapabilitySet;

use super::{Failure, at, limit, read_plan};

/// Goes below the root of a guest's workload, bounded as that is.
pub(super) fn enter(guest: &GuestPlan, root: &str) -> Result<(), Failure> {
    // The one that takes on the user's id is not counted there.
    guest.processes.map_or(Ok(()), |n| limit(Resource::Nproc, n.saturating_sub(1)))?;
    rustix::process::chroot(root).map_err(|e| (Step::View, e.into()))
}

/// What can be done ahead behind a wall, where each call to the kernel costs a change of processes, and each first
/// use of a page some more.
pub(super) fn settle_ahead() -> Result<(), Failure> {
    let stdin = File::open("/dev/null").map_err(at(Step::View))?;
    fork::place_fd(stdin.as_raw_fd(), 0).map_err(at(Step::View))?;
    rustix::process::setsid().map_err(|e| (Step::Ids, e.into()))?;
    credentials::empty_bounding_set().map_err(at(Step::Ids))?;
    rustix::thread::set_no_new_privs(true).map_err(|e| (Step::Ids, e.into()))?;
    signals::unblock_all().map_err(at(Step::Exec))
}

/// Reads a plan, and makes every call of a launch once, to no effect.
pub(super) fn rehearse(plan: &LaunchPlan) -> Result<(), Failure> {
    let failed = |e: rustix::io::Errno| (Step::Ids, e.into());
    let (mut told, control) = UnixStream::pair().map_err(at(Step::Exec))?;
    told.write_all(&ToAgent::Launch(Box::new(plan.clone())).encode()).map_err(at(Step::Exec))?;
    read_plan(&control).map_err(at(Step::Exec))?;
    rustix::process::setrlimit(Resource::Nproc, rustix::process::getrlimit(Resource::Nproc))
        .map_err(failed)?;
    rustix::process::chroot("/").map_err(failed)?;
    credentials::become_id(0).map_err(at(Step::Ids))?;
    rustix::process::chdir("/").map_err(failed)?;
    rustix::thread::set_capabilities(None, rustix::thread::capabilities(None).map_err(failed)?)
        .map_err(failed)?;
    // There is no such program: that is the one thing that can come of it.
    drop(fork::exec(&["/nowhere/nothing".to_owned()], &[], ""));
    Ok(())
}

/// The rest of it, below `root`.
pub(super) fn prepare_inside(plan: &LaunchPlan, root: &str) -> Result<(), Failure> {
    let Role::Guest(guest) = &plan.role else {
        return Err((Step::Exec, io::ErrorKind::InvalidData.into()));
    };
    plan.open_files.map_or(Ok(()), |n| limit(Resource::Nofile, n))?;
    enter(guest, root)?;
    if let Some(ids) = plan.ids {
        credentials::become_user(ids.workload, ids.group, &plan.groups).map_err(at(Step::Ids))?;
    }
    rustix::process::chdir(plan.cwd.as_str()).map_err(|e| (Step::Cwd, e.into()))?;
    // The root of an image keeps what it has until here.
    credentials::keep_only(CapabilitySet::empty()).map_err(at(Step::Ids))
}
