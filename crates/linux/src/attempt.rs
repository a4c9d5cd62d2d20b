//! Attempts to get through a wall, as a hostile program would make them.
//!
//! Each function makes the one system call that a wall must refuse, and harms nobody where it succeeds. They are for
//! a process of their own that ends right afterwards: one that became root or left its namespaces is of no other use.

use std::ffi::CString;
use std::io;
#[cfg(feature = "host")]
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::path::Path;

/// What a system call answered.
fn answer(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Attaches to another process as its tracer (`PTRACE_SEIZE`, which does not stop it).
///
/// # Errors
/// Those of ptrace(2).
pub fn trace(pid: i32) -> io::Result<()> {
    // SAFETY: PTRACE_SEIZE reads no memory of this process.
    answer(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) }).map(drop)
}

/// Asks whether a signal may be sent, without sending one.
///
/// # Errors
/// Those of kill(2).
pub fn signal(pid: i32) -> io::Result<()> {
    // SAFETY: no memory is involved; signal 0 is not sent.
    answer(unsafe { libc::syscall(libc::SYS_kill, pid, 0) }).map(drop)
}

/// Makes a user namespace of its own, in which it would have every capability.
///
/// # Errors
/// Those of unshare(2).
pub fn own_user_namespace() -> io::Result<()> {
    // SAFETY: the callers' process has one thread and ends afterwards.
    answer(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into()).map(drop)
}

/// Mounts a file system of memory on `target`, in a mount namespace of its own where that can be had.
///
/// # Errors
/// Those of unshare(2) and mount(2).
pub fn mount(target: &Path) -> io::Result<()> {
    let target = CString::new(target.as_os_str().as_encoded_bytes())?;
    // SAFETY: the callers' process has one thread and ends afterwards; every pointer is to a string that ends with 0.
    unsafe {
        let root = libc::geteuid() == 0;
        let flags = if root { libc::CLONE_NEWNS } else { libc::CLONE_NEWUSER | libc::CLONE_NEWNS };
        answer(libc::unshare(flags).into())?;
        let (kind, none) = (c"tmpfs".as_ptr(), std::ptr::null());
        answer(libc::mount(kind, target.as_ptr(), kind, 0, none).into()).map(drop)
    }
}

/// Enters the network namespace that a file refers to.
///
/// # Errors
/// Those of open(2) and setns(2).
pub fn enter_network(of: &Path) -> io::Result<()> {
    let file = std::fs::File::open(of)?;
    // SAFETY: the callers' process has one thread and ends afterwards.
    answer(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }.into()).map(drop)
}

/// Builds the network wall of a sandbox, in a network namespace of its own.
///
/// # Errors
/// Those of unshare(2), and of [`crate::wall::build`].
pub fn network_wall() -> io::Result<()> {
    // SAFETY: the callers' process has one thread and ends afterwards.
    unsafe {
        let root = libc::geteuid() == 0;
        let flags = if root { libc::CLONE_NEWNET } else { libc::CLONE_NEWUSER | libc::CLONE_NEWNET };
        answer(libc::unshare(flags).into())?;
    }
    crate::loopback::bring_up()?;
    crate::wall::build().map(drop)
}

/// Goes to a network of one's own whose loopback has this address, too.
///
/// # Errors
/// Those of unshare(2) and rtnetlink(7).
#[cfg(feature = "host")]
pub fn own_network_with(address: std::net::Ipv4Addr) -> io::Result<()> {
    // SAFETY: the callers' process has one thread and ends afterwards.
    unsafe {
        let root = libc::geteuid() == 0;
        let flags = if root { libc::CLONE_NEWNET } else { libc::CLONE_NEWUSER | libc::CLONE_NEWNET };
        answer(libc::unshare(flags).into())?;
    }
    crate::loopback::bring_up()?;
    crate::routed::add_to_loopback(address)
}

/// Connects a routed network to a host of one's own that forwards; needs root.
///
/// # Errors
/// Those of unshare(2), and what [`crate::routed::Wire`] lacks.
#[cfg(feature = "host")]
pub fn routed_network() -> io::Result<()> {
    use crate::routed::{Allowed, Range, RoutedError, Wire};
    let told = |e: RoutedError| match e {
        RoutedError::Kernel { step, source } => io::Error::other(format!("cannot {step}: {source}")),
        other => io::Error::other(other),
    };
    // SAFETY: no memory is involved; the callers' process ends afterwards.
    let apart = || answer(unsafe { libc::unshare(libc::CLONE_NEWNET) }.into());
    let inside = std::thread::spawn(move || {
        apart()?;
        std::fs::File::open("/proc/thread-self/ns/net")
    });
    let inside = inside.join().unwrap_or_else(|_| Err(io::Error::other("a thread broke")))?;
    apart()?;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    let range = Range::new(std::net::Ipv4Addr::new(10, 0, 0, 0), 30);
    let range = range.ok_or_else(|| told(RoutedError::Full))?;
    // Every kind of rule, and a bound.
    let allowed = Allowed { public: true, rate: Some(1 << 20), ..Allowed::default() };
    let wire = Wire::lay(range, "tried", inside.as_fd()).map_err(told)?;
    wire.open(&allowed).map(drop).map_err(told)
}

