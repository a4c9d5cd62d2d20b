//! What an agent says to its host.

use crate::exec::ExecNews;
use crate::wire::{Malformed, Reader, Writer};
use crate::{MAX_FDS, MAX_LINE};

/// How the main process ended, as `wait(2)` told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It returned this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Where in its life a set of walls is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was launched yet.
    Blank,
    /// The workload runs.
    Running {
        /// Whether it accepts connections already.
        listening: bool,
    },
    /// The workload ended.
    Exited(Ended),
}

/// Which step of a launch failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Raising the walls.
    Walls,
    /// Taking on ids.
    Ids,
    /// Building the root file system.
    View,
    /// Setting resource limits.
    Limits,
    /// Installing the system call filter.
    Filter,
    /// Entering the working directory.
    Cwd,
    /// Executing the program.
    Exec,
}

impl Step {
    const ALL: [Self; 7] =
        [Self::Walls, Self::Ids, Self::View, Self::Limits, Self::Filter, Self::Cwd, Self::Exec];

    /// What was being done, for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Walls => "raise the walls",
            Self::Ids => "take on the ids of the instance",
            Self::View => "build its root file system",
            Self::Limits => "set resource limits",
            Self::Filter => "install the system call filter",
            Self::Cwd => "enter the working directory",
            Self::Exec => "execute the program",
        }
    }

    /// Its number on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        Self::ALL.iter().zip(0..).find(|(step, _)| **step == self).map_or(u8::MAX, |(_, n)| n)
    }

    /// The step of this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// One captured line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Position among all lines of these walls.
    pub seq: u64,
    /// When it was read, in microseconds since 1970.
    pub micros: u64,
    /// Whether it came from standard error.
    pub stderr: bool,
    /// Its bytes, at most [`MAX_LINE`].
    pub bytes: Vec<u8>,
}

/// A frame from an agent to its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromAgent {
    /// Answer to `Hello`.
    Welcome {
        /// [`crate::VERSION`].
        version: u16,
        /// Name of this set of walls.
        key: String,
        /// Where in its life it is.
        phase: Phase,
        /// Sequence number that the next captured line will get.
        next_line: u64,
    },
    /// The walls stand; from now on this host pid is the agent.
    ShellReady {
        /// Pid in the namespace of the host.
        pid: i32,
    },
    /// The workload was executed.
    Started,
    /// The walls or the workload could not be made.
    Failed {
        /// Which step.
        step: Step,
        /// Error number of the system call.
        errno: i32,
        /// On what, for people.
        detail: String,
    },
    /// The commit was understood.
    Committed,
    /// The workload accepts connections. One connected socket travels beside it if `passed`.
    Listening {
        /// IPv6 loopback.
        v6: bool,
        /// The Unix socket rather than TCP.
        unix: bool,
        /// Whether the connection that proved it is passed.
        passed: bool,
    },
    /// The main process ended and everything else was killed; all output was read.
    Exited {
        /// How.
        ended: Ended,
        /// Sequence number after the last line.
        next_line: u64,
    },
    /// Unconnected sockets, `count` of them beside the frame.
    Sockets {
        /// How many.
        count: u8,
    },
    /// The listeners of the network wall, `count` of them beside the frame: TCP and UDP for IPv4, then for IPv6
    /// where the kernel has it.
    Egress {
        /// How many: 0, 2 or 4.
        count: u8,
        /// Where there are none, why the wall could not be built: the error number, 0 where there is no wall.
        errno: i32,
    },
    /// `Pause` or `Resume` was carried out.
    Done,
    /// About commands beside the workload.
    Exec(ExecNews),
    /// Captured lines, perhaps after a gap.
    Log {
        /// First and first-not-lost sequence number of what was lost before them.
        gap: Option<(u64, u64)>,
        /// The lines, in order.
        lines: Vec<Line>,
    },
}

