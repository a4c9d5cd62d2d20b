//! What the program of a launch is to the agent that executes it.

use crate::launch::ViewPlan;
use crate::wire::{Malformed, Reader, Writer};

/// What the program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The workload itself.
    Program,
    /// A wall with a kernel of its own: it keeps the capabilities of the agent's user namespace, and the agent behind
    /// it waits for a launch in its turn. Its standard input is the connection to that one.
    Wall,
    /// A program that makes a container around the workload, under the kernel of the host: it keeps the capabilities of
    /// the agent's user namespace, and its end is the workload's.
    Driver,
    /// The workload, behind a wall that stands: the agent there executes it.
    Guest(Box<GuestPlan>),
}

/// What the agent behind a wall does beyond executing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestPlan {
    /// Where the root file system lies, as that agent sees it.
    pub root: String,
    /// What it mounts in there. Sources of [`crate::ViewOp::Bind`] are paths
    /// that it had from its start.
    pub view: ViewPlan,
    /// Most processes of the workload's user.
    pub processes: Option<u32>,
}

impl Role {
    pub(crate) fn write(&self, w: &mut Writer) {
        match self {
            Self::Program => {
                w.u8(0);
            }
            Self::Wall => {
                w.u8(1);
            }
            Self::Driver => {
                w.u8(3);
            }
            Self::Guest(guest) => {
                let GuestPlan { root, view, processes } = &**guest;
                w.u8(2).text(root);
                view.write(w);
                w.option(processes.as_ref(), |w, n| {
                    w.u32(*n);
                });
            }
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        match r.u8()? {
            0 => Ok(Self::Program),
            1 => Ok(Self::Wall),
            3 => Ok(Self::Driver),
            2 => Ok(Self::Guest(Box::new(GuestPlan {
                root: r.text()?,
                view: ViewPlan::read(r)?,
                processes: r.option(Reader::u32)?,
            }))),
            _ => Err(Malformed::Value),
        }
    }
}
