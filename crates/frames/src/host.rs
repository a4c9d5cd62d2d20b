//! What a host says to an agent.

use crate::exec::ExecAsk;
use crate::launch::LaunchPlan;
use crate::wire::{Malformed, Reader, Writer};

/// Most control group files that a [`Setup`] can carry.
pub const SETUP_MAX_FDS: usize = 16;

/// Which walls a shell is made of, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Walls(pub u8);

impl Walls {
    /// Own user namespace.
    pub const USER: Self = Self(1);
    /// Own pid namespace; the agent is its PID 1.
    pub const PID: Self = Self(2);
    /// Own mount namespace.
    pub const MOUNT: Self = Self(4);
    /// Own network namespace.
    pub const NET: Self = Self(8);
    /// Own ipc namespace.
    pub const IPC: Self = Self(16);
    /// Own uts namespace.
    pub const UTS: Self = Self(32);
    /// The network namespace is connected by the host: no listeners are put up in it.
    pub const ROUTED: Self = Self(64);

    /// All of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every wall of `other` is here too.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The first frame to a new agent: makes it a blank shell.
///
/// Beside it travel, in order: `agent_groups` control group files that the agent writes itself into,
/// `app_groups` ones for the workload, the listening socket for adoption, and what it only holds on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Name of this set of walls; told back in `Welcome`.
    pub key: String,
    /// Generation of the launcher: no older host is obeyed after it.
    pub epoch: u64,
    /// The walls to raise.
    pub walls: Walls,
    /// In a user namespace of one id: the id inside that stands for the caller's own. `None` leaves the
    /// mapping to the host.
    pub map_self: Option<u32>,
    /// How many control group files are the agent's.
    pub agent_groups: u8,
    /// How many control group files are the workload's.
    pub app_groups: u8,
    /// Whether a descriptor comes last that means something as long as the agent has it.
    pub token: bool,
    /// System call filters for the workload, to be installed in this order, as arrays of
    /// `struct sock_filter`. Installing one costs most of a millisecond, so it is done ahead.
    pub filters: Vec<Vec<u8>>,
}

/// A frame from a host to an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToAgent {
    /// Opens a connection to a running agent. The connection with the highest epoch is the one obeyed.
    Hello {
        /// [`crate::VERSION`].
        version: u16,
        /// Generation of the host side.
        epoch: u64,
        /// First log line wanted; all before it are stored.
        logs_from: u64,
    },
    /// Raise the walls.
    Setup(Setup),
    /// Build the view, run the workload. Beside it travel the mounts of the view, in order, and last a
    /// file to spill log lines into.
    Launch(Box<LaunchPlan>),
    /// The launch is recorded: outlive the launcher.
    Commit,
    /// Send this signal to the main process.
    Signal(i32),
    /// End everything but the agent.
    KillAll,
    /// Stop every process but the agent (only where no control group can freeze).
    Pause,
    /// Let them go on.
    Resume,
    /// Make this many unconnected TCP sockets in the network of the workload and pass them out.
    Sockets {
        /// How many, 1 to [`crate::MAX_FDS`].
        count: u8,
        /// IPv6 rather than IPv4.
        v6: bool,
    },
    /// Pass out the listeners of the network wall.
    Egress,
    /// All lines before this one are stored.
    LogAck {
        /// First line still needed.
        next: u64,
    },
    /// About commands beside the workload.
    Exec(ExecAsk),
    /// Nothing more to do: end.
    Bye,
}

impl ToAgent {
    /// The frame as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w;
        match self {
            Self::Hello { version, epoch, logs_from } => {
                w = Writer::new(0);
                w.u16(*version).u64(*epoch).u64(*logs_from);
            }
            Self::Setup(setup) => {
                w = Writer::new(1);
                w.text(&setup.key).u64(setup.epoch).u8(setup.walls.0);
                w.option(setup.map_self.as_ref(), |w, id| {
                    w.u32(*id);
                });
                w.u8(setup.agent_groups).u8(setup.app_groups).bool(setup.token);
                w.list(&setup.filters, |w, f| {
                    w.bytes(f);
                });
            }
            Self::Launch(plan) => {
                w = Writer::new(2);
                plan.write(&mut w);
            }
            Self::Commit => w = Writer::new(3),
            Self::Signal(signal) => {
                w = Writer::new(4);
                w.i32(*signal);
            }
            Self::KillAll => w = Writer::new(5),
            Self::Pause => w = Writer::new(6),
            Self::Resume => w = Writer::new(7),
            Self::Sockets { count, v6 } => {
                w = Writer::new(8);
                w.u8(*count).bool(*v6);
            }
            Self::LogAck { next } => {
                w = Writer::new(9);
                w.u64(*next);
            }
            Self::Bye => w = Writer::new(10),
            Self::Egress => w = Writer::new(11),
            Self::Exec(ask) => {
                w = Writer::new(12);
                ask.write(&mut w);
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
            0 => Self::Hello { version: r.u16()?, epoch: r.u64()?, logs_from: r.u64()? },
            1 => Self::Setup(Setup {
                key: r.text()?,
                epoch: r.u64()?,
                walls: Walls(r.u8()?),
                map_self: r.option(Reader::u32)?,
                agent_groups: r.u8()?,
                app_groups: r.u8()?,
                token: r.bool()?,
                filters: r.list(|r| r.bytes().map(<[u8]>::to_vec))?,
            }),
            2 => Self::Launch(Box::new(LaunchPlan::read(&mut r)?)),
            3 => Self::Commit,
            4 => Self::Signal(r.i32()?),
            5 => Self::KillAll,
            6 => Self::Pause,
            7 => Self::Resume,
            8 => Self::Sockets { count: r.u8()?, v6: r.bool()? },
            9 => Self::LogAck { next: r.u64()? },
            10 => Self::Bye,
            11 => Self::Egress,
            12 => Self::Exec(ExecAsk::read(&mut r)?),
            other => return Err(Malformed::Kind(other)),
        };
        r.end()?;
        Ok(frame)
    }

    /// How many file descriptors travel beside this frame.
    #[must_use]
    pub fn fds(&self) -> usize {
        match self {
            Self::Setup(setup) => {
                usize::from(setup.agent_groups) + usize::from(setup.app_groups) + 1 + usize::from(setup.token)
            }
            Self::Launch(plan) => plan.fds(),
            _ => 0,
        }
    }
}
