//! `insula top`.

use clap::{Args, ValueEnum};

/// `insula top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Look once, for one second, and print a table; so it is too when there is no terminal
    #[arg(long)]
    pub(crate) once: bool,
    /// What stands first
    #[arg(long, value_name = "WHAT", default_value = "cpu")]
    pub(crate) sort: TopSort,
}

/// What rows are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TopSort {
    /// CPU time.
    Cpu,
    /// Memory.
    Mem,
    /// Requests of the service.
    Req,
    /// Name.
    Name,
}

impl TopSort {
    /// Its word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Mem => "mem",
            Self::Req => "req",
            Self::Name => "name",
        }
    }

    /// The one after it.
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::Cpu => Self::Mem,
            Self::Mem => Self::Req,
            Self::Req => Self::Name,
            Self::Name => Self::Cpu,
        }
    }
}
