//! Compiles the table into programs for the kernel.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

use super::call::{Condition, Group};
use super::table::{ALLOWED, CLONE3, CONDITIONAL, NEWEST, REFUSED};

/// One filter as the kernel takes it: an array of `struct sock_filter`, 8 bytes each, in the byte order of
/// this machine.
pub type Program = Vec<u8>;

/// Why the filter could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// There is no table for this architecture.
    #[error("there is no system call table for architecture `{0}`")]
    Architecture(&'static str),
    /// The table is malformed.
    #[error("cannot compile the system call filter")]
    Compile(#[source] seccompiler::BackendError),
}

impl ProfileError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Architecture(_) => "run Insula on x86_64 or aarch64, or use level `process`",
            Self::Compile(_) => "this is a fault of Insula; please report it",
        }
    }
}

/// The filters for a workload at level `namespace`, to be installed in this order.
///
/// They fit the architecture that this program was built for, which is that of the agent it carries.
///
/// # Errors
/// When there is no table for this architecture.
pub fn default_profile() -> Result<Vec<Program>, ProfileError> {
    Ok(vec![opened(&[])?])
}

/// The filter with these calls allowed, whatever their arguments.
pub(super) fn opened(open: &[&str]) -> Result<Program, ProfileError> {
    let mut rules = rules().map_err(ProfileError::Compile)?;
    let listed = REFUSED.iter().flat_map(|group| group.calls).chain(CONDITIONAL.iter().map(|c| &c.call));
    rules.extend(listed.filter(|call| open.contains(&call.name)).map(|call| (call.nr, Vec::new())));
    compiled(rules)
}

/// The filter with these calls refused, whatever their arguments.
pub(super) fn without(closed: &[&str]) -> Result<Program, ProfileError> {
    let mut rules = rules().map_err(ProfileError::Compile)?;
    let listed = ALLOWED.iter().flat_map(|group| group.calls).chain(CONDITIONAL.iter().map(|c| &c.call));
    listed.filter(|call| closed.contains(&call.name)).for_each(|call| drop(rules.remove(&call.nr)));
    compiled(rules)
}

fn compiled(rules: Rules) -> Result<Program, ProfileError> {
    let (target, audit) = architecture()?;
    let filter =
        SeccompFilter::new(rules, SeccompAction::Errno(errno(libc::EPERM)), SeccompAction::Allow, target);
    let body = filter.and_then(BpfProgram::try_from).map_err(ProfileError::Compile)?;
    // Jumps are relative, so one program may simply follow another that falls through.
    Ok(gate(audit).iter().chain(&body).flat_map(bytes).collect())
}

fn architecture() -> Result<(TargetArch, u32), ProfileError> {
    match std::env::consts::ARCH {
        "x86_64" => Ok((TargetArch::x86_64, 0xc000_003e)),
        "aarch64" => Ok((TargetArch::aarch64, 0xc000_00b7)),
        other => Err(ProfileError::Architecture(other)),
    }
}

/// First number of the x32 ABI on x86_64 (`__X32_SYSCALL_BIT`), which a filter sees under the same
/// architecture.
const X32: u32 = 0x4000_0000;
/// Numbers from here on are negative to the kernel; `syscall(-1)` is how programs ask for `ENOSYS`.
const NEGATIVE: u32 = 0x8000_0000;

/// What no allow-list can say: it kills foreign architectures and answers `ENOSYS` to `clone3` and to calls
/// newer than the table. Everything else falls through.
fn gate(audit_arch: u32) -> Vec<sock_filter> {
    use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
    const NR: u32 = 0;
    const ARCH: u32 = 4;
    let stmt = |code: u32, k: u32| sock_filter { code: code_of(code), jt: 0, jf: 0, k };
    let unless = |test: u32, k: u32| sock_filter { code: code_of(BPF_JMP | test | BPF_K), jt: 1, jf: 0, k };
    let when = |test: u32, k: u32| sock_filter { code: code_of(BPF_JMP | test | BPF_K), jt: 0, jf: 1, k };
    let load = |offset: u32| stmt(BPF_LD | BPF_W | BPF_ABS, offset);
    let kill = stmt(BPF_RET | BPF_K, libc::SECCOMP_RET_KILL_PROCESS);
    let enosys = stmt(BPF_RET | BPF_K, libc::SECCOMP_RET_ERRNO | errno(libc::ENOSYS));

    let clone3 = u32::try_from(CLONE3.nr).unwrap_or(u32::MAX);
    let mut program = vec![load(ARCH), unless(BPF_JEQ, audit_arch), kill.clone(), load(NR)];
    program.extend([when(BPF_JGE, NEGATIVE), enosys.clone()]);
    program.extend([when(BPF_JGE, X32), kill]);
    program.extend([when(BPF_JGT, NEWEST), enosys.clone()]);
    program.extend([when(BPF_JEQ, clone3), enosys]);
    program
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules =
        ALLOWED.iter().flat_map(|group| group.calls).map(|call| (call.nr, Vec::new())).collect();
    for conditional in CONDITIONAL {
        rules.insert(conditional.call.nr, alternatives(conditional.condition)?);
    }
    Ok(rules)
}

