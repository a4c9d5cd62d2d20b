//! What an entry of the table is made of.

/// A system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Its name without prefix, as in syscalls(2).
    pub name: &'static str,
    /// Its number on this architecture.
    pub nr: i64,
}

impl Call {
    /// From the name of a constant of `libc`, such as `SYS_read`.
    pub(super) const fn known(constant: &'static str, nr: i64) -> Self {
        Self { name: constant.split_at(4).1, nr }
    }

    /// One that `libc` has no constant for. Numbers from 424 on are the same on every architecture.
    pub(super) const fn numbered(name: &'static str, nr: i64) -> Self {
        Self { name, nr }
    }
}

/// Calls that are treated alike, and why.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// What they have in common.
    pub name: &'static str,
    /// Why they are allowed, or refused.
    pub reason: &'static str,
    /// The calls.
    pub calls: &'static [Call],
}

/// What an argument must be. Numbers count arguments from 0.
#[derive(Debug, Clone, Copy)]
pub enum Condition {
    /// All 64 bits under the mask are zero.
    NoneOf(u8, u64),
    /// The low 32 bits are one of these; all the kernel looks at is 32 bits wide.
    OneOf(u8, &'static [u32]),
    /// The low 32 bits are none of these.
    NotIn(u8, &'static [u32]),
    /// One of several alternatives, each a list of `(argument, low 32 bits)` that must all match.
    AnyOf(&'static [&'static [(u8, u32)]]),
}

/// A call that is allowed with some arguments only.
#[derive(Debug, Clone, Copy)]
pub struct Conditional {
    /// The call.
    pub call: Call,
    /// What its arguments must be.
    pub condition: Condition,
    /// The condition in words, and why.
    pub reason: &'static str,
}
