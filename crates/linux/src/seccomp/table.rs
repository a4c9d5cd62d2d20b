//! The table: every system call this kernel interface has, in one group each.
//!
//! To allow a call, move its name from a group of [`REFUSED`] to one of [`ALLOWED`], or give it a
//! [`Condition`] in [`CONDITIONAL`]. Numbers come from `libc`, written out only where `libc` lacks them.
//! The measure is the default of the common container engines for a program without any capability: what Docker or
//! Podman refuse to it is refused here, but for the calls of [`NEWER`]. Tests compare it with both.

use super::call::{Call, Condition, Conditional, Group};

/// The highest number in this table. Calls beyond it are answered with `ENOSYS`, as by a kernel that does
/// not have them yet, so that programs fall back.
pub const NEWEST: u32 = 467;

/// Answered with `ENOSYS`: its flags lie in memory, where a filter cannot read them; the C library falls
/// back to `clone`.
pub const CLONE3: Call = Call::known("SYS_clone3", libc::SYS_clone3);

macro_rules! calls {
    ($($sys:ident)*) => { &[$(Call::known(stringify!($sys), libc::$sys)),*] };
}

macro_rules! group {
    ($name:literal, $reason:literal, $calls:expr) => {
        Group { name: $name, reason: $reason, calls: $calls }
    };
}

/// Every flag of clone(2) that makes a namespace (`CLONE_NEWTIME` cannot be asked for by it).
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;
/// Put a character into the input of a terminal, as if typed (ioctl_tty(2)).
const TIOCSTI: u32 = 0x5412;
/// Paste into a virtual console (ioctl_console(2)).
const TIOCLINUX: u32 = 0x541c;
/// Returns the personality without changing it.
const PERSONALITY_QUERY: u32 = 0xffff_ffff;

/// Allowed with some arguments only.
pub const CONDITIONAL: &[Conditional] = &[
    Conditional {
        call: Call::known("SYS_clone", libc::SYS_clone),
        condition: Condition::NoneOf(0, NAMESPACE_FLAGS),
        reason: "threads and processes, without any `CLONE_NEW*` flag: a new user namespace would give capabilities over the kernel's largest attack surface",
    },
    Conditional {
        call: Call::known("SYS_socket", libc::SYS_socket),
        // AF_UNIX, AF_INET, AF_INET6; AF_NETLINK with NETLINK_ROUTE.
        condition: Condition::AnyOf(&[&[(0, 1)], &[(0, 2)], &[(0, 10)], &[(0, 16), (2, 0)]]),
        reason: "Unix, IPv4, IPv6, and netlink for routes (runtimes list interfaces with it); not vsock, packet, alg and the rest, which reach around the network namespace or into rarely used kernel code",
    },
    Conditional {
        call: Call::known("SYS_socketpair", libc::SYS_socketpair),
        condition: Condition::OneOf(0, &[1]),
        reason: "Unix only",
    },
    Conditional {
        call: Call::known("SYS_personality", libc::SYS_personality),
        condition: Condition::OneOf(0, &[0, PERSONALITY_QUERY]),
        reason: "the usual one, or a query: others weaken memory layout randomization",
    },
    Conditional {
        call: Call::known("SYS_prlimit64", libc::SYS_prlimit64),
        condition: Condition::OneOf(0, &[0]),
        reason: "its own limits only: where only one host id is to be had, the agent runs under the same id",
    },
    Conditional {
        call: Call::known("SYS_ioctl", libc::SYS_ioctl),
        condition: Condition::NotIn(1, &[TIOCSTI, TIOCLINUX]),
        reason: "all but `TIOCSTI` and `TIOCLINUX`, which type into a terminal on behalf of its owner",
    },
];

