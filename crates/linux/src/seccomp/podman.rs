//! Insula's list is at least as tight as the profile that Debian installs for Podman, Buildah and Skopeo, for a container
//! without capabilities.

#![allow(clippy::unwrap_used, reason = "test code")]

use serde_json::Value;

use super::call::Condition;
use super::table::{ALLOWED, CONDITIONAL, NEWER};

const FILE: &str = "/usr/share/containers/seccomp.json";
/// A value of no flag, family or command, in an argument that a condition leaves open.
const OTHER: u64 = 0x7fff_fff1;

/// The rules that hold for a container without capabilities on this architecture.
fn rules() -> Vec<Value> {
    let text = std::fs::read_to_string(FILE);
    let text = text.unwrap_or_else(|e| panic!("{FILE}: {e}; package golang-github-containers-common has it"));
    let whole: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(whole["defaultAction"], "SCMP_ACT_ERRNO", "the file is no list of what is allowed");
    let has = |of: &Value, what: &str| of.as_array().is_some_and(|all| all.iter().any(|one| one == what));
    let given = |of: &Value| of.as_array().is_some_and(|all| !all.is_empty());
    let holds = |rule: &&Value| {
        let (on, off) = (&rule["includes"], &rule["excludes"]);
        !given(&on["caps"])
            && (!given(&on["arches"]) || has(&on["arches"], "amd64"))
            && !has(&off["arches"], "amd64")
    };
    whole["syscalls"].as_array().unwrap().iter().filter(holds).cloned().collect()
}

/// Whether a rule is about a call with these arguments.
fn matches(rule: &Value, name: &str, args: [u64; 6]) -> bool {
    let named = rule["names"].as_array().unwrap().iter().any(|one| one == name);
    named
        && rule["args"].as_array().into_iter().flatten().all(|arg| {
            let number = |key: &str| arg[key].as_u64().unwrap_or(0);
            let (found, value) = (args[usize::try_from(number("index")).unwrap()], number("value"));
            match arg["op"].as_str().unwrap() {
                "SCMP_CMP_EQ" => found == value,
                "SCMP_CMP_NE" => found != value,
                "SCMP_CMP_LT" => found < value,
                "SCMP_CMP_LE" => found <= value,
                "SCMP_CMP_GT" => found > value,
                "SCMP_CMP_GE" => found >= value,
                "SCMP_CMP_MASKED_EQ" => found & value == number("valueTwo"),
                other => panic!("the file compares with `{other}`"),
            }
        })
}

/// Whether the file allows a call: some rule does, and none refuses it.
fn allows(rules: &[Value], name: &str, args: [u64; 6]) -> bool {
    let mut about = rules.iter().filter(|rule| matches(rule, name, args)).peekable();
    about.peek().is_some() && about.all(|rule| rule["action"] == "SCMP_ACT_ALLOW")
}

/// Arguments with which Insula's list lets a call through, one for each of its alternatives.
fn let_through(condition: Condition) -> Vec<[u64; 6]> {
    let set = |values: &[(u8, u64)]| {
        let mut args = [OTHER; 6];
        values.iter().for_each(|(index, value)| args[usize::from(*index)] = *value);
        args
    };
    match condition {
        Condition::NoneOf(index, mask) => vec![set(&[(index, 0)]), set(&[(index, !mask & 0xffff_ffff)])],
        Condition::OneOf(index, values) => values.iter().map(|v| set(&[(index, u64::from(*v))])).collect(),
        Condition::NotIn(index, _) => vec![set(&[(index, OTHER)]), set(&[(index, 0)])],
        Condition::AnyOf(lists) => lists
            .iter()
            .map(|list| set(&list.iter().map(|(i, v)| (*i, u64::from(*v))).collect::<Vec<_>>()))
            .collect(),
    }
}

/// Calls of these that the file does not allow with whatever arguments.
fn open<'a>(rules: &[Value], names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    // The alternatives of a condition in the file are about arguments that are small numbers.
    names
        .filter(|name| !allows(rules, name, [OTHER; 6]) || !allows(rules, name, [16, 16, 9, 0, 0, 0]))
        .collect()
}

#[test]
fn what_is_allowed_here_is_allowed_there_but_for_newer_calls() {
    let rules = rules();
    let names =
        |groups: &'static [super::Group]| groups.iter().flat_map(|group| group.calls).map(|call| call.name);
    let newer: Vec<_> = names(NEWER).collect();
    // A newer file may know some of them.
    let unknown = open(&rules, newer.iter().copied());
    assert_eq!(open(&rules, names(ALLOWED)), in_order(&unknown), "allowed here, and refused there");
    assert!(newer.iter().all(|name| names(ALLOWED).any(|one| one == *name)), "an exception that is none");
}

/// In the order of the table.
fn in_order(names: &[&'static str]) -> Vec<&'static str> {
    let all = ALLOWED.iter().flat_map(|group| group.calls).map(|call| call.name);
    all.filter(|name| names.contains(name)).collect()
}

#[test]
fn what_is_allowed_with_some_arguments_is_allowed_there_with_them() {
    let rules = rules();
    for conditional in CONDITIONAL {
        for args in let_through(conditional.condition) {
            let name = conditional.call.name;
            assert!(allows(&rules, name, args), "`{name}` with {args:?} is refused there");
        }
    }
}

/// The negative control of both: what the file refuses is found.
#[test]
fn what_is_refused_there_is_found() {
    let rules = rules();
    let tried = ["read", "vmsplice", "bpf", "socket", "personality", "no_such_call", "io_pgetevents"];
    let found = ["vmsplice", "bpf", "socket", "personality", "no_such_call", "io_pgetevents"];
    assert_eq!(open(&rules, tried.into_iter()), found);
    assert!(!allows(&rules, "socket", [16, 3, 9, 0, 0, 0]), "netlink for the audit is allowed");
    assert!(allows(&rules, "socket", [16, 3, 0, 0, 0, 0]) && allows(&rules, "clone", [0; 6]));
    assert!(!allows(&rules, "personality", [0x4_0000, 0, 0, 0, 0, 0]));
}
