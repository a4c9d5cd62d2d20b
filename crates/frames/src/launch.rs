//! A launch as an agent carries it out: decided by the host, executed without thought.

use std::fmt;

use crate::role::Role;
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
    /// Further groups.
    pub groups: Vec<u32>,
    /// The file system to build; `None` keeps the one of the last launch (or the host's, without a mount
    /// wall).
    pub view: Option<ViewPlan>,
    /// `RLIMIT_NOFILE`, soft and hard.
    pub open_files: Option<u32>,
    /// The signal that asks the program to end, in the place of SIGTERM.
    pub stop_signal: Option<i32>,
    /// What the program is.
    pub role: Role,
    /// Where it will listen.
    pub probe: Probe,
    /// Further system call filters, installed right before the program is executed.
    pub filters: Vec<Vec<u8>>,
    /// Whether a spill file travels beside the frame (first launch of a shell).
    pub spill: bool,
}

impl fmt::Debug for LaunchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { argv, env, cwd, ids, groups, view, open_files, stop_signal, role, probe, filters, spill } =
            self;
        let names: Vec<_> = env.iter().map(|pair| pair.split('=').next().unwrap_or_default()).collect();
        f.debug_struct("LaunchPlan")
            .field("argv", argv)
            .field("env", &names)
            .field("cwd", cwd)
            .field("ids", ids)
            .field("groups", groups)
            .field("view", view)
            .field("open_files", open_files)
            .field("stop_signal", stop_signal)
            .field("role", role)
            .field("probe", probe)
            .field("filters", &filters.len())
            .field("spill", spill)
            .finish()
    }
}

/// User and group ids inside the walls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// Whether the agent takes on id 0 of the user namespace (after the host has mapped it).
    pub agent_root: bool,
    /// User of the workload.
    pub workload: u32,
    /// Group of the workload.
    pub group: u32,
}

/// Where readiness is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// TCP port on the loopback.
    pub port: u16,
    /// Unix socket path inside.
    pub socket: String,
}

/// A root file system to build and move into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewPlan {
    /// Host name inside.
    pub hostname: String,
    /// What lies at the bottom.
    pub root: RootPlan,
    /// Whether writes to the root itself are refused once it is built.
    pub read_only: bool,
    /// A root for whoever runs behind a wall that stands already: where it is attached, before the steps. Then
    /// `root` is the one that is there, and says nothing.
    pub guest: Option<(String, RootPlan)>,
    /// Steps, in order. Parent directories are made as needed.
    pub ops: Vec<ViewOp>,
}

/// What the steps of a view are carried out on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootPlan {
    /// An empty file system in memory.
    Memory,
    /// Layers that are never written, and changes on top of them (overlayfs).
    Layers {
        /// From the bottom to the top.
        lowers: Vec<Tree>,
        /// A directory with `upper` and `work` for the changes; `None` keeps them in memory.
        changes: Option<Tree>,
        /// Most bytes of changes in memory.
        size: u64,
    },
}

/// A directory of the host, and who opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// The next file descriptor beside the frame: a detached mount, made by the host. Those of the root come
    /// before those of the steps.
    Passed,
    /// A host path that the agent itself can reach.
    Path(String),
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
    /// Cover this path with something empty, if it is there.
    Mask {
        /// What.
        target: String,
    },
    /// Refuse writes to this path and all below it, if it is there.
    ReadOnly {
        /// What.
        target: String,
    },
    /// What is mounted below this mount from now on shows in copies of it, too.
    Shared {
        /// What.
        target: String,
    },
    /// The agent's own program.
    Agent {
        /// Where.
        target: String,
    },
}

