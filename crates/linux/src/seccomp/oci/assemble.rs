//! Rules as instructions for the kernel.
//!
//! ```text
//! load the number ─► above the last of this range? ─no─► its verdict, or: first rule, second rule … ─► verdict
//!                           │ yes                            (a rule whose conditions fail passes on)
//!                           ▼
//!                     the next range
//! ```

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W,
};

use super::super::profile::code_of;
use super::file::{Argument, Compare};
use super::rules::{Rule, Rules};

/// Where the arguments begin in `struct seccomp_data`, 8 bytes each; the low half comes first on every
/// architecture that there is a table for.
const ARGUMENTS: u32 = 16;

/// Where a jump goes.
#[derive(Debug, Clone, Copy)]
enum Jump {
    /// Over this many instructions.
    Over(u8),
    /// To the end of the rule: it does not apply.
    Fail,
}

const NEXT: Jump = Jump::Over(0);

/// One instruction.
#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u32,
    yes: Jump,
    no: Jump,
    k: u32,
}

const fn plain(code: u32, k: u32) -> Instruction {
    Instruction { code, yes: NEXT, no: NEXT, k }
}

const fn test(code: u32, k: u32, yes: Jump, no: Jump) -> Instruction {
    Instruction { code: BPF_JMP | code | BPF_K, yes, no, k }
}

const fn load(offset: u32) -> Instruction {
    plain(BPF_LD | BPF_W | BPF_ABS, offset)
}

const fn answer(verdict: u32) -> Instruction {
    plain(BPF_RET | BPF_K, verdict)
}

/// The program: what [`Rules::of`] says of every number up to `newest`, and `beyond` for those after it.
pub(super) fn assemble(rules: &Rules, newest: u32, beyond: u32) -> Vec<[u8; 8]> {
    let mut program = vec![load(0)];
    let mut nr = 0;
    while nr <= newest {
        let of = rules.of(nr);
        let mut last = nr;
        // Neighbours that are treated alike, whatever their arguments, are one range.
        while last < newest && of.iter().all(Rule::is_plain) && rules.of(last + 1) == of {
            last += 1;
        }
        match of.first().filter(|rule| rule.is_plain()) {
            Some(rule) => {
                program.extend([test(BPF_JGT, last, Jump::Over(1), NEXT), answer(rule.verdict)]);
            }
            None => {
                let block: Vec<_> = of.iter().flat_map(rule).chain([answer(rules.default)]).collect();
                let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
                program.extend([test(BPF_JGT, last, NEXT, Jump::Over(1)), plain(BPF_JMP | BPF_JA, length)]);
                program.extend(block);
            }
        }
        nr = last + 1;
    }
    program.push(answer(beyond));
    program.iter().map(bytes).collect()
}

/// All conditions, then the verdict. What fails jumps behind it.
fn rule(rule: &Rule) -> Vec<Instruction> {
    let mut all: Vec<_> = rule.conditions.iter().flat_map(condition).chain([answer(rule.verdict)]).collect();
    let length = all.len();
    for (at, instruction) in all.iter_mut().enumerate() {
        // Six conditions have at most 36 instructions.
        let behind = u8::try_from(length - at - 1).unwrap_or(u8::MAX);
        let settle = |jump: Jump| if let Jump::Fail = jump { Jump::Over(behind) } else { jump };
        (instruction.yes, instruction.no) = (settle(instruction.yes), settle(instruction.no));
    }
    all
}

/// Goes on if it holds, else fails.
fn condition(argument: &Argument) -> Vec<Instruction> {
    let low = ARGUMENTS + 8 * u32::from(argument.index);
    let high = low + 4;
    let (h, l) = halves(argument.value);
    match argument.op {
        Compare::Equal => {
            vec![
                load(high),
                test(BPF_JEQ, h, NEXT, Jump::Fail),
                load(low),
                test(BPF_JEQ, l, NEXT, Jump::Fail),
            ]
        }
        Compare::NotEqual => vec![
            load(high),
            test(BPF_JEQ, h, NEXT, Jump::Over(2)),
            load(low),
            test(BPF_JEQ, l, Jump::Fail, NEXT),
        ],
        Compare::MaskedEqual => {
            let (wanted_h, wanted_l) = halves(argument.value_two & argument.value);
            let mask = |k| plain(BPF_ALU | BPF_AND | BPF_K, k);
            vec![
                load(high),
                mask(h),
                test(BPF_JEQ, wanted_h, NEXT, Jump::Fail),
                load(low),
                mask(l),
                test(BPF_JEQ, wanted_l, NEXT, Jump::Fail),
            ]
        }
        Compare::Greater => above(BPF_JGT, (high, h), (low, l)),
        Compare::GreaterOrEqual => above(BPF_JGE, (high, h), (low, l)),
        Compare::Less => below(BPF_JGE, (high, h), (low, l)),
        Compare::LessOrEqual => below(BPF_JGT, (high, h), (low, l)),
    }
}

/// The high half is greater, or it is equal and the low half passes the test.
fn above(last: u32, (high, h): (u32, u32), (low, l): (u32, u32)) -> Vec<Instruction> {
    vec![
        load(high),
        test(BPF_JGT, h, Jump::Over(3), NEXT),
        test(BPF_JEQ, h, NEXT, Jump::Fail),
        load(low),
        test(last, l, NEXT, Jump::Fail),
    ]
}

/// The high half is smaller, or it is equal and the low half does not pass the test.
fn below(last: u32, (high, h): (u32, u32), (low, l): (u32, u32)) -> Vec<Instruction> {
    vec![
        load(high),
        test(BPF_JGT, h, Jump::Fail, NEXT),
        test(BPF_JEQ, h, NEXT, Jump::Over(2)),
        load(low),
        test(last, l, Jump::Fail, NEXT),
    ]
}

const fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, (value & 0xffff_ffff) as u32)
}

fn bytes(instruction: &Instruction) -> [u8; 8] {
    let [c0, c1] = code_of(instruction.code).to_ne_bytes();
    let [k0, k1, k2, k3] = instruction.k.to_ne_bytes();
    let over = |jump: Jump| if let Jump::Over(n) = jump { n } else { 0 };
    [c0, c1, over(instruction.yes), over(instruction.no), k0, k1, k2, k3]
}
