//! Descriptors that whoever executed this program left open for it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The first descriptor that can be one (sd_listen_fds(3)): those below are the standard ones.
pub const FIRST: RawFd = 3;

/// Takes over an inherited descriptor, as a copy that no child inherits; the original is made so, too.
///
/// # Errors
/// `InvalidInput` for a standard descriptor; `EBADF` when there is none of this number.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number < FIRST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the borrow ends with this function, which only asks the kernel to copy and to flag whatever has
    // this number; the kernel checks whether anything has. Nothing is read, closed or taken from an owner.
    let original = unsafe { BorrowedFd::borrow_raw(number) };
    let copy = rustix::io::fcntl_dupfd_cloexec(original, FIRST)?;
    rustix::io::fcntl_setfd(original, rustix::io::FdFlags::CLOEXEC)?;
    debug_assert_ne!(copy.as_raw_fd(), number);
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_taken_and_standard_ones_and_none_are_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
        let copy = take(file.as_raw_fd()).unwrap();
        let flagged = |fd: &dyn std::os::fd::AsFd| rustix::io::fcntl_getfd(fd.as_fd()).unwrap();
        assert_eq!(flagged(&copy), rustix::io::FdFlags::CLOEXEC);
        assert_eq!(flagged(&file), rustix::io::FdFlags::CLOEXEC);
        assert!(take(1).is_err());
        assert!(take(1_000_000).is_err());
    }
}
