//! Making processes from a single-threaded one, and replacing them.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Which side of a fork one is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The parent, with the child's pid.
    Parent(Pid),
    /// The child.
    Child,
}

/// Duplicates this process.
///
/// # Errors
/// Those of fork(2).
///
/// # Safety
/// The process must have one thread: the child may then use anything the parent could.
pub unsafe fn fork() -> io::Result<Fork> {
    // SAFETY: the caller upholds that there is one thread, so no lock can be held by a thread that the
    // child does not have.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid).map(Fork::Parent).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// Moves this process into new namespaces.
///
/// # Errors
/// Those of unshare(2).
///
/// # Safety
/// The process must have one thread, and nothing in it may rely on sharing its file descriptor table.
pub unsafe fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the caller upholds that there is one thread; no `FILES` or `FS` sharing exists then.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Replaces this process by the program, which is looked up in `path` unless its name has a slash.
/// Returns only on failure, with the most telling error (as execvp(3) does).
#[must_use]
pub fn exec(argv: &[String], env: &[String], path: &str) -> io::Error {
    let strings =
        |list: &[String]| list.iter().map(|s| CString::new(s.as_str())).collect::<Result<Vec<_>, _>>();
    let (Ok(argv_c), Ok(env_c)) = (strings(argv), strings(env)) else {
        return io::Error::new(io::ErrorKind::InvalidInput, "an argument contains a NUL byte");
    };
    let Some(program) = argv.first() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no program is named");
    };
    if program.contains('/') {
        return exec_file(Path::new(program), &argv_c, &env_c);
    }
    let mut error = io::Error::from_raw_os_error(libc::ENOENT);
    for dir in path.split(':').filter(|d| !d.is_empty()) {
        let tried = exec_file(&Path::new(dir).join(program), &argv_c, &env_c);
        if !matches!(tried.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) {
            error = tried;
        }
    }
    error
}

fn exec_file(file: &Path, argv: &[CString], env: &[CString]) -> io::Error {
    let Ok(file) = CString::new(file.as_os_str().as_bytes()) else {
        return io::Error::new(io::ErrorKind::InvalidInput, "the program's path contains a NUL byte");
    };
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: the file name is NUL-terminated; both arrays end in a null pointer and point to strings that
    // live over the call.
    unsafe { libc::execve(file.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process at once, without running anything.
pub fn leave(status: i32) -> ! {
    // SAFETY: _exit(2) takes any status and does not return.
    unsafe { libc::_exit(status) }
}

/// Makes descriptor number `to` refer to what `from` refers to, inherited by programs executed later.
///
/// # Errors
/// Those of dup2(2).
pub fn place_fd(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: dup2(2) touches no memory. The caller names standard streams, which no `OwnedFd` holds.
    if unsafe { libc::dup2(from, to) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes every descriptor but the standard streams and `kept`.
///
/// # Errors
/// Those of close_range(2).
///
/// # Safety
/// Nothing in the process may own any other descriptor.
pub unsafe fn close_all_but(kept: BorrowedFd<'_>) -> io::Result<()> {
    let kept = kept.as_raw_fd().cast_unsigned();
    // No descriptor is larger (`fs.nr_open`); gVisor reads these numbers as signed.
    let most = i32::MAX.cast_unsigned();
    for (first, last) in [(3, kept.saturating_sub(1)), (kept + 1, most)] {
        if first > last {
            continue;
        }
        // SAFETY: close_range(2) touches no memory; the caller upholds that nobody uses these descriptors.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