/// Allowed with any arguments.
pub const ALLOWED: &[Group] = &[
    group!(
        "files",
        "what permissions on files already govern",
        calls! {
            SYS_chdir SYS_close SYS_close_range SYS_copy_file_range SYS_dup SYS_dup3 SYS_faccessat SYS_faccessat2
            SYS_fadvise64 SYS_fallocate SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_fcntl
            SYS_fdatasync SYS_fgetxattr SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat
            SYS_fstatfs SYS_fsync SYS_ftruncate SYS_getcwd SYS_getdents64 SYS_getxattr SYS_inotify_add_watch
            SYS_inotify_init1 SYS_inotify_rm_watch SYS_lgetxattr SYS_linkat SYS_listxattr SYS_llistxattr
            SYS_lremovexattr SYS_lseek SYS_lsetxattr SYS_mkdirat SYS_mknodat SYS_newfstatat SYS_openat SYS_openat2
            SYS_pread64 SYS_preadv SYS_preadv2 SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead
            SYS_readlinkat SYS_readv SYS_removexattr SYS_renameat2 SYS_sendfile SYS_setxattr SYS_splice SYS_statfs
            SYS_statx SYS_symlinkat SYS_sync SYS_syncfs SYS_tee SYS_truncate SYS_umask SYS_unlinkat SYS_utimensat
            SYS_write SYS_writev
        }
    ),
    group!(
        "memory",
        "a process's own address space",
        calls! {
            SYS_brk SYS_madvise SYS_membarrier SYS_memfd_create SYS_mincore SYS_mlock SYS_mlock2 SYS_mlockall
            SYS_mmap SYS_mprotect SYS_mremap SYS_msync SYS_munlock SYS_munlockall SYS_munmap
            SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_remap_file_pages
        }
    ),
    group!(
        "processes and signals",
        "within its own pid namespace",
        calls! {
            SYS_capget SYS_capset SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_get_robust_list SYS_getegid
            SYS_geteuid SYS_getgid SYS_getgroups SYS_getpgid SYS_getpid SYS_getppid SYS_getpriority SYS_getresgid
            SYS_getresuid SYS_getrusage SYS_getsid SYS_gettid SYS_getuid SYS_ioprio_get SYS_ioprio_set SYS_kill
            SYS_landlock_add_rule SYS_landlock_create_ruleset SYS_landlock_restrict_self SYS_pidfd_open
            SYS_pidfd_send_signal SYS_prctl SYS_restart_syscall SYS_rseq SYS_rt_sigaction
            SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend
            SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo SYS_sched_get_priority_max SYS_sched_get_priority_min
            SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam SYS_sched_getscheduler
            SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_setattr SYS_sched_setparam
            SYS_sched_setscheduler SYS_sched_yield SYS_seccomp SYS_set_robust_list SYS_set_tid_address
            SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups SYS_setpgid SYS_setpriority SYS_setregid
            SYS_setresgid SYS_setresuid SYS_setreuid SYS_setsid SYS_setuid SYS_sigaltstack SYS_tgkill SYS_times
            SYS_tkill SYS_wait4 SYS_waitid
        }
    ),
    group!(
        "waiting and events",
        "on what the process already holds",
        calls! {
            SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_futex
            SYS_io_cancel SYS_io_destroy SYS_io_getevents SYS_io_setup SYS_io_submit SYS_ppoll SYS_pselect6
            SYS_signalfd4
        }
    ),
    group!(
        "messages",
        "pipes, sockets, and System V and POSIX queues of its own ipc namespace",
        calls! {
            SYS_accept SYS_accept4 SYS_bind SYS_connect SYS_getpeername SYS_getsockname SYS_getsockopt SYS_listen
            SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend SYS_mq_unlink
            SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_pipe2 SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_semctl
            SYS_semget SYS_semop SYS_semtimedop SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_setsockopt SYS_shmat
            SYS_shmctl SYS_shmdt SYS_shmget SYS_shutdown
        }
    ),
    group!(
        "time and facts",
        "reading clocks, setting one's own timers, asking about the system",
        calls! {
            SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_getcpu SYS_getitimer SYS_getrandom
            SYS_gettimeofday SYS_nanosleep SYS_setitimer SYS_sysinfo SYS_timer_create SYS_timer_delete
            SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime SYS_timerfd_create SYS_timerfd_gettime
            SYS_timerfd_settime SYS_uname
        }
    ),
    NEWER_FILES,
    NEWER_FUTEXES,
    NEWER_MEMORY,
    PROBES,
    OLDER,
    UNNAMED,
];

/// Groups of [`ALLOWED`] with calls that profiles of engines do not know while they are older than the calls, and then
/// refuse: Podman's of Debian 12 has none of them.
pub const NEWER: &[Group] = &[NEWER_FILES, NEWER_FUTEXES, NEWER_MEMORY, PROBES];

