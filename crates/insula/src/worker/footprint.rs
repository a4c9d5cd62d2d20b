//! What the daemon holds ready, and the memory that it and that take.

use std::fs;
use std::io;
use std::sync::Arc;

use insula_api::{Footprint, ShellPool};
use insula_edge::control::Gauge;
use insula_isolation::{Engine, WarmShells};
use insula_linux::identity;

/// Reads `/proc` when asked.
#[derive(Debug)]
pub(super) struct Processes {
    pub(super) engine: Arc<Engine>,
}

impl Gauge for Processes {
    fn read(&self) -> Footprint {
        let pools: Vec<ShellPool> = self.engine.warm_shells().into_iter().map(pool).collect();
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
        let own = std::process::id().cast_signed();
        Footprint {
            shells: pools.iter().map(|pool| pool.waiting).sum(),
            shells_memory_bytes: pools.iter().map(|pool| pool.memory_bytes).sum(),
            pools,
            daemon_memory_bytes: told("the daemon", [Some(own), parent].into_iter().flatten().map(pss).sum()),
        }
    }
}

fn pool(shells: WarmShells) -> ShellPool {
    let WarmShells { levels, network, driver, kept, agents } = shells;
    ShellPool {
        levels,
        network,
        driver: driver.map(|driver| driver.as_str().to_owned()),
        waiting: agents.len(),
        kept,
        memory_bytes: told("blank shells", agents.into_iter().map(tree_pss).sum()),
    }
}

/// A number that this user may not read is unknown, not zero.
fn told(what: &str, bytes: io::Result<u64>) -> Option<u64> {
    bytes.inspect_err(|error| tracing::debug!(%error, "cannot read the memory of {what}")).ok()
}

/// The memory of a process and everything below it, in bytes.
fn tree_pss(pid: i32) -> io::Result<u64> {
    let below: u64 = identity::children(pid)?.into_iter().map(tree_pss).sum::<io::Result<_>>()?;
    Ok(pss(pid)? + below)
}

/// The proportional set size of one process, in bytes (`proc_pid_smaps(5)`); nothing when it just ended.
fn pss(pid: i32) -> io::Result<u64> {
    match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
        Ok(text) => parse(&text).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("no `Pss` in `/proc/{pid}/smaps_rollup`"))
        }),
        Err(e) if is_gone(&e) => Ok(0),
        Err(e) => Err(e),
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// The `Pss` line, in kB there.
fn parse(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn one_line_counts() {
        let text =
            "55d0-7ffe ---p 00000000 00:00 0  [rollup]\nRss:  900 kB\nPss:  \t 12 kB\nPss_Anon: 5 kB\n";
        assert_eq!(parse(text), Some(12 * 1024));
        for bad in ["", "Pss_Anon: 5 kB\n", "Pss: many kB\n", "Pss: 12\n"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn children_count_and_the_dead_do_not() {
        // Two idle processes, of which one is below the other; it goes when the input ends.
        let script = "sleep 60 & echo there; read _; kill $!; wait";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = shell.id().cast_signed();
        let (alone, all) = (pss(pid).unwrap(), tree_pss(pid).unwrap());
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(alone > 0 && all > alone, "{all} of the tree, {alone} of it alone");
        assert_eq!(pss(pid).unwrap(), 0);
    }
}
