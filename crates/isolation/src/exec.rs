//! A command beside a workload, in its walls.
//!
//! ```text
//! Connect::exec(order) ──► ExecSession ──next──► Stdout, Stderr, Taken … Ended
//!                             │ drop             (no more is read ahead than the agent may have under way)
//!                             ▼
//!                          killed, with its process group
//! ```

use std::fmt;
use std::io;
use std::sync::Arc;

use insula_frames::{EXEC_CHUNK, EXEC_INPUT_WINDOW, EXEC_OUTPUT_WINDOW, ExecAsk, ExecPlan};
use insula_spec::Secret;

pub use insula_frames::ExecWhat;

use crate::contract::Exit;
use crate::link::{Flow, Link, Piece};

/// Bytes of input that may be given to a command and not be taken yet.
pub const INPUT_WINDOW: usize = EXEC_INPUT_WINDOW;

/// Bytes that were read before the agent is told: a quarter of what it may have under way.
const TELL_AT: usize = EXEC_OUTPUT_WINDOW / 4;

/// What to run beside a workload.
#[derive(Debug, Clone)]
pub struct ExecOrder {
    /// What is run.
    pub what: ExecWhat,
    /// Added to the environment of the workload.
    pub env: Vec<(String, Secret)>,
    /// Working directory, in the place of that of the workload.
    pub cwd: Option<String>,
    /// Whether it has input; else that is empty.
    pub input: bool,
}

impl ExecOrder {
    /// The first word of it, for people.
    #[must_use]
    pub fn program(&self) -> &str {
        match &self.what {
            ExecWhat::Program(argv) => argv.first().map_or("", String::as_str),
            ExecWhat::ReadFile(path) | ExecWhat::WriteFile { path, .. } => path,
        }
    }

    pub(crate) fn plan(self, id: u64) -> ExecPlan {
        let env = self.env.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect();
        ExecPlan { id, what: self.what, env, cwd: self.cwd, input: self.input }
    }
}

/// Why a command was not run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// Nobody here can do that.
    #[error("no command can be run beside this workload: {why}")]
    Unsupported {
        /// Why not.
        why: &'static str,
        /// What would do.
        hint: &'static str,
    },
    /// As many run as may.
    #[error("{limit} commands run beside this workload, which is the limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The program could not be executed.
    #[error("cannot execute `{program}` inside")]
    Program {
        /// First word of the command.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The directory could not be entered.
    #[error("cannot enter the directory `{cwd}` inside")]
    Cwd {
        /// The directory.
        cwd: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It could not be put behind the walls.
    #[error("cannot start a command behind the walls: {step}")]
    Walls {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The order is longer than what is taken.
    #[error("the command, its environment and its directory are {length} bytes, more than {limit}")]
    TooLong {
        /// How long it is.
        length: usize,
        /// Most bytes.
        limit: usize,
    },
    /// It did not start.
    #[error("the command did not start in time")]
    TimedOut,
    /// The workload ended, or its agent is gone.
    #[error("the instance ended")]
    Gone,
}

impl ExecError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unsupported { hint, .. } => hint,
            Self::TooMany { .. } => "wait until one of them has ended",
            Self::Program { .. } => {
                "check that the program is there inside the instance, and that its user may execute it"
            }
            Self::Cwd { .. } => "name a directory that is there inside the instance",
            Self::Walls { .. } => {
                "run `insula inspect` for the limits of the instance; a command counts for them"
            }
            Self::TooLong { .. } => "send what is long as its input",
            Self::TimedOut => "run `insula why` to see what the instance is doing",
            Self::Gone => "run `insula why` to see what happened, and try again",
        }
    }
}

/// What a command tells.
#[derive(Debug, PartialEq, Eq)]
pub enum ExecPiece {
    /// It wrote this to its standard output.
    Stdout(Vec<u8>),
    /// It wrote this to its standard error.
    Stderr(Vec<u8>),
    /// It took so many bytes of its input.
    Taken(usize),
    /// It ended. The last piece.
    Ended(Exit),
    /// The workload ended, and it with that; or the agent is gone. The last piece.
    Cut,
}

/// More input was given than a command may have under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more input was sent than the command has room for")]
pub struct TooMuchInput;

/// A command that runs. Dropping it kills it.
pub struct ExecSession {
    id: u64,
    link: Link,
    flow: Arc<Flow>,
    /// Bytes that were read and not told yet.
    owed: usize,
    over: bool,
}

impl fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecSession").field("id", &self.id).finish_non_exhaustive()
    }
}

impl ExecSession {
    pub(crate) fn new(id: u64, link: Link, flow: Arc<Flow>) -> Self {
        Self { id, link, flow, owed: 0, over: false }
    }

    /// It never came to be.
    pub(crate) fn forget(mut self) {
        self.over = true;
    }

    /// What comes next. Cancel-safe. After [`ExecPiece::Ended`] or [`ExecPiece::Cut`] it answers the latter.
    pub async fn next(&mut self) -> ExecPiece {
        loop {
            if self.owed >= TELL_AT && !self.over {
                let bytes = u32::try_from(self.owed).unwrap_or(u32::MAX);
                let Ok(room) = self.link.room().await else {
                    self.over = true;
                    continue;
                };
                self.flow.granted(self.owed);
                self.owed = 0;
                room.send(&ExecAsk::Read { id: self.id, bytes });
            }
            match self.flow.take() {
                Some(Piece::Stdout(bytes)) => {
                    self.owed += bytes.len();
                    return ExecPiece::Stdout(bytes);
                }
                Some(Piece::Stderr(bytes)) => {
                    self.owed += bytes.len();
                    return ExecPiece::Stderr(bytes);
                }
                Some(Piece::Taken(bytes)) => return ExecPiece::Taken(bytes),
                Some(Piece::Ended(ended)) => {
                    self.over = true;
                    return ExecPiece::Ended(ended.into());
                }
                Some(Piece::Cut) => {
                    self.over = true;
                    return ExecPiece::Cut;
                }
                None => self.flow.changed().await,
            }
        }
    }

    /// Gives it input; whether it takes it, [`ExecPiece::Taken`] tells. Input to one that has ended is thrown away.
    ///
    /// Not cancel-safe: of long input a part may have gone.
    ///
    /// # Errors
    /// When more than [`INPUT_WINDOW`] bytes would be under way.
    pub async fn input(&mut self, bytes: &[u8], last: bool) -> Result<(), TooMuchInput> {
        self.flow.given(bytes.len())?;
        let mut pieces = bytes.chunks(EXEC_CHUNK).peekable();
        loop {
            let piece = pieces.next().unwrap_or_default();
            let done = pieces.peek().is_none();
            // Whether it still runs, `next` tells.
            let Ok(room) = self.link.room().await else { return Ok(()) };
            room.send(&ExecAsk::Input { id: self.id, bytes: piece.to_vec(), last: last && done });
            if done {
                return Ok(());
            }
        }
    }
}

impl Drop for ExecSession {
    fn drop(&mut self) {
        if !self.over {
            self.link.tell_in_time(ExecAsk::Kill { id: self.id });
        }
    }
}
