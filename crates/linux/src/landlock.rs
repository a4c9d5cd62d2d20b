//! Who may be spoken to, whatever the namespaces are: scopes of Landlock. And what a process that only carries bytes may
//! do with files.
//!
//! A process that shares the network of the host shares its abstract Unix sockets, too, and some of those take orders
//! from whoever reaches them (<https://nvd.nist.gov/vuln/detail/CVE-2020-15257>). No mount, id or capability stands in
//! the way; a scope does (<https://docs.kernel.org/userspace-api/landlock.html>, since Linux 6.12). It also makes a
//! second wall of what a process namespace does for signals.

use std::io;

#[cfg(feature = "host")]
use landlock::{ABI, AccessFs};
use landlock::{BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope};

/// Keeps the calling thread, for good, and all that it starts from abstract Unix sockets that others have made, and from
/// signals to others. `false` where the kernel has no such scopes: nothing is changed then.
///
/// The thread must have set `no_new_privs` before.
///
/// # Errors
/// Those of `landlock_restrict_self(2)`.
pub fn keep_to_itself() -> io::Result<bool> {
    restrict(Scope::AbstractUnixSocket | Scope::Signal)
}

/// The same for abstract Unix sockets alone: for a command beside a workload, which may send signals to that. It needs a
/// pid namespace, beyond which no signal gets.
///
/// # Errors
/// As [`keep_to_itself`].
pub fn keep_off_sockets() -> io::Result<bool> {
    restrict(Scope::AbstractUnixSocket.into())
}

/// Keeps the calling thread, for good, and all that it starts from changing any file and from executing any, whatever its
/// ids may; and as [`keep_to_itself`] does. `false` where the kernel has nothing of it; one that has a part enforces that.
///
/// # Errors
/// As [`keep_to_itself`].
#[cfg(feature = "host")]
pub fn only_read() -> io::Result<bool> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_write(ABI::V5) | AccessFs::Execute)
        .and_then(|rules| rules.scope(Scope::AbstractUnixSocket | Scope::Signal))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let status = rules.restrict_self().map_err(io::Error::other)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn restrict(scopes: BitFlags<Scope>) -> io::Result<bool> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .scope(scopes)
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let status = rules.restrict_self().map_err(io::Error::other)?;
    Ok(status.ruleset == RulesetStatus::FullyEnforced)
}

/// Whether this kernel can do that. Tried on a thread that ends with it.
///
/// # Errors
/// When no thread can be started, or the kernel refuses.
#[cfg(feature = "host")]
pub fn is_there() -> io::Result<bool> {
    let tried = std::thread::Builder::new().spawn(|| {
        rustix::thread::set_no_new_privs(true)?;
        keep_to_itself()
    })?;
    tried.join().unwrap_or_else(|_| Err(io::Error::other("the attempt ended badly")))
}

#[cfg(all(test, feature = "host"))]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::process::Command;

    use super::*;

    #[test]
    fn who_only_reads_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("there"), "word").unwrap();
        let changes = || {
            let tries = [
                fs::write(at("new"), "x"),
                fs::OpenOptions::new().append(true).open(at("there")).map(drop),
                fs::rename(at("there"), at("elsewhere"))
                    .and_then(|()| fs::rename(at("elsewhere"), at("there"))),
                fs::create_dir(at("folder")),
                Command::new("true").status().map(drop),
            ];
            (tries.map(|tried| tried.is_ok()), fs::read_to_string(at("there")).unwrap())
        };
        let behind = std::thread::scope(|scope| {
            let apart = || {
                rustix::thread::set_no_new_privs(true).unwrap();
                only_read().unwrap().then(changes)
            };
            scope.spawn(apart).join().unwrap()
        });
        let Some(behind) = behind else {
            let why = b"SKIPPED who_only_reads_changes_nothing: this kernel has no Landlock\n";
            return std::io::stderr().write_all(why).unwrap();
        };
        assert_eq!(behind, ([false; 5], "word".to_owned()));
        // The control: another thread may do all of that.
        assert_eq!(changes(), ([true; 5], "word".to_owned()));
    }
}
