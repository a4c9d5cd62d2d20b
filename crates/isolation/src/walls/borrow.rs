//! Ids for walls that are raised before it is known for whom.
//!
//! ```text
//! on disk            A instance's range          (ids of the instance, for ever)
//!   │ mount that shows other ids
//!   ▼
//! processes          the shell's range           (borrowed from the upper half of all ids, while the agent lives)
//!   │ user namespace
//!   ▼
//! inside             0..65535
//! ```
//! A range is taken by the name of an abstract socket, which the agent holds: no two agents have the same, whatever
//! becomes of the process that took it. Nothing on a disk ever belongs to such an id.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Stdio;

use insula_linux::overlay;
use insula_spec::IdRange;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::Shared;

/// First id of the first range: no instance has one from here on.
const FIRST: u32 = 1 << 31;
/// How many ranges there are; the last ids of all mean "none".
const RANGES: u32 = (1 << 15) - 1;

/// Ids that a shell has until somebody's files are shown to it under these.
#[derive(Debug)]
pub(crate) struct Borrowed {
    pub(crate) range: IdRange,
    namespace: Child,
}

/// What the agent is to hold as long as it lives.
pub(crate) type Token = OwnedFd;

impl Borrowed {
    /// Takes a range that nobody has.
    pub(crate) async fn take(shared: &Shared) -> io::Result<(Self, Token)> {
        let (range, token) = free_range()?;
        let mut namespace = Command::new(shared.agent_path())
            .arg0("insula-ids")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let said = namespace.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?.read_u8().await?;
        if said == 1 {
            Ok((Self { range, namespace }, token))
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    /// A namespace by which files of `own` show as files of this range. Once.
    pub(crate) fn map(self, own: IdRange) -> io::Result<File> {
        let pid = self.namespace.id().ok_or(io::ErrorKind::NotFound)?;
        let line = format!("{} {} {}", own.base, self.range.base, IdRange::LEN);
        fs::write(format!("/proc/{pid}/uid_map"), &line)?;
        fs::write(format!("/proc/{pid}/gid_map"), &line)?;
        File::open(format!("/proc/{pid}/ns/user"))
    }
}

fn free_range() -> io::Result<(IdRange, Token)> {
    let mut bytes = [0u8; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let start = u32::from_le_bytes(bytes);
    for n in 0..RANGES {
        let k = start.wrapping_add(n) % RANGES;
        let token = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        match bind(&token, &SocketAddrUnix::new_abstract_name(format!("insula/ids/{k}").as_bytes())?) {
            Ok(()) => return Ok((IdRange { base: FIRST + k * IdRange::LEN }, token)),
            Err(rustix::io::Errno::ADDRINUSE) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(io::Error::other("all ranges of ids for walls made ahead are taken"))
}

/// Shows a mount's files under the ids that `namespace` maps them to. Where its file system cannot do that, what nobody
/// writes to is shown as it is.
pub(crate) fn show(mount: &OwnedFd, namespace: &File, read_only: bool) -> io::Result<()> {
    match overlay::map_ids(mount.as_fd(), namespace.as_fd()) {
        Err(e) if read_only && e.raw_os_error() == Some(libc::EINVAL) => {
            tracing::debug!(fd = mount.as_raw_fd(), "a mount keeps the ids of the host");
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_have_the_same_range() {
        let held: Vec<_> = (0..64).map(|_| free_range().unwrap()).collect();
        let mut bases: Vec<_> = held.iter().map(|(range, _)| range.base).collect();
        bases.sort_unstable();
        bases.dedup();
        assert_eq!(bases.len(), held.len());
        assert!(bases.iter().all(|base| *base >= FIRST && base.checked_add(IdRange::LEN).is_some()));
    }

    #[test]
    fn a_range_is_free_again_when_nobody_holds_it() {
        let (range, token) = free_range().unwrap();
        let name = format!("insula/ids/{}", (range.base - FIRST) / IdRange::LEN);
        let again = || {
            let socket =
                socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
            bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap())
        };
        assert_eq!(again(), Err(rustix::io::Errno::ADDRINUSE));
        drop(token);
        assert_eq!(again(), Ok(()));
    }
}
