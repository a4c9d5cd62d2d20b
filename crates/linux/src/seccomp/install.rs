//! Puts a filter on the calling thread.

use std::io;

/// The kernel's own limit on the length of one program (`BPF_MAXINSNS`).
const MAX_INSTRUCTIONS: usize = 4096;
/// Size of `struct sock_filter`: code (2 bytes), two jump offsets (1 byte each), operand (4 bytes).
const INSTRUCTION: usize = 8;

const NO_OPERATION: libc::sock_filter = libc::sock_filter { code: 0, jt: 0, jf: 0, k: 0 };

/// Installs one filter on the calling thread, for good, and on all that it starts.
///
/// The thread must have set `no_new_privs` before (or have `CAP_SYS_ADMIN`). Allocates nothing, so it may
/// be called between `fork` and `execve`.
///
/// # Errors
/// `InvalidInput` when the bytes are not between 1 and 4,096 whole instructions; those of seccomp(2),
/// `EACCES` when `no_new_privs` is missing.
pub fn install(program: &[u8]) -> io::Result<()> {
    let (instructions, rest) = program.as_chunks::<INSTRUCTION>();
    let mut filter = [NO_OPERATION; MAX_INSTRUCTIONS];
    let Some(used) = filter.get_mut(..instructions.len()).filter(|f| !f.is_empty() && rest.is_empty()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    for (slot, bytes) in used.iter_mut().zip(instructions) {
        let [c0, c1, jt, jf, k0, k1, k2, k3] = *bytes;
        let (code, k) = (u16::from_ne_bytes([c0, c1]), u32::from_ne_bytes([k0, k1, k2, k3]));
        *slot = libc::sock_filter { code, jt, jf, k };
    }
    let len = u16::try_from(used.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len, filter: used.as_mut_ptr() };
    // SAFETY: `program` points to `len` initialised instructions in `filter`, which lives until the end of
    // this function. The kernel copies and verifies them and keeps no pointer.
    let rc =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_programs_are_refused_before_the_kernel_sees_them() {
        for bad in [0, 7, 9, (MAX_INSTRUCTIONS + 1) * INSTRUCTION] {
            let refused = install(&vec![0; bad]).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{bad} bytes");
            assert_eq!(refused.raw_os_error(), None, "{bad} bytes reached the kernel");
        }
    }
}