/// The rules of one call: any of them lets it through, all conditions of one must hold.
fn alternatives(condition: Condition) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    let low = |argument, op, value: u32| SeccompCondition::new(argument, Dword, op, u64::from(value));
    let equal = |argument, value| low(argument, SeccompCmpOp::Eq, value);
    match condition {
        Condition::NoneOf(argument, mask) => {
            let none = SeccompCondition::new(argument, Qword, SeccompCmpOp::MaskedEq(mask), 0)?;
            Ok(vec![SeccompRule::new(vec![none])?])
        }
        Condition::OneOf(argument, values) => {
            values.iter().map(|value| SeccompRule::new(vec![equal(argument, *value)?])).collect()
        }
        Condition::NotIn(argument, values) => {
            let differ = values.iter().map(|value| low(argument, SeccompCmpOp::Ne, *value));
            Ok(vec![SeccompRule::new(differ.collect::<Result<_, _>>()?)?])
        }
        Condition::AnyOf(lists) => {
            let all = |list: &[(u8, u32)]| -> Result<_, _> {
                SeccompRule::new(
                    list.iter()
                        .map(|(argument, value)| equal(*argument, *value))
                        .collect::<Result<_, _>>()?,
                )
            };
            lists.iter().map(|list| all(list)).collect()
        }
    }
}

fn bytes(instruction: &sock_filter) -> [u8; 8] {
    let [c0, c1] = instruction.code.to_ne_bytes();
    let [k0, k1, k2, k3] = instruction.k.to_ne_bytes();
    [c0, c1, instruction.jt, instruction.jf, k0, k1, k2, k3]
}

/// `libc` has the operation codes as `u32`; each fits in the 16 bits of an instruction.
pub(super) const fn code_of(code: u32) -> u16 {
    (code & 0xffff) as u16
}

const fn errno(number: i32) -> u32 {
    number.unsigned_abs()
}

/// The page `docs/reference/seccomp.md`, rendered from the table.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(INTRODUCTION);
    page.push_str("\n## Refused\n\n| group | calls | why |\n| --- | --- | --- |\n");
    table(&mut page, REFUSED);
    page.push_str("\n## Allowed with some arguments only\n\n| call | condition |\n| --- | --- |\n");
    for conditional in CONDITIONAL {
        // Writing to a String cannot fail.
        writeln!(page, "| `{}` | {} |", conditional.call.name, conditional.reason).unwrap_or_default();
    }
    page.push_str("\n## Allowed\n\n| group | calls | why |\n| --- | --- | --- |\n");
    table(&mut page, ALLOWED);
    page.push_str(MEASURE);
    page.push_str(FILES);
    let open: Vec<_> = super::oci::OPENABLE.iter().map(|name| format!("`{name}`")).collect();
    writeln!(page, "{}", open.join(" ")).unwrap_or_default();
    page.push_str(LISTENS);
    page
}

fn table(page: &mut String, groups: &[Group]) {
    for group in groups.iter().filter(|group| !group.calls.is_empty()) {
        let names: Vec<_> = group.calls.iter().map(|call| format!("`{}`", call.name)).collect();
        writeln!(page, "| {} | {} | {} |", group.name, names.join(" "), group.reason).unwrap_or_default();
    }
}

const INTRODUCTION: &str = "\
# System calls of a workload

At levels `namespace` and `container` a workload runs under a seccomp filter. What is not listed as allowed is refused.

| a call that is | is answered with |
| --- | --- |
| allowed below | what the kernel answers |
| refused below, or allowed only with other arguments | `EPERM` |
| `clone3` | `ENOSYS`: its flags lie in memory, where a filter cannot read them; C libraries fall back to `clone` |
| newer than this list (number above 467) | `ENOSYS`: programs fall back as on an older kernel |
| made through another architecture's entry (32 bit, x32) | the end of the process by `SIGSYS` |

The filter is installed after `no_new_privs`, before the program is executed, and holds for all that it
starts. It cannot be taken off. This page is generated from `crates/linux/src/seccomp/table.rs` for x86_64; on
aarch64 the older forms do not exist.
";

const MEASURE: &str = "
## Beside Docker and Podman

