//! Who may be spoken to, whatever the namespaces are: scopes of Landlock.
//!
//! A process that shares the network of the host shares its abstract Unix sockets, too, and some of those take orders
//! from whoever reaches them (<https://nvd.nist.gov/vuln/detail/CVE-2020-15257>). No mount, id or capability stands in
//! the way; a scope does (<https://docs.kernel.org/userspace-api/landlock.html>, since Linux 6.12). It also makes a
//! second wall of what a process namespace does for signals.

use std::io;

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