const NEWER_FILES: Group = group!(
    "newer: files",
    "older calls with flags or a directory beside the path; Docker's profile has them",
    &[
        Call::numbered("fchmodat2", 452),
        Call::numbered("setxattrat", 463),
        Call::numbered("getxattrat", 464),
        Call::numbered("listxattrat", 465),
        Call::numbered("removexattrat", 466),
    ]
);
const NEWER_FUTEXES: Group = group!(
    "newer: waiting",
    "what `futex` does, as calls of their own; Docker's profile has them",
    &[
        Call::numbered("futex_waitv", 449),
        Call::numbered("futex_wake", 454),
        Call::numbered("futex_wait", 455),
        Call::numbered("futex_requeue", 456),
    ]
);
const NEWER_MEMORY: Group = group!(
    "newer: memory",
    "to seal and guard a process's own address space, and to ask how much of its open file is in memory, as `mincore` \
     tells; Docker's profile has them",
    &[
        Call::numbered("cachestat", 451),
        Call::numbered("map_shadow_stack", 453),
        Call::numbered("mseal", 462),
    ]
);
#[cfg(target_arch = "x86_64")]
const PROBES: Group = group!(
    "newer: probes",
    "made by the kernel's own probes on behalf of the host's owner, and worth nothing to anybody else; kernels of today \
     ask no filter about them",
    &[Call::numbered("uretprobe", 335), Call::numbered("uprobe", 336)]
);
#[cfg(target_arch = "aarch64")]
const PROBES: Group = group!("newer: probes", "this architecture has none", &[]);

#[cfg(target_arch = "x86_64")]
const OLDER: Group = group!(
    "older forms of the above",
    "C libraries and static binaries still use them",
    calls! {
        SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create SYS_epoll_wait
        SYS_eventfd SYS_fork SYS_futimesat SYS_getdents SYS_getpgrp SYS_getrlimit SYS_inotify_init SYS_lchown SYS_link
        SYS_lstat SYS_mkdir SYS_mknod SYS_open SYS_pause SYS_pipe SYS_poll SYS_readlink SYS_rename SYS_renameat
        SYS_rmdir SYS_select SYS_setrlimit SYS_signalfd SYS_stat SYS_symlink SYS_sync_file_range SYS_time SYS_unlink
        SYS_utime SYS_utimes SYS_vfork
    }
);
#[cfg(target_arch = "x86_64")]
const UNNAMED: Group = group!("numbers of this architecture", "`libc` has constants for all", &[]);

#[cfg(target_arch = "aarch64")]
const OLDER: Group = group!("older forms of the above", "this architecture never had them", &[]);
#[cfg(target_arch = "aarch64")]
const UNNAMED: Group = group!(
    "numbers of this architecture",
    "`libc` has no constants for them",
    &[
        Call::numbered("renameat", 38),
        Call::numbered("sync_file_range", 84),
        Call::numbered("getrlimit", 163),
        Call::numbered("setrlimit", 164),
    ]
);

