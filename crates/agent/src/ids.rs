//! A user namespace and nothing else, for as long as somebody holds its standard input: whoever started this gives it a
//! map of ids, and passes the namespace on (mount_setattr(2), `MOUNT_ATTR_IDMAP`).

use std::io::{self, Read, Write};

use insula_linux::fork;
use rustix::thread::UnshareFlags;

/// Makes the namespace, says so by one byte, and waits.
pub(crate) fn run() -> io::Result<()> {
    // SAFETY: this process has had one thread from its start.
    unsafe { fork::unshare(UnshareFlags::NEWUSER) }?;
    io::stdout().write_all(&[1])?;
    io::stdout().flush()?;
    io::stdin().read(&mut [0]).map(drop)
}
