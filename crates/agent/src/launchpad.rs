//! A child that waits, already in the workload's control groups and under its system call filters, for the
//! word what to execute.
//!
//! Joining control groups and installing a filter cost milliseconds; done ahead, a launch costs little more
//! than the execution. What is left to do here, the filters allow: it is what any program may do with itself.

mod guest;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use insula_frames::{GUEST_ROOT, LaunchPlan, Role, Step, ToAgent};
use insula_linux::fork::{self, Fork};
use insula_linux::seccomp::Listens;
use insula_linux::{credentials, landlock, scm, seccomp, signals};
use rustix::process::{Pid, Resource, Rlimit};

use crate::output::OutputPipe;
use crate::stage0::join;

/// A failure on its way from the launchpad: the step, then the error number.
const REPORT: usize = 5;
/// What the launchpad says in the place of a step when it is ready. Beside it may come what tells of listens.
const READY: u8 = u8::MAX;

/// The last word that the launchpad waits for.
const GO: u8 = 1;

/// The waiting child, seen from the agent.
pub(crate) struct Launchpad {
    pid: Pid,
    control: UnixStream,
    /// What the workload writes, unless that is what this process writes.
    pub(crate) outputs: Vec<OutputPipe>,
    /// What it failed at before it was ready.
    failed: Option<(Step, i32)>,
}

/// What became of an execution.
pub(crate) enum Outcome {
    /// The program runs.
    Executed,
    /// This step failed with this error number.
    Failed(Step, i32),
    /// Not decided yet.
    Undecided,
}

impl Launchpad {
    /// Forks the child and lets it join these control groups and install these filters.
    pub(crate) fn prepare(groups: &[OwnedFd], filters: &[Vec<u8>]) -> io::Result<Self> {
        let (control, theirs) = UnixStream::pair()?;
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let ((stdout, stdout_w), (stderr, stderr_w)) = (pipe()?, pipe()?);
        rustix::io::ioctl_fionbio(&stdout, true)?;
        rustix::io::ioctl_fionbio(&stderr, true)?;
        let outputs = vec![OutputPipe::new(stdout, false), OutputPipe::new(stderr, true)];
        // SAFETY: the agent has one thread for all its life.
        match unsafe { fork::fork() }? {
            Fork::Parent(pid) => Ok(Self { pid, control, outputs, failed: None }),
            Fork::Child => {
                drop(control);
                let outputs = [stdout_w.as_raw_fd(), stderr_w.as_raw_fd()];
                let done = get_ready(&theirs, groups, filters);
                let done = done.and_then(|()| stand_by(&theirs, |plan| prepare(&theirs, plan, outputs)));
                fork::leave(i32::from(done.or_else(|failure| report(&theirs, failure)).is_err()))
            }
        }
    }

    /// Forks the child behind a wall, for a workload below `root`: it writes where this process does, and has no
    /// groups or filters to take. With a plan, it rehearses that first.
    pub(crate) fn behind_a_wall(root: &'static str, rehearsed: Option<&LaunchPlan>) -> io::Result<Self> {
        let (control, theirs) = UnixStream::pair()?;
        // SAFETY: the agent has one thread for all its life.
        match unsafe { fork::fork() }? {
            Fork::Parent(pid) => Ok(Self { pid, control, outputs: Vec::new(), failed: None }),
            Fork::Child => {
                drop(control);
                let ready = || scm::send(&theirs, &[READY], &[]).map(drop).map_err(at(Step::Exec));
                let done = guest::settle_ahead()
                    .and_then(|()| rehearsed.map_or(Ok(()), guest::rehearse))
                    .and_then(|()| ready());
                let done = done.and_then(|()| stand_by(&theirs, |plan| guest::prepare_inside(plan, root)));
                fork::leave(i32::from(done.or_else(|failure| report(&theirs, failure)).is_err()))
            }
        }
    }

    /// Its pid, which the workload will have.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until it is ready, which it usually has been for long. Answers what tells of its listens, where
    /// the kernel can.
    pub(crate) fn ready(&mut self) -> io::Result<Option<Listens>> {
        self.word().map(|fd| fd.map(Listens::new))
    }

