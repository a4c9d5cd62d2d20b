//! Which process is which.
//!
//! A pid alone names nobody: the kernel gives it to the next process. A pid with the time at which its
//! process started, under one boot id, names one process for ever. Everything here reads `proc(5)` and is
//! the view of the pid namespace that `/proc` was mounted for.
//!
//! "No such process" is an answer (`None`), any other failure is an error: a caller that is out of file
//! descriptors must not conclude that an instance is gone.

use std::fs;
use std::io;

/// One process, told apart from every other that had or will have its pid since the machine was booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its pid, in the pid namespace of the reader.
    pub pid: i32,
    /// When it started, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start: u64,
}

impl Identity {
    /// The process that has this pid now; `None` when there is none, or only a zombie.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn of(pid: i32) -> io::Result<Option<Self>> {
        Ok(stat(pid)?.filter(Stat::lives).map(|stat| Self { pid, start: stat.start }))
    }

    /// Whether this very process still lives. A zombie does not.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn lives(&self) -> io::Result<bool> {
        Ok(Self::of(self.pid)? == Some(*self))
    }
}

/// Identity of the running kernel: changes with every boot and never comes back.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned())
}

/// When a process started, in clock ticks since boot; `None` when there is no such process. A zombie
/// still has a start time; use [`Identity::of`] to leave it out.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn start_time(pid: i32) -> io::Result<Option<u64>> {
    Ok(stat(pid)?.map(|stat| stat.start))
}

/// The parent of a process; `None` when there is no such process. 0 when the parent lies outside the pid
/// namespace of the reader.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn parent(pid: i32) -> io::Result<Option<i32>> {
    Ok(stat(pid)?.map(|stat| stat.parent))
}

/// The children of all threads of a process, in no order; empty when there is no such process.
///
/// The kernel promises a complete list only while the process is stopped or frozen.
///
/// # Errors
/// When `/proc` cannot be read, or the kernel was built without `CONFIG_PROC_CHILDREN`.
pub fn children(pid: i32) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    let threads = match fs::read_dir(format!("/proc/{pid}/task")) {
        Ok(threads) => threads,
        Err(e) if is_gone(&e) => return Ok(found),
        Err(e) => return Err(e),
    };
    for thread in threads {
        let file = thread?.path().join("children");
        // A thread may end between the two reads.
        let text = if_there(fs::read_to_string(file))?.unwrap_or_default();
        found.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    Ok(found)
}

/// The pid of a process in its own, innermost pid namespace; `None` when there is no such process.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn ns_pid(pid: i32) -> io::Result<Option<i32>> {
    let status = if_there(fs::read_to_string(format!("/proc/{pid}/status")))?;
    Ok(status.as_deref().and_then(innermost))
}

/// The last number of the `NSpid` line of `/proc/PID/status`.
fn innermost(status: &str) -> Option<i32> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
}

/// What is used of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: i32,
    start: u64,
}

impl Stat {
    /// Field 2 is the name of the program in parentheses, which may itself hold spaces, parentheses and
    /// newlines. No field after it does, so the last `)` ends it.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        // `rest` begins with field 3; after field 4, `nth(17)` skips to field 22.
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let start = fields.nth(17)?.parse().ok()?;
        Some(Self { state, parent, start })
    }

    fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }
}

fn stat(pid: i32) -> io::Result<Option<Stat>> {
    let Some(bytes) = if_there(fs::read(format!("/proc/{pid}/stat")))? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, format!("cannot parse `/proc/{pid}/stat`"));
    Stat::parse(&text).map(Some).ok_or_else(malformed)
}

/// Turns "no such process" into `None`. `ESRCH` comes when it ends while its file is open.
fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if is_gone(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

fn is_gone(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn the_name_of_a_program_cannot_shift_the_fields() {
        let tail = "S 7 3 3 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 424242 9 9";
        for name in ["sh", "a b", "x) R 1 1", ")", "((", "a\n) Z 0"] {
            let stat = Stat::parse(&format!("12 ({name}) {tail}"));
            assert_eq!(stat, Some(Stat { state: 'S', parent: 7, start: 424_242 }), "name `{name}`");
        }
        for bad in ["", "12", "12 (sh)", "12 (sh) S", "12 (sh) S 7 3 3"] {
            assert_eq!(Stat::parse(bad), None, "`{bad}` was taken");
        }
    }

    #[test]
    fn a_living_process_has_one_identity_and_a_dead_one_none() {
        let me = Identity::of(own_pid()).unwrap().unwrap();
        assert_eq!(start_time(own_pid()).unwrap(), Some(me.start));
        assert!(me.lives().unwrap());
        let stranger = Identity { start: me.start + 1, ..me };
        assert!(!stranger.lives().unwrap(), "another start time passed for the same process");
        // Beyond the largest pid that a kernel gives out (2^22).
        assert_eq!(Identity::of(5_000_000).unwrap(), None);
        assert_eq!(parent(5_000_000).unwrap(), None);
        assert_eq!(children(5_000_000).unwrap(), Vec::<i32>::new());
    }

    #[test]
    fn parents_and_children_agree_and_a_zombie_does_not_live() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert_eq!(parent(pid).unwrap(), Some(own_pid()));
        assert!(children(own_pid()).unwrap().contains(&pid));
        assert_eq!(ns_pid(pid).unwrap(), Some(pid));
        let identity = Identity::of(pid).unwrap().unwrap();

        let fd = rustix::process::pidfd_open(
            rustix::process::Pid::from_raw(pid).unwrap(),
            rustix::process::PidfdFlags::empty(),
        )
        .unwrap();
        child.kill().unwrap();
        let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        assert_eq!(start_time(pid).unwrap(), Some(identity.start), "it is a zombie until it is waited for");
        assert!(!identity.lives().unwrap());
        child.wait().unwrap();
        assert!(!children(own_pid()).unwrap().contains(&pid));
    }

    #[test]
    fn the_innermost_pid_is_the_last() {
        assert_eq!(innermost("Name:\tx\nNSpid:\t4711\t12\t1\nNSpgid:\t1\n"), Some(1));
        assert_eq!(innermost("Name:\tx\n"), None);
    }

    #[test]
    fn the_boot_id_is_stable_within_a_boot() {
        let id = boot_id().unwrap();
        assert_eq!(id.len(), 36, "`{id}` is not a uuid");
        assert_eq!(id, boot_id().unwrap());
    }
}
