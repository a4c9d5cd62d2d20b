//! The filter of a process of Insula's own that only carries bytes between sockets: the list for workloads, without what
//! such a process has no use for.

use super::profile::{ProfileError, Program, without};

/// What is taken off the list: whoever takes such a process over has no program to execute, nobody to signal, no file to
/// change, nobody to become. Names that this architecture does not have take nothing off.
const REFUSED: &[&str] = &[
    // Programs, and processes of their own.
    "execve",
    "execveat",
    "fork",
    "vfork",
    "wait4",
    "waitid",
    // Other processes.
    "kill",
    "tkill",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "pidfd_open",
    "pidfd_send_signal",
    "prlimit64",
    "setpgid",
    "setsid",
    "setpriority",
    "ioprio_set",
    "sched_setparam",
    "sched_setscheduler",
    "sched_setattr",
    // Somebody else, or other walls.
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "setfsuid",
    "setfsgid",
    "setgroups",
    "capset",
    "personality",
    "landlock_create_ruleset",
    "landlock_add_rule",
    "landlock_restrict_self",
    // Files: it reads the host's list of name servers, and changes nothing.
    "creat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "rmdir",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "chown",
    "lchown",
    "fchown",
    "fchownat",
    "truncate",
    "ftruncate",
    "fallocate",
    "utime",
    "utimes",
    "utimensat",
    "futimesat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "setxattrat",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    "removexattrat",
    "chdir",
    "fchdir",
    "umask",
    "inotify_init",
    "inotify_init1",
    "inotify_add_watch",
    "inotify_rm_watch",
    "sync",
    "syncfs",
    // Memory and messages that are shared by name, or outlive it.
    "memfd_create",
    "shmget",
    "shmat",
    "shmctl",
    "shmdt",
    "semget",
    "semop",
    "semctl",
    "semtimedop",
    "msgget",
    "msgsnd",
    "msgrcv",
    "msgctl",
    "mq_open",
    "mq_unlink",
    "mq_notify",
    "mq_timedsend",
    "mq_timedreceive",
    "mq_getsetattr",
    // Rarely used, and large.
    "io_setup",
    "io_submit",
    "io_getevents",
    "io_cancel",
    "io_destroy",
    "remap_file_pages",
    "map_shadow_stack",
];

/// The filter, for [`super::install`].
///
/// # Errors
/// When there is no table for this architecture.
pub fn carrier_profile() -> Result<Program, ProfileError> {
    without(REFUSED)
}

#[cfg(test)]
mod tests {
    use super::super::table::{ALLOWED, CONDITIONAL};
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_name_is_one_of_the_list() {
        let listed: Vec<_> =
            ALLOWED.iter().flat_map(|group| group.calls).chain(CONDITIONAL.iter().map(|c| &c.call)).collect();
        // A name written wrongly would take nothing off.
        let unknown: Vec<_> =
            REFUSED.iter().filter(|name| !listed.iter().any(|call| call.name == **name)).collect();
        assert!(unknown.is_empty(), "not allowed to anybody: {unknown:?}");
        assert!(carrier_profile().unwrap() != super::super::default_profile().unwrap()[0]);
    }
}