/// Asks for a keyring of the kernel (`KEYCTL_JOIN_SESSION_KEYRING`); keyrings know no namespaces.
///
/// # Errors
/// Those of keyctl(2).
pub fn keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    answer(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0) }).map(drop)
}

/// Makes the smallest map that programs in the kernel can have.
///
/// # Errors
/// Those of bpf(2).
pub fn kernel_map() -> io::Result<()> {
    const MAP_CREATE: libc::c_long = 0;
    const ARRAY: u32 = 2;
    // map_type, key_size, value_size, max_entries, then nothing.
    let mut attributes = [0_u32; 32];
    attributes[..4].copy_from_slice(&[ARRAY, 4, 4, 1]);
    let size = size_of_val(&attributes);
    // SAFETY: the kernel reads as many bytes as it is told are there.
    answer(unsafe { libc::syscall(libc::SYS_bpf, MAP_CREATE, attributes.as_ptr(), size) }).map(drop)
}

/// Counts events in the kernel and in other programs, on the first processor.
///
/// # Errors
/// Those of perf_event_open(2).
pub fn kernel_counter() -> io::Result<()> {
    // type software (1), size 64, config cpu clock (0); nothing is excluded.
    let mut attributes = [0_u32; 16];
    attributes[..2].copy_from_slice(&[1, 64]);
    let (everybody, first, no_group) = (-1, 0, -1);
    // SAFETY: the kernel reads as many bytes as the second field says.
    let call = unsafe {
        libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), everybody, first, no_group, 0)
    };
    answer(call).map(drop)
}

/// Makes a ring of `io_uring`, whose requests pass no filter of system calls.
///
/// # Errors
/// Those of io_uring_setup(2).
pub fn ring() -> io::Result<()> {
    let mut parameters = [0_u32; 64];
    // SAFETY: the kernel writes a structure of 120 bytes; 256 are there.
    answer(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) }).map(drop)
}

/// Opens a socket that sees and forges packets: of IP, then of the link.
///
/// # Errors
/// Those of socket(2), of the last one tried.
pub fn raw_socket() -> io::Result<()> {
    // SAFETY: no memory is involved.
    unsafe {
        let of_ip = libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_ICMP);
        if of_ip >= 0 {
            return Ok(());
        }
        let of_link = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        answer(of_link.into()).map(drop)
    }
}

/// Makes a device (the one that reads as zeros) at `place`, and opens it: whoever can make that one can make the
/// disk's, too.
///
/// # Errors
/// Those of mknod(2) and open(2).
pub fn device(place: &Path) -> io::Result<()> {
    let path = CString::new(place.as_os_str().as_encoded_bytes())?;
    // SAFETY: the path ends with 0.
    answer(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 5)) }.into())?;
    let opened = std::fs::File::open(place).map(drop);
    std::fs::remove_file(place)?;
    opened
}

/// Becomes root by asking for it.
///
/// # Errors
/// Those of setresuid(2).
pub fn become_root() -> io::Result<()> {
    // SAFETY: no memory is involved; the callers' process ends afterwards.
    answer(unsafe { libc::setresuid(0, 0, 0) }.into()).map(drop)
}

/// Asks for the right to set the clock of the machine, and sets nothing (settimeofday(2) without a time).
///
/// # Errors
/// Those of settimeofday(2).
pub fn set_clock() -> io::Result<()> {
    let nothing = std::ptr::null::<libc::timeval>();
    // SAFETY: null pointers are allowed; nothing is read.
    answer(unsafe { libc::syscall(libc::SYS_settimeofday, nothing, nothing) }).map(drop)
}

/// Makes this directory the root of its view.
///
/// # Errors
/// Those of chroot(2).
pub fn change_root(to: &Path) -> io::Result<()> {
    let path = CString::new(to.as_os_str().as_encoded_bytes())?;
    // SAFETY: the path ends with 0; the callers' process ends afterwards.
    answer(unsafe { libc::chroot(path.as_ptr()) }.into()).map(drop)
}
