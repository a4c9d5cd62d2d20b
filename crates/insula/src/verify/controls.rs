//! The same attempts without a wall: what shows that an attempt would get through.
//!
//! Most are made as they are. Three would hurt the host, or find nothing there to reach, and are made so:
//!
//! ```text
//! metadata      in a network of its own that has the address, with somebody who answers on it
//! memory-bomb   as it is (it ends by itself), if the host has several times as much to spare
//! outlive       its parent ends, as with a stop that reaches nobody else; what is left is ended
//! ```

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use insula_linux::attempt;
use insula_spec::Level;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::attempts::{self, METADATA};
use super::inside::{self, Outcome, VERB};
use super::probes::{MEMORY_MB, Probe};

/// How many times as much memory the host must have to spare as the attempt takes.
const SPARE: usize = 4;
/// How long what was left behind may take to end once it is killed.
const END: Duration = Duration::from_secs(10);

/// Makes the control of an attempt at a level with this copy of the program.
pub(super) fn make(program: &Path, probe: Probe, level: Level, target: &str) -> Outcome {
    match probe {
        // Where nothing keeps an app from the host's network, what is on that is what counts.
        Probe::Metadata if level.satisfies(Level::Namespace) => {
            inside::outcome_of(Command::new(program).args([VERB, "met"]))
        }
        Probe::MemoryBomb => match spare_mib() {
            Some(mib) if mib >= SPARE * 2 * MEMORY_MB => tried(program, probe, target),
            _ => Outcome {
                through: false,
                detail: format!("the host has no {} MiB to spare", SPARE * 2 * MEMORY_MB),
            },
        },
        Probe::Outlive => outlived(program, target),
        Probe::SetUserId if rustix::process::geteuid().is_root() => {
            // Root is root already; somebody else has to try.
            let ordinary = ["--reuid=65534", "--regid=65534", "--clear-groups"];
            let mut command = Command::new("setpriv");
            inside::outcome_of(command.args(ordinary).arg(program).args([VERB, "try", probe.id(), target]))
        }
        _ => tried(program, probe, target),
    }
}

fn tried(program: &Path, probe: Probe, target: &str) -> Outcome {
    inside::outcome_of(Command::new(program).args([VERB, "try", probe.id(), target]))
}

/// Connects to the address of the metadata service in a network of its own, where somebody answers. To be called in a
/// process that ends afterwards.
pub(super) fn metadata() -> io::Result<String> {
    let address: std::net::SocketAddrV4 = METADATA.parse().map_err(io::Error::other)?;
    attempt::own_network_with(*address.ip())?;
    let listener = TcpListener::bind(address)?;
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.read_exact(&mut [0; 1])?;
        stream.write_all(b"a role\n")
    });
    let seen = attempts::make(Probe::Metadata, "-")?;
    answers.join().unwrap_or_else(|_| Err(io::Error::other("a thread broke")))?;
    Ok(seen)
}

/// MiB that can be had without swapping (`MemAvailable` of proc_meminfo(5)).
fn spare_mib() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<usize>().ok().map(|kib| kib / 1024)
}

/// Leaves a process behind, whose parent ends; looks whether it is there, and ends it.
fn outlived(program: &Path, target: &str) -> Outcome {
    let word = format!("{target}-control");
    let left = tried(program, Probe::Outlive, &word);
    let ended = left.through.then(|| end(&word));
    match ended {
        Some(Ok(true)) => Outcome { through: true, detail: "it outlived its parent".to_owned() },
        Some(Ok(false)) => Outcome { through: false, detail: "it ended with its parent".to_owned() },
        Some(Err(error)) => {
            Outcome { through: false, detail: format!("what was left cannot be ended: {error}") }
        }
        None => left,
    }
}

/// Ends the process with this word as an argument; whether there was one.
fn end(word: &str) -> io::Result<bool> {
    let Some(pid) = running(word) else { return Ok(false) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        opened => opened?,
    };
    // The number may have passed to another process before it was held.
    if running(word) != Some(pid) {
        return Ok(false);
    }
    pidfd_send_signal(&pidfd, Signal::KILL)?;
    let limit = Timespec::try_from(END).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(true),
    }
}

/// A process with the word as an argument.
pub(super) fn running(word: &str) -> Option<Pid> {
    let named = |entry: fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&line).split('\0').any(|argument| argument == word).then_some(())?;
        Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)
    };
    fs::read_dir("/proc").into_iter().flatten().flatten().find_map(named)
}
