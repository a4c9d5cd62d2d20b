//! Insula's list is at least as tight as Docker's default profile, for a container without capabilities.

use super::table::{ALLOWED, CONDITIONAL, REFUSED};

/// What Docker's default profile refuses to a container without capabilities, by
/// <https://docs.docker.com/engine/security/seccomp/#significant-syscalls-blocked-by-the-default-profile> and the
/// rules with `includes.caps` in <https://github.com/moby/profiles/blob/main/seccomp/default.json>. Calls of other
/// architectures and those that no kernel has any more are left out.
const DOCKER_REFUSES: &[&str] = &[
    "acct",
    "add_key",
    "bpf",
    "chroot",
    "clock_adjtime",
    "clock_settime",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "get_mempolicy",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mbind",
    "migrate_pages",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "name_to_handle_at",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "set_mempolicy",
    "set_mempolicy_home_node",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "swapoff",
    "swapon",
    "syslog",
    "sysfs",
    "umount2",
    "unshare",
    "userfaultfd",
    "uselib",
    "ustat",
    "vhangup",
];

/// What it allows with some arguments only.
const DOCKER_RESTRICTS: &[&str] = &["clone", "personality", "socket"];

fn has(groups: &[super::Group], name: &str) -> bool {
    groups.iter().flat_map(|group| group.calls).any(|call| call.name == name)
}

#[test]
fn what_docker_refuses_is_refused_here() {
    let open: Vec<_> = DOCKER_REFUSES.iter().filter(|name| has(ALLOWED, name)).collect();
    assert!(open.is_empty(), "Docker refuses these, and they are allowed here: {open:?}");
    let restricted = |name: &str| CONDITIONAL.iter().any(|c| c.call.name == name);
    for name in DOCKER_RESTRICTS {
        assert!(restricted(name) && !has(ALLOWED, name), "`{name}` is allowed with any arguments");
    }
}

#[test]
fn the_names_of_the_list_are_those_of_the_table() {
    let unknown: Vec<_> = DOCKER_REFUSES.iter().filter(|name| !has(REFUSED, name)).collect();
    // A name written wrongly would be refused by nobody, and found by nothing.
    assert!(unknown.is_empty(), "not in the list of refused calls: {unknown:?}");
    assert!(has(ALLOWED, "read"), "the comparison finds nothing");
}