impl LaunchPlan {
    pub(crate) fn fds(&self) -> usize {
        let attached = self.view.iter().flat_map(|v| &v.ops);
        let attached = attached.filter(|op| matches!(op, ViewOp::Attach { .. })).count();
        attached + self.view.as_ref().map_or(0, ViewPlan::root_fds) + usize::from(self.spill)
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        let text = |w: &mut Writer, s: &String| {
            w.text(s);
        };
        w.list(&self.argv, text).list(&self.env, text).text(&self.cwd);
        w.option(self.ids.as_ref(), |w, ids| {
            w.bool(ids.agent_root).u32(ids.workload).u32(ids.group);
        });
        w.list(&self.groups, |w, id| {
            w.u32(*id);
        });
        w.option(self.view.as_ref(), |w, view| view.write(w));
        w.option(self.open_files.as_ref(), |w, n| {
            w.u32(*n);
        });
        w.option(self.stop_signal.as_ref(), |w, n| {
            w.i32(*n);
        });
        self.role.write(w);
        w.u16(self.probe.port).text(&self.probe.socket);
        w.list(&self.filters, |w, filter| {
            w.bytes(filter);
        });
        w.bool(self.spill);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            argv: r.list(Reader::text)?,
            env: r.list(Reader::text)?,
            cwd: r.text()?,
            ids: r.option(|r| Ok(Ids { agent_root: r.bool()?, workload: r.u32()?, group: r.u32()? }))?,
            groups: r.list(Reader::u32)?,
            view: r.option(ViewPlan::read)?,
            open_files: r.option(Reader::u32)?,
            stop_signal: r.option(Reader::i32)?,
            role: Role::read(r)?,
            probe: Probe { port: r.u16()?, socket: r.text()? },
            filters: r.list(|r| Ok(r.bytes()?.to_vec()))?,
            spill: r.bool()?,
        })
    }
}

impl ViewPlan {
    /// How many file descriptors are passed for what lies at the bottom.
    #[must_use]
    pub fn root_fds(&self) -> usize {
        self.root.fds() + self.guest.as_ref().map_or(0, |(_, root)| root.fds())
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.text(&self.hostname);
        self.root.write(w);
        w.bool(self.read_only);
        w.option(self.guest.as_ref(), |w, (target, root)| {
            w.text(target);
            root.write(w);
        });
        w.list(&self.ops, |w, op| op.write(w));
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            hostname: r.text()?,
            root: RootPlan::read(r)?,
            read_only: r.bool()?,
            guest: r.option(|r| Ok((r.text()?, RootPlan::read(r)?)))?,
            ops: r.list(ViewOp::read)?,
        })
    }
}

impl RootPlan {
    fn fds(&self) -> usize {
        let Self::Layers { lowers, changes, .. } = self else { return 0 };
        lowers.iter().chain(changes).filter(|tree| **tree == Tree::Passed).count()
    }

    fn write(&self, w: &mut Writer) {
        match self {
            Self::Memory => {
                w.u8(0);
            }
            Self::Layers { lowers, changes, size } => {
                w.u8(1).list(lowers, |w, tree| tree.write(w));
                w.option(changes.as_ref(), |w, tree| tree.write(w)).u64(*size);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match r.u8()? {
            0 => Self::Memory,
            1 => Self::Layers { lowers: r.list(Tree::read)?, changes: r.option(Tree::read)?, size: r.u64()? },
            _ => return Err(Malformed::Value),
        })
    }
}

impl Tree {
    fn write(&self, w: &mut Writer) {
        w.option(
            match self {
                Self::Passed => None,
                Self::Path(path) => Some(path),
            },
            |w, path| {
                w.text(path);
            },
        );
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(r.option(Reader::text)?.map_or(Self::Passed, Self::Path))
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
            Self::Mask { target } => w.u8(8).text(target),
            Self::ReadOnly { target } => w.u8(9).text(target),
            Self::Shared { target } => w.u8(10).text(target),
            Self::Agent { target } => w.u8(11).text(target),
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
            8 => Self::Mask { target: r.text()? },
            9 => Self::ReadOnly { target: r.text()? },
            10 => Self::Shared { target: r.text()? },
            11 => Self::Agent { target: r.text()? },
            _ => return Err(Malformed::Value),
        })
    }
}