impl FromAgent {
    /// The frame as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w;
        match self {
            Self::Welcome { version, key, phase, next_line } => {
                w = Writer::new(0);
                w.u16(*version).text(key);
                phase.write(&mut w);
                w.u64(*next_line);
            }
            Self::ShellReady { pid } => {
                w = Writer::new(1);
                w.i32(*pid);
            }
            Self::Started => w = Writer::new(2),
            Self::Failed { step, errno, detail } => {
                w = Writer::new(3);
                w.u8(step.code()).i32(*errno).text(detail);
            }
            Self::Committed => w = Writer::new(4),
            Self::Listening { v6, unix, passed } => {
                w = Writer::new(5);
                w.bool(*v6).bool(*unix).bool(*passed);
            }
            Self::Exited { ended, next_line } => {
                w = Writer::new(6);
                ended.write(&mut w);
                w.u64(*next_line);
            }
            Self::Sockets { count } => {
                w = Writer::new(7);
                w.u8(*count);
            }
            Self::Egress { count, errno } => {
                w = Writer::new(10);
                w.u8(*count).i32(*errno);
            }
            Self::Done => w = Writer::new(9),
            Self::Exec(news) => {
                w = Writer::new(11);
                news.write(&mut w);
            }
            Self::Log { gap, lines } => {
                w = Writer::new(8);
                w.option(gap.as_ref(), |w, (from, to)| {
                    w.u64(*from).u64(*to);
                });
                w.list(lines, |w, line| {
                    w.u64(line.seq).u64(line.micros).bool(line.stderr).bytes(&line.bytes);
                });
            }
        }
        w.finish()
    }

    /// Reads a frame of this kind with these fields.
    ///
    /// # Errors
    /// When they break the protocol.
    pub fn decode(kind: u8, fields: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(fields);
        let frame = match kind {
            0 => Self::Welcome {
                version: r.u16()?,
                key: r.text()?,
                phase: Phase::read(&mut r)?,
                next_line: r.u64()?,
            },
            1 => Self::ShellReady { pid: r.i32()? },
            2 => Self::Started,
            3 => Self::Failed {
                step: Step::from_code(r.u8()?).ok_or(Malformed::Value)?,
                errno: r.i32()?,
                detail: r.text()?,
            },
            4 => Self::Committed,
            5 => Self::Listening { v6: r.bool()?, unix: r.bool()?, passed: r.bool()? },
            6 => Self::Exited { ended: Ended::read(&mut r)?, next_line: r.u64()? },
            7 => Self::Sockets {
                count: Some(r.u8()?).filter(|n| usize::from(*n) <= MAX_FDS).ok_or(Malformed::Value)?,
            },
            8 => Self::Log { gap: r.option(|r| Ok((r.u64()?, r.u64()?)))?, lines: r.list(Line::read)? },
            9 => Self::Done,
            11 => Self::Exec(ExecNews::read(&mut r)?),
            10 => Self::Egress {
                count: Some(r.u8()?).filter(|n| matches!(n, 0 | 2 | 4)).ok_or(Malformed::Value)?,
                errno: r.i32()?,
            },
            other => return Err(Malformed::Kind(other)),
        };
        r.end()?;
        Ok(frame)
    }

    /// How many file descriptors travel beside this frame.
    #[must_use]
    pub fn fds(&self) -> usize {
        match self {
            Self::Listening { passed, .. } => usize::from(*passed),
            Self::Sockets { count } | Self::Egress { count, .. } => usize::from(*count),
            _ => 0,
        }
    }
}

impl Line {
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let line = Self { seq: r.u64()?, micros: r.u64()?, stderr: r.bool()?, bytes: r.bytes()?.to_vec() };
        if line.bytes.len() > MAX_LINE { Err(Malformed::Value) } else { Ok(line) }
    }
}

impl Ended {
    pub(crate) fn write(self, w: &mut Writer) {
        match self {
            Self::Code(code) => w.u8(0).i32(code),
            Self::Signal(signal) => w.u8(1).i32(signal),
        };
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        match r.u8()? {
            0 => r.i32().map(Self::Code),
            1 => r.i32().map(Self::Signal),
            _ => Err(Malformed::Value),
        }
    }
}

impl Phase {
    fn write(self, w: &mut Writer) {
        match self {
            Self::Blank => {
                w.u8(0);
            }
            Self::Running { listening } => {
                w.u8(1).bool(listening);
            }
            Self::Exited(ended) => {
                w.u8(2);
                ended.write(w);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        match r.u8()? {
            0 => Ok(Self::Blank),
            1 => Ok(Self::Running { listening: r.bool()? }),
            2 => Ended::read(r).map(Self::Exited),
            _ => Err(Malformed::Value),
        }
    }
}
