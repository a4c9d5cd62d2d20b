//! What the entries of a file mean for each call.
//!
//! Of several entries that match a call the strictest decides, whatever their order: two engines that read the same
//! file differ here, and the stricter reading never gives more than either.

use std::collections::BTreeMap;

use super::super::table::{ALLOWED, CLONE3, CONDITIONAL, NEWEST, REFUSED};
use super::OciError;
use super::errno;
use super::file::{Action, Argument, Case, Entry, File};

/// Highest error number (`MAX_ERRNO` of the kernel).
const ERRNO_MAX: u32 = 4095;

/// Calls without which nothing starts and nothing ends.
const NEEDED: [&str; 3] = ["execve", "exit_group", "write"];

/// What is done with a call whose arguments meet all conditions.
#[derive(Debug)]
pub(super) struct Rule {
    /// What a filter returns (`SECCOMP_RET_*` and its data).
    pub(super) verdict: u32,
    pub(super) conditions: Vec<Argument>,
}

impl Rule {
    /// Whether it applies to every call.
    pub(super) fn is_plain(&self) -> bool {
        self.conditions.is_empty()
    }
}

impl PartialEq for Rule {
    /// Rules with conditions are never taken for equal.
    fn eq(&self, other: &Self) -> bool {
        self.verdict == other.verdict && self.is_plain() && other.is_plain()
    }
}

/// What a file says, call by call.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) default: u32,
    /// Strictest first; nothing follows a rule without conditions.
    by_number: BTreeMap<u32, Vec<Rule>>,
    /// The rule of calls that no entry names.
    rest: Vec<Rule>,
}

impl Rules {
    /// The rules of one call, at least one.
    pub(super) fn of(&self, nr: u32) -> &[Rule] {
        self.by_number.get(&nr).unwrap_or(&self.rest)
    }

    /// What is answered to calls that are newer than the table, which names none of them.
    pub(super) fn beyond(&self) -> u32 {
        softened(self.default)
    }
}

/// What stands in a file, for a program without capabilities on this architecture and kernel.
pub(super) fn read(file: File) -> Result<Rules, OciError> {
    let default = verdict(file.default_action, file.default_errno_ret, file.default_errno.as_deref())
        .map_err(|(key, value, why)| OciError::new(default_key(key), value, why))?;
    check_top(&file)?;
    let known = known();
    let mut by_number: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
    for (n, entry) in file.syscalls.into_iter().flatten().enumerate() {
        let at = |key: &str| format!("syscalls[{n}].{key}");
        let found = verdict(entry.action, entry.errno_ret, entry.errno.as_deref())
            .map_err(|(key, value, why)| OciError::new(at(key), value, why))?;
        check_conditions(&entry, &at)?;
        if !applies(entry.includes.as_ref(), entry.excludes.as_ref(), &at)? {
            continue;
        }
        for (position, name) in names(&entry).enumerate() {
            let Some(nr) = known.get(name.as_str()) else {
                if rank(found) > rank(default) {
                    let why = "is no system call that is known here, and leaving it out would allow more than the \
                               file says";
                    return Err(OciError::new(at(&format!("names[{position}]")), name, why));
                }
                continue;
            };
            let conditions = entry.args.iter().flatten().map(copy).collect();
            by_number.entry(*nr).or_default().push(Rule { verdict: found, conditions });
        }
    }
    let default_rule = || vec![Rule { verdict: default, conditions: Vec::new() }];
    let mut rules = Rules { default, by_number, rest: default_rule() };
    for list in rules.by_number.values_mut() {
        list.sort_by_key(|rule| std::cmp::Reverse(rank(rule.verdict)));
        if let Some(last) = list.iter().position(Rule::is_plain) {
            list.truncate(last + 1);
        }
    }
    soften_clone3(&mut rules, default_rule);
    starts(&rules, &known)?;
    Ok(rules)
}

fn default_key(key: &str) -> String {
    let mut capital = key.to_owned();
    capital[..1].make_ascii_uppercase();
    format!("default{capital}")
}

fn copy(argument: &Argument) -> Argument {
    Argument { ..*argument }
}

fn names(entry: &Entry) -> impl Iterator<Item = &String> {
    entry.names.iter().flatten().chain(&entry.name)
}

/// Numbers by name, of every call in the table.
fn known() -> BTreeMap<&'static str, u32> {
    let listed = ALLOWED.iter().chain(REFUSED).flat_map(|group| group.calls);
    let all = listed.chain(CONDITIONAL.iter().map(|c| &c.call)).chain([&CLONE3]);
    all.filter_map(|call| Some((call.name, u32::try_from(call.nr).ok()?)))
        .filter(|(_, nr)| *nr <= NEWEST)
        .collect()
}

/// What a filter returns; or which key is wrong, its value, and why.
fn verdict(
    action: Action,
    number: Option<u32>,
    name: Option<&str>,
) -> Result<u32, (&'static str, String, &'static str)> {
    if action != Action::Errno && number.is_some() {
        let value = number.unwrap_or_default().to_string();
        return Err(("errnoRet", value, "goes with `SCMP_ACT_ERRNO` only"));
    }
    let named = match name {
        Some(name) if action == Action::Errno => Some(
            errno::number(name)
                .ok_or_else(|| ("errno", name.to_owned(), "is no name of an error that is known here"))?,
        ),
        Some(name) => return Err(("errno", name.to_owned(), "goes with `SCMP_ACT_ERRNO` only")),
        None => None,
    };
    if let (Some(number), Some(named)) = (number, named)
        && number != named
    {
        return Err((
            "errnoRet",
            number.to_string(),
            "is another error than the one that is named beside it",
        ));
    }
    let data = number.or(named).unwrap_or(libc::EPERM.unsigned_abs());
    if data > ERRNO_MAX {
        return Err(("errnoRet", data.to_string(), "is no error number: they end at 4095"));
    }
    Ok(match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Log => libc::SECCOMP_RET_LOG,
        Action::Errno => libc::SECCOMP_RET_ERRNO | data,
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
    })
}

