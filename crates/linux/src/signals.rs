//! Signals as readable events (signalfd(2)) and as messages to processes that one's own agent started.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

/// A set of blocked signals that arrive through a descriptor instead.
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

impl SignalFd {
    /// Blocks these signals in the calling thread and receives them here. Non-blocking, close-on-exec.
    ///
    /// # Errors
    /// Those of sigprocmask(2) and signalfd(2).
    pub fn block(signals: &[i32]) -> io::Result<Self> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set it is given; every later call gets that same set, and a
        // null pointer where the old mask is not wanted.
        let fd = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in signals {
                libc::sigaddset(set.as_mut_ptr(), *signal);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) < 0 {
                return Err(io::Error::last_os_error());
            }
            libc::signalfd(-1, set.as_ptr(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd just returned this descriptor; nothing else owns it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The next pending signal, if any.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn next(&self) -> io::Result<Option<i32>> {
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.fd, &mut info) {
            Ok(_) => {
                let [a, b, c, d, ..] = info;
                Ok(Some(i32::from_ne_bytes([a, b, c, d])))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for SignalFd {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

/// Unblocks every signal, for a program that found some blocked when it began.
///
/// # Errors
/// Those of sigprocmask(2).
pub fn unblock_inherited() -> io::Result<()> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set that sigprocmask then reads.
    let done = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut())
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Unblocks every signal, for a program about to be executed, and lets SIGPIPE end it as usual: the Rust
/// runtime ignores that one, and what is ignored stays so over an execution.
///
/// # Errors
/// Those of sigprocmask(2).
pub fn unblock_all() -> io::Result<()> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: no handler is installed, only the default; sigemptyset initialises the set that sigprocmask
    // then reads.
    let done = unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut())
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends a signal to a child that was not waited for yet, so that its pid cannot have been reused.
///
/// # Errors
/// Those of kill(2).
#[allow(clippy::disallowed_methods, reason = "the contract of this function is what the ban asks for")]
pub fn signal_child(child: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) touches no memory.
    if unsafe { libc::kill(child.as_raw_nonzero().get(), signal) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sends a signal to the process group of a child that was not waited for yet, so that its number cannot have been
/// reused; a child that has no group of its own yet gets it alone. Nobody being there is no error.
///
/// # Errors
/// Those of kill(2).
#[allow(clippy::disallowed_methods, reason = "the contract of this function is what the ban asks for")]
pub fn signal_group(child: Pid, signal: i32) -> io::Result<()> {
    let pid = child.as_raw_nonzero().get();
    for target in [-pid, pid] {
        // SAFETY: kill(2) touches no memory.
        if unsafe { libc::kill(target, signal) } < 0 {
            let e = io::Error::last_os_error();
            if e.raw_os_error() != Some(libc::ESRCH) {
                return Err(e);
            }
        }
    }
    Ok(())
}

/// The pid of a child that ended and was not waited for yet, if there is one. It is left as it is: its number stays
/// taken until it is waited for.
///
/// # Errors
/// Those of waitid(2); `ECHILD` where there is no child at all.
pub fn ended_child() -> io::Result<Option<Pid>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: waitid writes into `info`, which is of its type; all zeroes is a valid value of it.
    if unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: initialised above; after waitid the field is that of a child, and zero where there was none.
    Ok(Pid::from_raw(unsafe { info.assume_init().si_pid() }))
}

/// Sends a signal to every process of the caller's pid namespace but the caller, which must be its PID 1.
///
/// # Errors
/// `PermissionDenied` when the caller is not PID 1 of its namespace; those of kill(2). No process left is
/// not an error.
#[allow(clippy::disallowed_methods, reason = "in a namespace of one's own, all others are one's own")]
pub fn signal_all_others(signal: i32) -> io::Result<()> {
    if rustix::process::getpid() != Pid::INIT {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not the init of a pid namespace"));
    }
    // SAFETY: kill(2) touches no memory; -1 reaches only this pid namespace.
    if unsafe { libc::kill(-1, signal) } == 0 {
        return Ok(());
    }
    let e = io::Error::last_os_error();
    if e.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(e) }
}
