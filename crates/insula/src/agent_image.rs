//! The program inside the walls, carried by this binary.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};

use insula_isolation::agent_image;

/// A sealed memory file with the agent, ready to be executed.
///
/// # Errors
/// Those of memfd_create(2) and write(2).
pub(crate) fn memfd() -> io::Result<OwnedFd> {
    sealed("insula-agent", agent_image(), true)
}

/// A memory file with these bytes, which nobody can change any more.
///
/// # Errors
/// Those of memfd_create(2), write(2) and F_ADD_SEALS of fcntl(2).
pub(crate) fn sealed(name: &str, bytes: &[u8], executable: bool) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let kind = if executable { MemfdFlags::EXEC } else { MemfdFlags::NOEXEC_SEAL };
    let fd = match rustix::fs::memfd_create(name, flags | kind) {
        // Kernels before 6.3 know neither flag; every memory file is executable there.
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        other => other?,
    };
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    // Nothing has mapped the file, so that no write to it is older than the seal. WRITE would say the same,
    // but waits for references to its pages and fails with EBUSY where the kernel itself holds some.
    let seals = SealFlags::FUTURE_WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use rustix::fs::{FallocateFlags, fallocate, fcntl_add_seals};
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn the_agent_is_a_static_executable() {
        let image = agent_image();
        assert_eq!(image.get(..4), Some(&b"\x7fELF"[..]));
        // PT_INTERP (3) would name a loader that is not there behind the walls.
        let header = |at: usize, n: usize| {
            image[at..at + n].iter().rev().fold(0_usize, |value, byte| value << 8 | usize::from(*byte))
        };
        let (offset, size, count) = (header(32, 8), header(54, 2), header(56, 2));
        let kinds: Vec<_> = (0..count).map(|i| header(offset + i * size, 4)).collect();
        assert!(kinds.contains(&1), "no loadable segment: {kinds:?}");
        assert!(!kinds.contains(&3), "it asks for a loader: {kinds:?}");
    }

    #[test]
    fn a_sealed_file_keeps_its_bytes() {
        let mut file = File::from(sealed("test", b"kept", false).unwrap());
        file.rewind().unwrap();
        assert!(file.write_all(b"x").is_err());
        assert!(file.set_len(0).is_err());
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert_eq!(fallocate(&file, hole, 0, 1), Err(Errno::PERM));
        assert_eq!(fcntl_add_seals(&file, SealFlags::WRITE), Err(Errno::PERM), "seals can be added");
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "kept");
    }
}