Measured for a container without capabilities, whatever Docker's default profile or Podman's refuses is refused here, and
what they allow with some arguments only is allowed here with no others. The exceptions are the four groups whose names
begin with `newer`: a profile that is older than a call refuses it for that alone. Podman's of Debian 12 knows none of
them; Docker's of today allows them all but `uprobe`. Tests compare the list with the file that Debian installs
(`/usr/share/containers/seccomp.json`), call by call, and with Docker's documented refusals.
";

const FILES: &str = "
## A file of one's own

`seccomp = \"file.json\"` of a service names a filter of its own, at levels `namespace`, `container` and `gvisor`: the object
`linux.seccomp` of the OCI runtime specification, as Docker and Podman write it, `archMap`, `includes` and `excludes`
too. Both its filter and Insula's own list are installed, and the stricter of the two decides. So a file can refuse
everything, and of what is refused above it can allow only the calls at the end of this section. Mounts, namespaces,
other processes, keys, io_uring, kernel programs and the like stay refused whatever the file says, and `clone3` is
answered with `ENOSYS`. At `gvisor` the guest's kernel has the file's filter alone: what passes it is asked of that kernel, not of
the host's.

| in the file | what it means here |
| --- | --- |
| `defaultAction`, `action` | `SCMP_ACT_ALLOW`, `_LOG`, `_ERRNO`, `_TRAP`, `_KILL`, `_KILL_THREAD`, `_KILL_PROCESS`; `_TRACE` and `_NOTIFY` are refused, since nobody would answer |
| several entries for one call | the strictest of those that match decides, in any order |
| `args` | all of one entry must hold, as numbers of 64 bits; one condition for each argument |
| `includes`, `excludes` | judged for a program without capabilities, this architecture and this kernel |
| a name that is not known here | left out, if that makes nothing more allowed; else the file is refused |
| `architectures` | must hold this one; entries into the kernel for others stay closed |
| calls newer than the list above, `clone3` | `ENOSYS`, unless the default is harder |
| `flags`, `listenerPath` | refused, but for `SECCOMP_FILTER_FLAG_TSYNC`, which changes nothing |

The file is read at each start. One that is malformed in any part, that refuses `execve`, `exit_group` or `write`, or that
cannot be read, refuses the start and says which field has which value. It is installed right before the program is
executed, so it need not allow what a start takes. `insula inspect` names the file and the digest of what was read
(that of `sha256sum`); a file that changed holds from the next start on.

A file may allow what the list refuses for these calls only:
";

const LISTENS: &str = "
## A second filter that refuses nothing

At every level, `process` too, one more filter is installed before the one above, on the process that becomes the
workload. It stops `listen`, made through the native entry, until the agent has heard of it (user notification, Linux
5.5), and the call then goes on as it was; every other call passes. So a start is over as soon as the program listens,
without asking it again and again. The agent looks at no argument of the call and changes nothing about it.

| when | then |
| --- | --- |
| the agent ends | the kernel answers `ENOSYS` to a later `listen`; the workload ends with its agent anyway |
| the kernel cannot, or another program stops calls in this way already (`EBUSY`: some containers) | the filter is left out; the agent tries the port in short intervals. The log of the daemon says so once, `insula doctor` as a note at the level |
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Every call of the table by number; panics when two entries share one.
    fn all() -> BTreeMap<i64, &'static str> {
        let listed = ALLOWED.iter().chain(REFUSED).flat_map(|group| group.calls);
        let mut by_number = BTreeMap::new();
        for call in listed.chain(CONDITIONAL.iter().map(|c| &c.call)).chain([&CLONE3]) {
            if let Some(other) = by_number.insert(call.nr, call.name) {
                panic!("`{}` and `{other}` have the same number", call.name);
            }
        }
        by_number
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn no_call_is_forgotten() {
        let known = all();
        let forgotten: Vec<i64> = (0..=i64::from(NEWEST))
            .filter(|nr| !(337..424).contains(nr) && !known.contains_key(nr))
            .collect();
        assert_eq!(forgotten, Vec::<i64>::new(), "numbers that the table does not decide");
        assert_eq!(known.keys().next_back(), Some(&i64::from(NEWEST)));
    }

    #[test]
    fn the_page_for_operators_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/seccomp.md");
        if std::env::var_os("INSULA_UPDATE_DOCS").is_some() {
            std::fs::write(path, reference()).unwrap();
            return;
        }
        // As it was built: whoever runs the test may not be able to read the source.
        assert!(
            include_str!("../../../../docs/reference/seccomp.md") == reference(),
            "`{path}` differs from the table: run this test with INSULA_UPDATE_DOCS=1"
        );
    }

    #[test]
    fn the_program_fits_the_kernel() {
        let programs = default_profile().unwrap();
        for program in &programs {
            assert_eq!(program.len() % 8, 0);
            assert!(program.len() / 8 <= 4096, "{} instructions", program.len() / 8);
        }
        assert_eq!(programs.len(), 1);
    }
}
