//! Commands that run beside a workload, in its walls.
//!
//! ```text
//!  host                                    agent
//!   │ Start ─────────────────────────────────►│ a process in the walls of the workload
//!   │ ◄─────────────────────────────── Started │ or Failed, which ends it
//!   │ Input ─────────────────────────────────►│ at most EXEC_INPUT_WINDOW bytes that were not taken
//!   │ ◄───────────────────────────────── Taken │
//!   │ ◄──────────────────────────────── Output │ at most EXEC_OUTPUT_WINDOW bytes that were not read
//!   │ Read ──────────────────────────────────►│
//!   │ Kill ──────────────────────────────────►│
//!   │ ◄───────────────────────────────── Ended │ the last word of one
//! ```
//! One that runs when the workload ends is over with `Exited`: nothing more is said of it. One that runs when the
//! connection to the host ends is killed.

use std::fmt;

use crate::agent::{Ended, Step};
use crate::wire::{Malformed, Reader, Writer};

/// Most bytes of a stream in one frame.
pub const EXEC_CHUNK: usize = 16 * 1024;

/// Bytes of output that one command may have under way to the host.
pub const EXEC_OUTPUT_WINDOW: usize = 256 * 1024;

/// Bytes of input that one command may have under way to it.
pub const EXEC_INPUT_WINDOW: usize = 64 * 1024;

/// Most commands beside one workload at a time.
pub const EXEC_MAX: usize = 16;

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecWhat {
    /// A program and its arguments.
    Program(Vec<String>),
    /// The agent itself, which writes the content of this regular file to its output.
    ReadFile(String),
    /// The agent itself, which puts its input into this file: first under another name beside it.
    WriteFile {
        /// Where.
        path: String,
        /// Permission bits.
        mode: u32,
    },
}

/// A command to run. `Debug` shows the names of the environment and not its values, which may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ExecPlan {
    /// Name of it on this connection; none is used twice.
    pub id: u64,
    /// What is run.
    pub what: ExecWhat,
    /// Added to the environment of the workload, as `NAME=value`.
    pub env: Vec<String>,
    /// Working directory, in the place of that of the workload.
    pub cwd: Option<String>,
    /// Whether it has input; else that is empty.
    pub input: bool,
}

impl fmt::Debug for ExecPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, what, env, cwd, input } = self;
        let names: Vec<_> = env.iter().map(|pair| pair.split('=').next().unwrap_or_default()).collect();
        f.debug_struct("ExecPlan")
            .field("id", id)
            .field("what", what)
            .field("env", &names)
            .field("cwd", cwd)
            .field("input", input)
            .finish()
    }
}

/// What a host asks about commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecAsk {
    /// Run one.
    Start(ExecPlan),
    /// Give it this input.
    Input {
        /// Which one.
        id: u64,
        /// At most [`EXEC_CHUNK`].
        bytes: Vec<u8>,
        /// Whether nothing more will come.
        last: bool,
    },
    /// This much of its output was read.
    Read {
        /// Which one.
        id: u64,
        /// Bytes.
        bytes: u32,
    },
    /// Kill it, and what it started in its process group.
    Kill {
        /// Which one.
        id: u64,
    },
    /// Kill all of them, and say nothing more of them.
    KillAll,
}

/// What an agent tells of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecNews {
    /// It runs.
    Started {
        /// Which one.
        id: u64,
    },
    /// It could not be started.
    Failed {
        /// Which one.
        id: u64,
        /// What was tried.
        step: Step,
        /// Error number of the system call.
        errno: i32,
    },
    /// This much of its input went to it.
    Taken {
        /// Which one.
        id: u64,
        /// Bytes.
        bytes: u32,
    },
    /// It wrote this.
    Output {
        /// Which one.
        id: u64,
        /// Whether to standard error.
        stderr: bool,
        /// At most [`EXEC_CHUNK`].
        bytes: Vec<u8>,
    },
    /// It ended, and all of its output was told.
    Ended {
        /// Which one.
        id: u64,
        /// How.
        ended: Ended,
    },
}

impl ExecNews {
    /// Which command it is about.
    #[must_use]
    pub fn id(&self) -> u64 {
        match self {
            Self::Started { id }
            | Self::Failed { id, .. }
            | Self::Taken { id, .. }
            | Self::Output { id, .. }
            | Self::Ended { id, .. } => *id,
        }
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        match self {
            Self::Started { id } => w.u8(0).u64(*id),
            Self::Failed { id, step, errno } => w.u8(1).u64(*id).u8(step.code()).i32(*errno),
            Self::Taken { id, bytes } => w.u8(2).u64(*id).u32(*bytes),
            Self::Output { id, stderr, bytes } => w.u8(3).u64(*id).bool(*stderr).bytes(bytes),
            Self::Ended { id, ended } => {
                w.u8(4).u64(*id);
                ended.write(w);
                w
            }
        };
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (kind, id) = (r.u8()?, r.u64()?);
        Ok(match kind {
            0 => Self::Started { id },
            1 => {
                Self::Failed { id, step: Step::from_code(r.u8()?).ok_or(Malformed::Value)?, errno: r.i32()? }
            }
            2 => Self::Taken { id, bytes: r.u32()? },
            3 => Self::Output { id, stderr: r.bool()?, bytes: chunk(r)? },
            4 => Self::Ended { id, ended: Ended::read(r)? },
            _ => return Err(Malformed::Value),
        })
    }
}

impl ExecAsk {
    pub(crate) fn write(&self, w: &mut Writer) {
        match self {
            Self::Start(plan) => {
                w.u8(0);
                plan.write(w);
            }
            Self::Input { id, bytes, last } => {
                w.u8(1).u64(*id).bytes(bytes).bool(*last);
            }
            Self::Read { id, bytes } => {
                w.u8(2).u64(*id).u32(*bytes);
            }
            Self::Kill { id } => {
                w.u8(3).u64(*id);
            }
            Self::KillAll => {
                w.u8(4);
            }
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match r.u8()? {
            0 => Self::Start(ExecPlan::read(r)?),
            1 => Self::Input { id: r.u64()?, bytes: chunk(r)?, last: r.bool()? },
            2 => Self::Read { id: r.u64()?, bytes: r.u32()? },
            3 => Self::Kill { id: r.u64()? },
            4 => Self::KillAll,
            _ => return Err(Malformed::Value),
        })
    }
}

impl ExecPlan {
    fn write(&self, w: &mut Writer) {
        let text = |w: &mut Writer, s: &String| {
            w.text(s);
        };
        w.u64(self.id);
        match &self.what {
            ExecWhat::Program(argv) => w.u8(0).list(argv, text),
            ExecWhat::ReadFile(path) => w.u8(1).text(path),
            ExecWhat::WriteFile { path, mode } => w.u8(2).text(path).u32(*mode),
        };
        w.list(&self.env, text).option(self.cwd.as_ref(), text).bool(self.input);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let id = r.u64()?;
        let what = match r.u8()? {
            0 => ExecWhat::Program(r.list(Reader::text)?),
            1 => ExecWhat::ReadFile(r.text()?),
            2 => ExecWhat::WriteFile { path: r.text()?, mode: r.u32()? },
            _ => return Err(Malformed::Value),
        };
        Ok(Self { id, what, env: r.list(Reader::text)?, cwd: r.option(Reader::text)?, input: r.bool()? })
    }
}

fn chunk(r: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    Some(r.bytes()?).filter(|bytes| bytes.len() <= EXEC_CHUNK).map(<[u8]>::to_vec).ok_or(Malformed::Value)
}