/// Refused with `EPERM`.
pub const REFUSED: &[Group] = &[
    group!(
        "mounts",
        "the view of files is built by the agent and must stay as it is",
        calls! {
            SYS_chroot SYS_fsconfig SYS_fsmount SYS_fsopen SYS_fspick SYS_mount SYS_mount_setattr SYS_move_mount
            SYS_open_tree SYS_pivot_root SYS_umount2
        }
    ),
    group!(
        "mounts, newer calls",
        "as above; the last two list what is mounted",
        &[
            Call::numbered("open_tree_attr", 467),
            Call::numbered("statmount", 457),
            Call::numbered("listmount", 458),
        ]
    ),
    group!(
        "namespaces",
        "new ones give capabilities, others' ones are outside the walls",
        calls! {
            SYS_setns SYS_unshare
        }
    ),
    group!(
        "other processes",
        "where only one host id is to be had, the agent runs under the same id",
        calls! {
            SYS_kcmp SYS_pidfd_getfd SYS_process_madvise SYS_process_mrelease SYS_process_vm_readv
            SYS_process_vm_writev SYS_ptrace
        }
    ),
    group!(
        "keys",
        "the kernel's key rings are not namespaced",
        calls! { SYS_add_key SYS_keyctl SYS_request_key }
    ),
    group!(
        "kernel programs and counters",
        "large attack surface; counters observe neighbours",
        calls! {
            SYS_bpf SYS_lookup_dcookie SYS_perf_event_open
        }
    ),
    group!(
        "io_uring",
        "its operations bypass this filter, and its attack surface is large",
        calls! {
            SYS_io_uring_enter SYS_io_uring_register SYS_io_uring_setup
        }
    ),
    group!(
        "page tricks",
        "stop the kernel in the middle of a copy, or hide memory from it",
        calls! {
            SYS_memfd_secret SYS_userfaultfd
        }
    ),
    group!(
        "file handles",
        "open a file by number, around the view of files",
        calls! {
            SYS_name_to_handle_at SYS_open_by_handle_at
        }
    ),
    group!(
        "the kernel itself",
        "for the owner of the machine",
        calls! {
            SYS_delete_module SYS_finit_module SYS_init_module SYS_kexec_file_load SYS_kexec_load SYS_reboot
        }
    ),
    group!(
        "clocks",
        "all tenants share them",
        calls! {
            SYS_adjtimex SYS_clock_adjtime SYS_clock_settime SYS_settimeofday
        }
    ),
    group!(
        "administration",
        "of the machine, its disks, its names, its log",
        calls! {
            SYS_acct SYS_fanotify_init SYS_fanotify_mark SYS_nfsservctl SYS_quotactl SYS_quotactl_fd
            SYS_setdomainname SYS_sethostname SYS_swapoff SYS_swapon SYS_syslog SYS_vhangup
        }
    ),
    group!(
        "security modules",
        "their labels are the host's",
        &[
            Call::numbered("lsm_get_self_attr", 459),
            Call::numbered("lsm_set_self_attr", 460),
            Call::numbered("lsm_list_modules", 461),
        ]
    ),
    group!(
        "memory placement",
        "moves pages between the banks that all tenants share",
        calls! {
            SYS_get_mempolicy SYS_mbind SYS_migrate_pages SYS_move_pages SYS_set_mempolicy SYS_set_mempolicy_home_node
        }
    ),
    PAGES_AWAY,
    PGETEVENTS,
    OBSOLETE,
    OBSOLETE_MODULES,
];

const PAGES_AWAY: Group = group!(
    "pages given away",
    "puts pages into a pipe that their owner can still write to; its kernel code had holes, and `write` does as well",
    calls! { SYS_vmsplice }
);
#[cfg(target_arch = "x86_64")]
const PGETEVENTS: Group = group!(
    "rarely used forms",
    "`io_getevents` and `ppoll` do as well, and Podman's profile refuses it",
    &[Call::numbered("io_pgetevents", 333)]
);
#[cfg(target_arch = "aarch64")]
const PGETEVENTS: Group = group!(
    "rarely used forms",
    "`io_getevents` and `ppoll` do as well, and Podman's profile refuses it",
    &[Call::numbered("io_pgetevents", 292)]
);

#[cfg(target_arch = "x86_64")]
const OBSOLETE: Group = group!(
    "obsolete, or never there",
    "nothing of today needs them",
    calls! {
        SYS__sysctl SYS_afs_syscall SYS_epoll_ctl_old SYS_epoll_wait_old
        SYS_get_thread_area SYS_getpmsg SYS_ioperm SYS_iopl SYS_modify_ldt SYS_putpmsg SYS_security
        SYS_set_thread_area SYS_sysfs SYS_tuxcall SYS_uselib SYS_ustat SYS_vserver
    }
);
#[cfg(target_arch = "x86_64")]
const OBSOLETE_MODULES: Group = group!(
    "obsolete calls for modules",
    "replaced long ago",
    &[
        Call::numbered("create_module", 174),
        Call::numbered("get_kernel_syms", 177),
        Call::numbered("query_module", 178),
    ]
);

#[cfg(target_arch = "aarch64")]
const OBSOLETE: Group = group!("obsolete, or never there", "this architecture never had them", &[]);
#[cfg(target_arch = "aarch64")]
const OBSOLETE_MODULES: Group = group!("obsolete calls for modules", "this architecture never had them", &[]);
