//! A launch as an agent carries it out: decided by the host, executed without thought.

use std::fmt;

use crate::wire::{Malformed, Reader, Writer};

/// What to run, what it sees, under which limits of its own. `Debug` shows the names of the environment and
/// not its values, which may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct LaunchPlan {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment, as `NAME=value`.
    pub env: Vec<String>,
    /// Working directory inside.
    pub cwd: String,
    /// Ids to take on; `None` keeps the only one there is.
    pub ids: Option<Ids>,
    /// The file system to build; `None` keeps the one of the last launch (or the host's, without a mount
    /// wall).
    pub view: Option<ViewPlan>,
    /// `RLIMIT_NOFILE`, soft and hard.
    pub open_files: Option<u32>,
    /// Where it will listen.
    pub probe: Probe,
    /// Whether a spill file travels beside the frame (first launch of a shell).
    pub spill: bool,
}

impl fmt::Debug for LaunchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { argv, env, cwd, ids, view, open_files, probe, spill } = self;
        let names: Vec<_> = env.iter().map(|pair| pair.split('=').next().unwrap_or_default()).collect();
        f.debug_struct("LaunchPlan")
            .field("argv", argv)
            .field("env", &names)
            .field("cwd", cwd)
            .field("ids", ids)
            .field("view", view)
            .field("open_files", open_files)
            .field("probe", probe)
            .field("spill", spill)
            .finish()
    }
}

/// User and group ids inside the walls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// Whether the agent takes on id 0 of the user namespace (after the host has mapped it).
    pub agent_root: bool,
    /// User and group of the workload.
    pub workload: u32,
}

/// Where readiness is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// TCP port on the loopback.
    pub port: u16,
    /// Unix socket path inside.
    pub socket: String,
}

/// A root file system to build in memory and move into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewPlan {
    /// Host name inside.
    pub hostname: String,
    /// Steps, in order. Parent directories are made as needed.
    pub ops: Vec<ViewOp>,
}

/// One step of building a root file system. All paths are absolute and inside, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewOp {
    /// Attach the next file descriptor beside the frame: a detached mount, made by the host.
    Attach {
        /// Where.
        target: String,
        /// Whether it is a directory.
        dir: bool,
    },
    /// Bind a host path that the agent itself can reach.
    Bind {
        /// Host path.
        source: String,
        /// Where.
        target: String,
        /// Whether writes are refused.
        read_only: bool,
        /// Whether a missing source is skipped rather than an error.
        optional: bool,
    },
    /// An empty memory file system.
    Tmpfs {
        /// Where.
        target: String,
        /// Permission bits of its root.
        mode: u32,
        /// Size in bytes.
        size: u64,
    },
    /// A private process file system.
    Proc {
        /// Where.
        target: String,
    },
    /// A symbolic link.
    Symlink {
        /// Where.
        target: String,
        /// What it says.
        to: String,
    },
    /// A small read-only file.
    File {
        /// Where.
        target: String,
        /// Its content.
        content: Vec<u8>,
    },
    /// An empty directory.
    Dir {
        /// Where.
        target: String,
        /// Permission bits.
        mode: u32,
    },
    /// Give this path to the workload's ids, if it is not theirs yet.
    Own {
        /// What.
        target: String,
    },
}

impl LaunchPlan {
    pub(crate) fn fds(&self) -> usize {
        let attached = self.view.iter().flat_map(|v| &v.ops);
        attached.filter(|op| matches!(op, ViewOp::Attach { .. })).count() + usize::from(self.spill)
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        let text = |w: &mut Writer, s: &String| {
            w.text(s);
        };
        w.list(&self.argv, text).list(&self.env, text).text(&self.cwd);
        w.option(self.ids.as_ref(), |w, ids| {
            w.bool(ids.agent_root).u32(ids.workload);
        });
        w.option(self.view.as_ref(), |w, view| {
            w.text(&view.hostname).list(&view.ops, |w, op| op.write(w));
        });
        w.option(self.open_files.as_ref(), |w, n| {
            w.u32(*n);
        });
        w.u16(self.probe.port).text(&self.probe.socket).bool(self.spill);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            argv: r.list(Reader::text)?,
            env: r.list(Reader::text)?,
            cwd: r.text()?,
            ids: r.option(|r| Ok(Ids { agent_root: r.bool()?, workload: r.u32()? }))?,
            view: r.option(|r| Ok(ViewPlan { hostname: r.text()?, ops: r.list(ViewOp::read)? }))?,
            open_files: r.option(Reader::u32)?,
            probe: Probe { port: r.u16()?, socket: r.text()? },
            spill: r.bool()?,
        })
    }
}

impl ViewOp {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Attach { target, dir } => w.u8(0).text(target).bool(*dir),
            Self::Bind { source, target, read_only, optional } => {
                w.u8(1).text(source).text(target).bool(*read_only).bool(*optional)
            }
            Self::Tmpfs { target, mode, size } => w.u8(2).text(target).u32(*mode).u64(*size),
            Self::Proc { target } => w.u8(3).text(target),
            Self::Symlink { target, to } => w.u8(4).text(target).text(to),
            Self::File { target, content } => w.u8(5).text(target).bytes(content),
            Self::Dir { target, mode } => w.u8(6).text(target).u32(*mode),
            Self::Own { target } => w.u8(7).text(target),
        };
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match r.u8()? {
            0 => Self::Attach { target: r.text()?, dir: r.bool()? },
            1 => {
                Self::Bind { source: r.text()?, target: r.text()?, read_only: r.bool()?, optional: r.bool()? }
            }
            2 => Self::Tmpfs { target: r.text()?, mode: r.u32()?, size: r.u64()? },
            3 => Self::Proc { target: r.text()? },
            4 => Self::Symlink { target: r.text()?, to: r.text()? },
            5 => Self::File { target: r.text()?, content: r.bytes()?.to_vec() },
            6 => Self::Dir { target: r.text()?, mode: r.u32()? },
            7 => Self::Own { target: r.text()? },
            _ => return Err(Malformed::Value),
        })
    }
}
