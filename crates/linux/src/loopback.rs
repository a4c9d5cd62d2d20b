//! The loopback interface of a new network namespace.

use std::io;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// `IFF_UP | IFF_RUNNING`, in the width that `ifreq` has for them.
const UP_AND_RUNNING: libc::c_short = 0x41;

/// Brings `lo` up in the calling process's network namespace (netdevice(7)).
///
/// # Errors
/// Those of socket(2) and ioctl(2). Needs `CAP_NET_ADMIN` over the namespace.
pub fn bring_up() -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all-zero bytes are a valid `ifreq`: it is plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = byte.cast_signed();
    }
    // SAFETY: `request` is a valid `ifreq` with a NUL-terminated name that lives over both calls; after
    // SIOCGIFFLAGS the flags are the active member of the union.
    let failed = unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) < 0 || {
            request.ifr_ifru.ifru_flags |= UP_AND_RUNNING;
            libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) < 0
        }
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}
