//! Socket calls that never wait, whatever the open file says.
//!
//! `O_NONBLOCK` belongs to the open file: everyone who holds the same file can clear it. A socket that came from
//! inside the walls is read and written by these alone.

use std::io;
use std::os::fd::AsFd;

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
use tokio::io::ReadBuf;

/// Receives what is there into the unfilled part; `WouldBlock` when nothing is, zero bytes at the end.
///
/// # Errors
/// Those of recv(2).
pub fn receive(socket: impl AsFd, buf: &mut ReadBuf<'_>) -> io::Result<()> {
    // SAFETY: nothing initialised is made uninitialised: the kernel only writes what it received.
    let ((filled, _), _) = recv(socket, unsafe { buf.unfilled_mut() }, RecvFlags::DONTWAIT)?;
    let n = filled.len();
    // SAFETY: the kernel has written the first `n` bytes of the unfilled part.
    unsafe { buf.assume_init(n) };
    buf.advance(n);
    Ok(())
}

/// Sends what fits; `WouldBlock` when nothing does. A closed peer is an error, never a signal.
///
/// # Errors
/// Those of sendmsg(2).
pub fn send(socket: impl AsFd, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(sendmsg(socket, bufs, &mut SendAncillaryBuffer::default(), flags)?)
}