    /// Where the agent behind the wall will answer that it was told to become.
    pub(crate) fn guest(&mut self) -> io::Result<OwnedFd> {
        self.word()?.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Waits until it says that it goes on, perhaps with a descriptor, or what failed.
    fn word(&mut self) -> io::Result<Option<OwnedFd>> {
        let (mut word, mut fds) = ([0; 1], Vec::new());
        loop {
            match scm::recv(&self.control, &mut word, &mut fds) {
                Ok(1) if word[0] == READY => return Ok(fds.pop()),
                Ok(1) => break,
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let mut errno = [0; REPORT - 1];
        self.control.read_exact(&mut errno)?;
        self.failed = Some((Step::from_code(word[0]).unwrap_or(Step::Exec), i32::from_le_bytes(errno)));
        Err(io::ErrorKind::BrokenPipe.into())
    }

    /// Tells it what to execute, once it is told to [`Launchpad::go`].
    pub(crate) fn launch(&mut self, plan: &LaunchPlan) -> io::Result<()> {
        let frame =
            ToAgent::Launch(Box::new(LaunchPlan { view: None, spill: false, ..plan.clone() })).encode();
        self.control.write_all(&frame)
    }

    /// Lets it execute.
    pub(crate) fn go(&mut self) -> io::Result<()> {
        self.control.write_all(&[GO])?;
        self.control.set_nonblocking(true)
    }

    /// What became of it. The child's end closes when the program is executed.
    pub(crate) fn outcome(&mut self) -> Outcome {
        match self.failed {
            Some((step, errno)) => Outcome::Failed(step, errno),
            None => outcome_of(&mut self.control),
        }
    }
}

/// What became of an execution, by what a child says that is about to execute, or has.
pub(crate) fn outcome_of(control: &mut UnixStream) -> Outcome {
    let mut report = [0; REPORT];
    match control.read(&mut report) {
        Ok(0) => Outcome::Executed,
        Ok(REPORT) => {
            let [step, errno @ ..] = report;
            Outcome::Failed(Step::from_code(step).unwrap_or(Step::Exec), i32::from_le_bytes(errno))
        }
        Ok(_) => Outcome::Failed(Step::Exec, 0),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Outcome::Undecided,
        Err(_) => Outcome::Failed(Step::Exec, 0),
    }
}

impl AsFd for Launchpad {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.control.as_fd()
    }
}

/// A step of the child's that failed.
pub(crate) type Failure = (Step, io::Error);

fn at(step: Step) -> impl FnOnce(io::Error) -> Failure {
    move |e| (step, e)
}

/// What can be done before it is known what to execute.
fn get_ready(control: &UnixStream, groups: &[OwnedFd], filters: &[Vec<u8>]) -> Result<(), Failure> {
    join(groups).map_err(at(Step::Limits))?;
    rustix::thread::set_no_new_privs(true).map_err(|e| (Step::Filter, e.into()))?;
    // Before the filters, which know nothing of it. It is a convenience: without it the agent looks again and
    // again. The host tries the same when it starts, and tells where it fails.
    let listens = seccomp::stop_listens().ok();
    let fds: Vec<_> = listens.iter().map(AsFd::as_fd).collect();
    scm::send(control, &[READY], &fds).map_err(at(Step::Filter))?;
    drop(listens);
    if !filters.is_empty() {
        // A second wall where there are others. Not every kernel has it; the host tells where it is not.
        landlock::keep_to_itself().map_err(at(Step::Filter))?;
    }
    filters.iter().try_for_each(|filter| seccomp::install(filter)).map_err(at(Step::Filter))
}

/// The same for a command beside the workload, which nobody waits for and whose listens nobody looks for.
pub(crate) fn confine(groups: &[OwnedFd], filters: &[Vec<u8>]) -> Result<(), Failure> {
    join(groups).map_err(at(Step::Limits))?;
    rustix::thread::set_no_new_privs(true).map_err(|e| (Step::Filter, e.into()))?;
    if !filters.is_empty() {
        // Where there are filters there is a pid namespace; in it the workload may be sent a signal.
        landlock::keep_off_sockets().map_err(at(Step::Filter))?;
    }
    filters.iter().try_for_each(|filter| seccomp::install(filter)).map_err(at(Step::Filter))
}

/// Waits for the plan, prepares and executes it. Returns only if that fails or the agent went away.
fn stand_by(
    control: &UnixStream,
    prepare: impl FnOnce(&LaunchPlan) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match read_plan(control).map_err(at(Step::Exec))? {
        Some(plan) => prepare(&plan).and_then(|()| execute(control, &plan)),
        None => Ok(()),
    }
}

/// Tells the agent what failed.
pub(crate) fn report(mut control: &UnixStream, (step, e): Failure) -> io::Result<()> {
    let mut report = [step.code(); REPORT];
    report[1..].copy_from_slice(&e.raw_os_error().unwrap_or(0).to_le_bytes());
    control.write_all(&report)
}

fn read_plan(mut control: &UnixStream) -> io::Result<Option<LaunchPlan>> {
    let mut head = [0; 4];
    if let Err(e) = control.read_exact(&mut head) {
        return if e.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(e) };
    }
    let mut body = vec![0; usize::try_from(u32::from_le_bytes(head)).map_err(io::Error::other)?];
    control.read_exact(&mut body)?;
    let (kind, fields) = body.split_first().ok_or(io::ErrorKind::InvalidData)?;
    match ToAgent::decode(*kind, fields) {
        Ok(ToAgent::Launch(plan)) => Ok(Some(*plan)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Becomes the workload, when it is time. Returns if the agent went away, and with what failed.
fn execute(mut control: &UnixStream, plan: &LaunchPlan) -> Result<(), Failure> {
    match control.read_exact(&mut [0]) {
        Ok(()) => Err(become_program(&plan.argv, plan)),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(e) => Err((Step::Exec, e)),
    }
}

/// Executes this program with everything else of the plan. Returns with what failed.
pub(crate) fn become_program(argv: &[String], plan: &LaunchPlan) -> Failure {
    let filtered = last_filters(plan);
    filtered.err().unwrap_or_else(|| (Step::Exec, fork::exec(argv, &plan.env, path_of(&plan.env))))
}

/// Last of all: what the agent does for a start need not be allowed by them.
pub(crate) fn last_filters(plan: &LaunchPlan) -> Result<(), Failure> {
    plan.filters.iter().try_for_each(|filter| seccomp::install(filter)).map_err(at(Step::Filter))
}

fn path_of(env: &[String]) -> &str {
    env.iter().find_map(|v| v.strip_prefix("PATH=")).unwrap_or("/usr/bin:/bin")
}

/// What a program gets as its standard input: nothing, or the other end of what the agent hears its guest by.
fn stdin(control: &UnixStream, plan: &LaunchPlan) -> io::Result<OwnedFd> {
    if plan.role != Role::Wall {
        return File::open("/dev/null").map(OwnedFd::from);
    }
    let (near, far) = UnixStream::pair()?;
    scm::send(control, &[READY], &[near.as_fd()])?;
    Ok(far.into())
}

fn limit(what: Resource, n: u32) -> Result<(), Failure> {
    let limit = Rlimit { current: Some(u64::from(n)), maximum: Some(u64::from(n)) };
    rustix::process::setrlimit(what, limit).map_err(|e| (Step::Limits, e.into()))
}

/// The program has core files only if it raises its own limit. The daemon's, which is inherited, is for the daemon.
fn no_core_unless_it_asks() -> Result<(), Failure> {
    let limit = Rlimit { current: Some(0), ..rustix::process::getrlimit(Resource::Core) };
    rustix::process::setrlimit(Resource::Core, limit).map_err(|e| (Step::Limits, e.into()))
}

fn prepare(control: &UnixStream, plan: &LaunchPlan, outputs: [RawFd; 2]) -> Result<(), Failure> {
    let stdin = stdin(control, plan).map_err(at(Step::View))?;
    settle_in(plan, [stdin.as_raw_fd(), outputs[0], outputs[1]])
}

/// Takes on streams, limits, ids and directory of a plan, and gives up everything that the program shall not have.
pub(crate) fn settle_in(plan: &LaunchPlan, streams: [RawFd; 3]) -> Result<(), Failure> {
    for (from, to) in streams.into_iter().zip(0..) {
        fork::place_fd(from, to).map_err(at(Step::View))?;
    }
    plan.open_files.map_or(Ok(()), |n| limit(Resource::Nofile, n))?;
    rustix::process::setsid().map_err(|e| (Step::Ids, e.into()))?;
    if matches!(plan.role, Role::Wall | Role::Driver) {
        // It gives up what it does not need by itself, behind filters of its own.
        credentials::become_id(0).map_err(at(Step::Ids))?;
        rustix::process::chdir(plan.cwd.as_str()).map_err(|e| (Step::Cwd, e.into()))?;
        return signals::unblock_all().map_err(at(Step::Exec));
    }
    no_core_unless_it_asks()?;
    if let Role::Guest(plan) = &plan.role {
        guest::enter(plan, GUEST_ROOT)?;
    }
    credentials::empty_bounding_set().map_err(at(Step::Ids))?;
    if let Some(ids) = plan.ids {
        credentials::become_user(ids.workload, ids.group, &plan.groups).map_err(at(Step::Ids))?;
    }
    rustix::process::chdir(plan.cwd.as_str()).map_err(|e| (Step::Cwd, e.into()))?;
    credentials::renounce().map_err(at(Step::Ids))?;
    signals::unblock_all().map_err(at(Step::Exec))
}
