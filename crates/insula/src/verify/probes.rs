//! What is tried, against whom, and which level promises to stop it.

use clap::ValueEnum;
use insula_spec::Level;

/// One attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub(crate) enum Probe {
    /// Finds the neighbour's word in some command line.
    NeighbourProcess,
    /// Opens the neighbour's memory.
    NeighbourMemory,
    /// May send it a signal.
    NeighbourSignal,
    /// Becomes its tracer.
    NeighbourTrace,
    /// Reads its file.
    NeighbourFile,
    /// Reads its file through a link of one's own.
    NeighbourLink,
    /// Reads what Insula keeps.
    State,
    /// Connects to Insula's control socket.
    ControlSocket,
    /// Connects to the host's loopback.
    HostLoopback,
    /// Connects to an abstract Unix socket of the host.
    HostAbstract,
    /// Connects to the host by its own address.
    HostAddress,
    /// Connects to where clouds hand out credentials.
    Metadata,
    /// Opens a raw socket.
    RawSocket,
    /// Writes to the program's own folder.
    OwnCode,
    /// Writes to a setting of the kernel.
    KernelSetting,
    /// Makes and opens a device.
    Device,
    /// Executes a set-user-id program of root.
    SetUserId,
    /// Asks to be root.
    BecomeRoot,
    /// Mounts a file system.
    Mount,
    /// Makes a user namespace.
    UserNamespace,
    /// Enters a network namespace.
    EnterNetwork,
    /// Changes its root.
    ChangeRoot,
    /// Uses the kernel's keyrings.
    Keyring,
    /// Loads a map for programs in the kernel.
    KernelMap,
    /// Counts events of everybody.
    KernelCounter,
    /// Makes a ring of `io_uring`.
    Ring,
    /// Sets the clock.
    Clock,
    /// Starts more processes than it may.
    ForkBomb,
    /// Uses more memory than it may.
    MemoryBomb,
    /// Writes more than it may keep.
    DiskFill,
    /// Leaves a process behind that outlives the stop.
    Outlive,
}

/// How many processes an instance may have while it is verified.
pub(super) const PIDS: usize = 48;
/// How much memory, in MiB.
pub(super) const MEMORY_MB: usize = 96;
/// How much of the disk, in MiB.
pub(super) const DISK_MB: usize = 32;

/// What an attempt is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// Nothing outside of the program.
    Nothing,
    /// The word on the neighbour's command line.
    Word,
    /// The neighbour's process.
    Pid,
    /// The neighbour's file.
    File,
    /// The database of the home.
    Database,
    /// The control socket of the home.
    Socket,
    /// A listener on the host's loopback.
    Loopback,
    /// An abstract socket of the host.
    Abstract,
    /// A listener on another address of the host.
    Address,
    /// The folder that the program lies in.
    Folder,
    /// A set-user-id program.
    SetUserId,
    /// A word that marks what is left behind.
    Mark,
}

/// What stops an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Something that every level has.
    Always,
    /// Another user id, which `process` has under root alone.
    Ids,
    /// The walls of `namespace` and above.
    Walls,
    /// The system call filter of `namespace` and `container`. Levels with a kernel of their own let a program do in
    /// there what it likes.
    Filter,
}

/// What is known of an attempt before it is made.
#[derive(Debug)]
struct About {
    id: &'static str,
    what: &'static str,
    by: By,
    aim: Aim,
}

const fn about(id: &'static str, what: &'static str, by: By, aim: Aim) -> About {
    About { id, what, by, aim }
}

/// In the order of [`Probe`].
#[rustfmt::skip]
const ABOUT: [About; 31] = [
    about("neighbour-process", "see a neighbour's processes", By::Walls, Aim::Word),
    about("neighbour-memory", "open a neighbour's memory", By::Ids, Aim::Pid),
    about("neighbour-signal", "signal a neighbour", By::Ids, Aim::Pid),
    about("neighbour-trace", "trace a neighbour", By::Ids, Aim::Pid),
    about("neighbour-file", "read a neighbour's file", By::Ids, Aim::File),
    about("neighbour-link", "read it through a symbolic link", By::Ids, Aim::File),
    about("state", "read Insula's own state", By::Ids, Aim::Database),
    about("control-socket", "connect to Insula's control socket", By::Ids, Aim::Socket),
    about("host-loopback", "connect to the host's loopback", By::Walls, Aim::Loopback),
    about("host-abstract", "connect to the host's abstract sockets", By::Walls, Aim::Abstract),
    about("host-address", "connect to the host's own address", By::Walls, Aim::Address),
    about("metadata", "connect to 169.254.169.254", By::Walls, Aim::Nothing),
    about("raw-socket", "open a raw socket", By::Ids, Aim::Nothing),
    about("own-code", "change the program's own code", By::Ids, Aim::Folder),
    about("kernel-setting", "write to a setting of the kernel", By::Ids, Aim::Nothing),
    about("device", "make and open a device", By::Filter, Aim::Nothing),
    about("set-user-id", "become root by a set-user-id file", By::Always, Aim::SetUserId),
    about("become-root", "become root by asking", By::Ids, Aim::Nothing),
    about("mount", "mount a file system", By::Filter, Aim::Nothing),
    about("user-namespace", "make a user namespace", By::Filter, Aim::Nothing),
    about("enter-network", "enter a network namespace", By::Walls, Aim::Nothing),
    about("change-root", "change its root", By::Ids, Aim::Nothing),
    about("keyring", "use the kernel's keyrings", By::Filter, Aim::Nothing),
    about("kernel-map", "load into the kernel (bpf)", By::Filter, Aim::Nothing),
    about("kernel-counter", "watch the kernel (perf)", By::Filter, Aim::Nothing),
    about("ring", "make an io_uring", By::Filter, Aim::Nothing),
    about("clock", "set the clock", By::Ids, Aim::Nothing),
    about("fork-bomb", "start more processes than its limit", By::Always, Aim::Nothing),
    about("memory-bomb", "use more memory than its limit", By::Always, Aim::Nothing),
    about("disk-fill", "write more than its disk limit", By::Walls, Aim::Nothing),
    about("outlive", "leave a process that outlives the stop", By::Always, Aim::Mark),
];

impl Probe {
    fn about(self) -> &'static About {
        &ABOUT[self as usize]
    }

    /// Its name on the command line and in JSON.
    pub(crate) fn id(self) -> &'static str {
        self.about().id
    }

    /// What it does, for people.
    pub(crate) fn what(self) -> &'static str {
        self.about().what
    }

    /// What it is aimed at.
    pub(super) fn aim(self) -> Aim {
        self.about().aim
    }

    /// What stops it.
    pub(crate) fn by(self) -> By {
        self.about().by
    }

    /// Whether a level promises to stop it, under root or an ordinary user.
    pub(crate) fn is_stopped_at(self, level: Level, root: bool) -> bool {
        match self.by() {
            By::Always => true,
            By::Ids => root || level.satisfies(Level::Namespace),
            By::Walls => level.satisfies(Level::Namespace),
            By::Filter => matches!(level, Level::Namespace | Level::Container),
        }
    }

    /// Whether it needs limits to be set, which not every host can do.
    pub(super) fn needs_limits(self) -> bool {
        matches!(self, Self::ForkBomb | Self::MemoryBomb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for probe in Probe::value_variants() {
            assert_eq!(probe.to_possible_value().unwrap().get_name(), probe.id());
        }
    }
}
