//! The protocol between a host and the agent behind its wall.
//!
//! A frame is a `u32` length (little-endian, of what follows), a `u8` kind, and the fields of that kind in
//! order. Strings and byte strings are a `u32` length and their bytes; lists are a `u32` count and their
//! items. File descriptors travel beside the frame that announces them, in its order, over `SCM_RIGHTS`.
//!
//! ```text
//!  host                              agent (stage 0)            agent (inside)
//!   │ Setup + fds ────────────────────► │ unshare, fork ───────────►│
//!   │ ◄───────────────── ShellReady{pid}│ exits                     │  blank shell, waits
//!   │ Launch + fds ────────────────────────────────────────────────►│  builds the view, runs the workload
//!   │ ◄──────────────────────────────────────────────────── Started │
//!   │ Commit ──────────────────────────────────────────────────────►│  from here it outlives its launcher
//!   │ ◄──────────────────────────────────────────────────  Committed│
//!   │ ◄─────────────────────────────────────────────── Listening+fd │
//!   │ ◄────────────────────────────────────────── Log ─── LogAck ──►│
//!   │ ◄────────────────────────────────────────────────────  Exited │
//!   │ Egress ──────────────────────────────────────────────────────►│  asked again by every new host
//!   │ ◄─────────────────────────────────────────── Egress+listeners │
//!   │ Pause, Resume ───────────────────────────────────────────────►│  where no control group can freeze
//!   │ ◄──────────────────────────────────────────────────────  Done │
//!   │ Exec ───────────────────────────────────────────────────────►│  commands beside the workload, see [`ExecAsk`]
//!   │ ◄──────────────────────────────────────────────────────  Exec │
//!   │ Launch (again, same walls) or Bye ───────────────────────────►│
//! ```
//! After a restart of the host side a new connection starts with `Hello`, answered by `Welcome`.
//!
//! Behind a wall with a kernel of its own is another agent, that of its guest. The one outside is host to it: they
//! speak the same frames over the standard input of the wall.
//!
//! ```text
//!  host             agent              agent of the guest
//!   │ Launch{Wall} ──►│ executes the wall ──►│
//!   │ ◄────── Started │ ◄────── ShellReady{1}│  waits
//!   │ Launch{Guest} ─►│ builds the view, Launch ──►│  mounts, executes
//!   │ ◄────── Started │ ◄─────────── Started │
//!   │ Signal ────────►│ Signal ─────────────►│
//!   │ ◄─────── Exited │ ◄──────────── Exited │  waits for the next Launch{Guest}
//! ```
//!
//! Both sides decode strictly: an unknown kind, a length beyond the bound, trailing bytes or malformed text
//! is an error, never a guess. The host treats what comes from an agent as hostile.
#![forbid(unsafe_code)]

mod agent;
mod exec;
mod host;
mod launch;
mod role;
mod wire;

pub use agent::{Ended, FromAgent, Line, Phase, Step};
pub use exec::{
    EXEC_CHUNK, EXEC_INPUT_WINDOW, EXEC_MAX, EXEC_OUTPUT_WINDOW, ExecAsk, ExecNews, ExecPlan, ExecWhat,
};
pub use host::{SETUP_MAX_FDS, Setup, ToAgent, Walls};
pub use launch::{Ids, LaunchPlan, Probe, RootPlan, Tree, ViewOp, ViewPlan};
pub use role::{GuestPlan, Role};
pub use wire::{Decoder, Malformed};

/// Version of this protocol. Both sides refuse any other.
pub const VERSION: u16 = 3;

/// Largest frame that a host sends, in bytes after the length: room for a large environment.
pub const MAX_TO_AGENT: usize = 1 << 20;

/// Largest frame that an agent sends, in bytes after the length.
pub const MAX_FROM_AGENT: usize = 192 * 1024;

/// Most file descriptors beside one frame: the layers of an image, and mounts.
pub const MAX_FDS: usize = 192;

/// What the agent behind a wall is executed as: that is how it knows where it is.
pub const GUEST_AGENT: &str = "/agent";

/// Where the agent behind a wall puts the root file system of the workload.
pub const GUEST_ROOT: &str = "/root";

/// The word after which the agent behind a wall launches something of its own before it says that it waits.
pub const GUEST_REHEARSES: &str = "rehearse";

/// Longest line in a [`FromAgent::Log`], in bytes; a longer one is split.
pub const MAX_LINE: usize = 16 * 1024;

/// Log frames that may be under way without an acknowledgement. An agent that sends more breaks the protocol.
pub const LOG_WINDOW: usize = 16;

const _: () = assert!(MAX_LINE * 2 < MAX_FROM_AGENT, "a log frame must hold any line");
const _: () = assert!(EXEC_CHUNK * 2 < MAX_FROM_AGENT, "a frame must hold any piece of output");