/// How strict a verdict is.
fn rank(verdict: u32) -> u8 {
    match verdict & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_ALLOW => 0,
        libc::SECCOMP_RET_LOG => 1,
        libc::SECCOMP_RET_ERRNO => 2,
        libc::SECCOMP_RET_TRAP => 3,
        libc::SECCOMP_RET_KILL_THREAD => 4,
        _ => 5,
    }
}

/// A call that is never allowed is answered as by a kernel without it, so that programs fall back; unless the file
/// has something harder for it.
fn softened(verdict: u32) -> u32 {
    let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    if rank(verdict) <= rank(enosys) { enosys } else { verdict }
}

/// Its flags lie in memory, where no filter can read them.
fn soften_clone3(rules: &mut Rules, default: impl Fn() -> Vec<Rule>) {
    if let Ok(nr) = u32::try_from(CLONE3.nr) {
        for rule in rules.by_number.entry(nr).or_insert_with(default) {
            rule.verdict = softened(rule.verdict);
        }
    }
}

fn check_top(file: &File) -> Result<(), OciError> {
    let (native, _) = native();
    let listed = file.architectures.iter().flatten();
    let all: Vec<_> = listed.chain(file.arch_map.iter().flatten().map(|map| &map.architecture)).collect();
    if !all.is_empty() && !all.iter().any(|name| *name == native) {
        let why = "do not have the architecture of this host";
        let field = if file.architectures.is_some() { "architectures" } else { "archMap" };
        return Err(OciError::new(field, all[0], why));
    }
    // With one thread there is nothing to synchronize.
    let others = file.flags.iter().flatten().find(|flag| *flag != "SECCOMP_FILTER_FLAG_TSYNC");
    if let Some(flag) = others {
        return Err(OciError::new("flags", flag, "is not supported here"));
    }
    for (field, value) in
        [("listenerPath", &file.listener_path), ("listenerMetadata", &file.listener_metadata)]
    {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            return Err(OciError::new(field, value, "is not supported here: nobody would answer"));
        }
    }
    Ok(())
}

fn check_conditions(entry: &Entry, at: &dyn Fn(&str) -> String) -> Result<(), OciError> {
    if names(entry).next().is_none() {
        return Err(OciError::new(at("names"), "", "names no system call"));
    }
    let mut seen = [false; 6];
    for (n, argument) in entry.args.iter().flatten().enumerate() {
        let field = || at(&format!("args[{n}].index"));
        match seen.get_mut(usize::from(argument.index)) {
            None => {
                return Err(OciError::new(
                    field(),
                    argument.index,
                    "is no argument: they are numbered from 0 to 5",
                ));
            }
            Some(true) => {
                let why = "has a condition already: write another entry for it";
                return Err(OciError::new(field(), argument.index, why));
            }
            Some(first) => *first = true,
        }
    }
    Ok(())
}

/// Whether an entry counts here.
fn applies(
    includes: Option<&Case>,
    excludes: Option<&Case>,
    at: &dyn Fn(&str) -> String,
) -> Result<bool, OciError> {
    let (_, name) = native();
    let kernel = |case: &Case, key: &str| match &case.min_kernel {
        Some(text) => is_kernel(text).map(Some).ok_or_else(|| {
            OciError::new(at(&format!("{key}.minKernel")), text, "is no version of a kernel, such as 4.8")
        }),
        None => Ok(None),
    };
    let has = |list: &Option<Vec<String>>| list.iter().flatten().any(|arch| arch == name);
    let given = |list: &Option<Vec<String>>| list.iter().flatten().next().is_some();
    if let Some(case) = includes {
        // A workload has no capability.
        if given(&case.caps)
            || given(&case.arches) && !has(&case.arches)
            || kernel(case, "includes")? == Some(false)
        {
            return Ok(false);
        }
    }
    match excludes {
        Some(case) => Ok(!has(&case.arches) && kernel(case, "excludes")? != Some(true)),
        None => Ok(true),
    }
}

/// The name of this architecture in profiles, and in their conditions.
fn native() -> (&'static str, &'static str) {
    match std::env::consts::ARCH {
        "aarch64" => ("SCMP_ARCH_AARCH64", "arm64"),
        _ => ("SCMP_ARCH_X86_64", "amd64"),
    }
}

/// Whether the running kernel is at least this version; `None` when it is none.
fn is_kernel(least: &str) -> Option<bool> {
    let version = |text: &str| {
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    let running = rustix::system::uname();
    Some(version(running.release().to_str().ok()?)? >= version(least)?)
}

/// A file under which no program could be executed is a slip.
fn starts(rules: &Rules, known: &BTreeMap<&'static str, u32>) -> Result<(), OciError> {
    let refused = |name: &&&str| {
        let first = known.get(**name).and_then(|nr| rules.of(*nr).first());
        first.is_some_and(|rule| rule.is_plain() && rank(rule.verdict) > 1)
    };
    match NEEDED.iter().find(refused) {
        Some(name) => {
            Err(OciError::new("syscalls", name, "is refused, and without it no program starts or ends"))
        }
        None => Ok(()),
    }
}
