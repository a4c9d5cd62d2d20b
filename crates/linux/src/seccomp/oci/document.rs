//! Insula's own list in the words of OCI, for programs that install filters themselves.

use serde_json::{Value, json};

use super::super::call::Condition;
use super::super::table::{ALLOWED, CLONE3, CONDITIONAL};

/// All that the kernel looks at, where it looks at 32 bits.
const LOW: u64 = 0xffff_ffff;
/// Its highest bit.
const HIGHEST: u32 = 31;

/// The list, as `linux.seccomp`.
#[must_use]
pub fn document() -> Value {
    let plain: Vec<_> = ALLOWED.iter().flat_map(|group| group.calls).map(|call| call.name).collect();
    let mut calls = vec![json!({ "names": plain, "action": "SCMP_ACT_ALLOW" })];
    for conditional in CONDITIONAL {
        let entry =
            |args| json!({ "names": [conditional.call.name], "action": "SCMP_ACT_ALLOW", "args": args });
        calls.extend(alternatives(conditional.condition).into_iter().map(entry));
    }
    calls.push(json!({ "names": [CLONE3.name], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS }));
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "SCMP_ARCH_AARCH64",
        _ => "SCMP_ARCH_X86_64",
    };
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": libc::EPERM,
        "architectures": [architecture], "syscalls": calls
    })
}

/// The conditions of one entry each; any of them lets a call through.
fn alternatives(condition: Condition) -> Vec<Value> {
    let masked = |index: u8, mask: u64, value: u64| json!({ "index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ" });
    let equal = |index: u8, value: u32| masked(index, LOW, u64::from(value));
    match condition {
        Condition::NoneOf(index, mask) => vec![json!([masked(index, mask, 0)])],
        Condition::OneOf(index, values) => values.iter().map(|value| json!([equal(index, *value)])).collect(),
        Condition::AnyOf(lists) => {
            let all = |list: &&[(u8, u32)]| list.iter().map(|(index, value)| equal(*index, *value)).collect();
            lists.iter().map(all).collect()
        }
        Condition::NotIn(index, values) => {
            let mut others = Vec::new();
            beside(values, HIGHEST, 0, &mut others);
            others.into_iter().map(|(mask, value)| json!([masked(index, mask, value)])).collect()
        }
    }
}

/// Every number but these, as masks with what must be under them: two conditions on one argument would mean either of
/// them to one reader and both to another.
fn beside(values: &[u32], bit: u32, prefix: u32, found: &mut Vec<(u64, u64)>) {
    let mask = LOW & !((1_u64 << bit) - 1);
    for half in [prefix, prefix | 1 << bit] {
        let under: Vec<_> =
            values.iter().copied().filter(|v| u64::from(*v) & mask == u64::from(half)).collect();
        match bit {
            _ if under.is_empty() => found.push((mask, u64::from(half))),
            0 => {}
            _ => beside(&under, bit - 1, half, found),
        }
    }
}
