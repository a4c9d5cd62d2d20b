//! Where a redirected connection was meant to go.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

/// `SO_ORIGINAL_DST` (`linux/netfilter_ipv4.h`), the same number in both families.
const ORIGINAL: libc::c_int = 80;

/// The address that a connection was opened to before it was redirected. One that was opened to the listener
/// itself answers the listener's address.
///
/// # Errors
/// Those of getsockopt(2): for one, `ENOENT` where the kernel has no note of the connection.
pub fn original(connection: impl AsFd, v6: bool) -> io::Result<SocketAddr> {
    if v6 { original_v6(connection) } else { original_v4(connection) }
}

fn original_v4(connection: impl AsFd) -> io::Result<SocketAddr> {
    // SAFETY: all-zero bytes are a valid `sockaddr_in`: it is plain data.
    let mut found: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    get(&connection, libc::SOL_IP, &mut found)?;
    let address = Ipv4Addr::from(u32::from_be(found.sin_addr.s_addr));
    Ok(SocketAddr::new(address.into(), u16::from_be(found.sin_port)))
}

fn original_v6(connection: impl AsFd) -> io::Result<SocketAddr> {
    // SAFETY: all-zero bytes are a valid `sockaddr_in6`: it is plain data.
    let mut found: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    get(&connection, libc::SOL_IPV6, &mut found)?;
    let address = Ipv6Addr::from(found.sin6_addr.s6_addr);
    Ok(SocketAddr::new(address.into(), u16::from_be(found.sin6_port)))
}

fn get<T>(connection: &impl AsFd, level: libc::c_int, found: &mut T) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let mut length = size;
    let fd = connection.as_fd().as_raw_fd();
    // SAFETY: `found` is plain data of `length` bytes, which both live over the call; the kernel writes at most
    // that many.
    let result =
        unsafe { libc::getsockopt(fd, level, ORIGINAL, std::ptr::from_mut(found).cast(), &raw mut length) };
    match result {
        0 if length == size => Ok(()),
        0 => Err(io::ErrorKind::InvalidData.into()),
        _ => Err(io::Error::last_os_error()),
    }
}
