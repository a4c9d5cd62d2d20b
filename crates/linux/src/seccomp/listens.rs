//! Tells one process when another is about to listen on a socket.
//!
//! ```text
//! workload: listen(fd) ──stopped by the filter──► Listens is readable ──pass──► listen(fd) goes on as it was
//! ```
//! So whoever waits for a workload to accept connections need not ask again and again. Nothing is decided
//! here: every call goes on. Source: seccomp_unotify(2); Linux 5.5 or later.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// `_IOWR('!', 0, struct seccomp_notif)` and `_IOWR('!', 1, struct seccomp_notif_resp)`.
const RECEIVE: libc::c_ulong = 0xc050_2100;
const ANSWER: libc::c_ulong = 0xc018_2101;

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const GO_ON: u32 = 1;

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

const fn load(offset: u32) -> libc::sock_filter {
    libc::sock_filter { code: LOAD, jt: 0, jf: 0, k: offset }
}

const fn skip_unless(value: u32, skipped: u8) -> libc::sock_filter {
    libc::sock_filter { code: JUMP_EQUAL, jt: 0, jf: skipped, k: value }
}

const fn answer(action: u32) -> libc::sock_filter {
    libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: action }
}

/// The other end of a filter that stops calls of listen(2). When it is closed those calls fail with `ENOSYS`.
#[derive(Debug)]
pub struct Listens(OwnedFd);

/// Installs the filter on the calling thread, for good, and on all that it starts.
///
/// The thread must have set `no_new_privs` before. Allocates nothing.
///
/// # Errors
/// Those of seccomp(2); `EBUSY` when a filter of this kind is installed already, as in some containers.
pub fn stop_listens() -> io::Result<OwnedFd> {
    let number = u32::try_from(libc::SYS_listen).map_err(io::Error::other)?;
    let mut filter = [
        load(ARCHITECTURE),
        skip_unless(NATIVE, 3),
        load(NUMBER),
        skip_unless(number, 1),
        answer(libc::SECCOMP_RET_USER_NOTIF),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 6, filter: filter.as_mut_ptr() };
    // SAFETY: `program` points to six initialised instructions that live until the end of this function. The
    // kernel copies and verifies them and keeps no pointer.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    match i32::try_from(fd) {
        // SAFETY: the kernel made this descriptor just now, for nobody else.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether calls of listen(2) can be told here: what [`stop_listens`] answers to a thread that ends with it.
///
/// # Errors
/// Those of [`stop_listens`], of prctl(2), and of making a thread.
pub fn try_listens() -> io::Result<()> {
    let tried = std::thread::Builder::new().name("listens".to_owned()).spawn(|| {
        // Both are of this thread alone.
        rustix::thread::set_no_new_privs(true)?;
        stop_listens().map(drop)
    })?;
    tried.join().unwrap_or_else(|_| Err(io::Error::other("the thread that tried it panicked")))
}

impl Listens {
    /// The end that [`stop_listens`] answered in another process.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Lets a call go on that waits. `false` when nobody is left who could make one.
    ///
    /// # Errors
    /// Those of poll(2) and of the two ioctl(2) calls, but not that the caller ended meanwhile.
    pub fn pass(&self) -> io::Result<bool> {
        let mut state = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut state, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        let state = state[0].revents();
        // Without a waiting call, receiving would wait for one.
        if !state.contains(PollFlags::IN) {
            return Ok(!state.intersects(PollFlags::HUP | PollFlags::ERR));
        }
        // SAFETY: all fields are integers; the kernel wants them zero.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes one `seccomp_notif` into `call`, which lives on.
        let received = unsafe { libc::ioctl(self.0.as_raw_fd(), RECEIVE, &raw mut call) };
        if received != 0 {
            return unless_gone(io::Error::last_os_error());
        }
        let mut answer = libc::seccomp_notif_resp { id: call.id, val: 0, error: 0, flags: GO_ON };
        // SAFETY: the kernel reads one `seccomp_notif_resp` from `answer`, which lives on.
        let answered = unsafe { libc::ioctl(self.0.as_raw_fd(), ANSWER, &raw mut answer) };
        if answered == 0 { Ok(true) } else { unless_gone(io::Error::last_os_error()) }
    }
}

impl AsFd for Listens {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whoever called may have been interrupted or killed: then there is nothing to pass.
fn unless_gone(e: io::Error) -> io::Result<bool> {
    match e.raw_os_error() {
        Some(libc::ENOENT | libc::EINTR) => Ok(true),
        _ => Err(e),
    }
}
