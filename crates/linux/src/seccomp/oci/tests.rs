//! Files of the published shape are understood; anything else is told by field and value.

use super::*;

/// As Docker writes it: archMap, entries that depend on capabilities and kernels.
const DOCKER: &str = r#"{
  "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
  "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
              { "architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"] }],
  "syscalls": [
    { "names": ["read", "write", "execve", "exit_group", "chown32", "_llseek"], "action": "SCMP_ACT_ALLOW" },
    { "names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "4.8" } },
    { "names": ["socket"], "action": "SCMP_ACT_ALLOW",
      "args": [{ "index": 0, "value": 40, "op": "SCMP_CMP_NE" }] },
    { "names": ["personality"], "action": "SCMP_ACT_ALLOW",
      "args": [{ "index": 0, "value": 4294967295, "op": "SCMP_CMP_EQ" }] },
    { "names": ["bpf", "mount"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_ADMIN"] } },
    { "names": ["clone"], "action": "SCMP_ACT_ALLOW",
      "args": [{ "index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ" }],
      "excludes": { "caps": ["CAP_SYS_ADMIN"], "arches": ["s390", "s390x"] } },
    { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": { "caps": ["CAP_SYS_ADMIN"] } }
  ] }"#;

/// As Podman writes it: errors by name and number, comments, empty conditions, `null`.
const PODMAN: &str = r#"{
  "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "defaultErrno": "ENOSYS",
  "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
  "syscalls": [
    { "names": ["bdflush", "io_getevents"], "action": "SCMP_ACT_ERRNO", "args": [], "comment": "",
      "includes": {}, "excludes": {}, "errnoRet": 1, "errno": "EPERM" },
    { "names": ["execve", "exit_group", "write", "clone3"], "action": "SCMP_ACT_ALLOW", "args": null },
    { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22, "errno": "EINVAL",
      "args": [{ "index": 0, "value": 16, "valueTwo": 0, "op": "SCMP_CMP_EQ" },
               { "index": 2, "value": 9, "valueTwo": 0, "op": "SCMP_CMP_EQ" }],
      "excludes": { "caps": ["CAP_AUDIT_WRITE"] } },
    { "names": ["socket"], "action": "SCMP_ACT_ALLOW",
      "args": [{ "index": 2, "value": 9, "valueTwo": 0, "op": "SCMP_CMP_NE" }] }
  ] }"#;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

const fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number.unsigned_abs()
}

/// What the program of a file answers to a call.
fn run(file: &str, nr: i64, args: [u64; 6]) -> u32 {
    let own = compile(file.as_bytes()).unwrap();
    interpret(&own, u32::try_from(nr).unwrap(), args)
}

/// The instructions that [`assemble`] uses, as the kernel would carry them out.
fn interpret(program: &[u8], nr: u32, args: [u64; 6]) -> u32 {
    let (code, _) = program.as_chunks::<8>();
    let (mut at, mut a) = (0, 0_u32);
    loop {
        let [c0, c1, yes, no, k0, k1, k2, k3] = code[at];
        let (op, k) = (u32::from(u16::from_ne_bytes([c0, c1])), u32::from_ne_bytes([k0, k1, k2, k3]));
        at += 1;
        let mut jump = |met: bool| at += usize::from(if met { yes } else { no });
        match op {
            0x20 if k == 0 => a = nr,
            0x20 => {
                let value = args[(k as usize - 16) / 8];
                a = if k.is_multiple_of(8) { (value & 0xffff_ffff) as u32 } else { (value >> 32) as u32 };
            }
            0x54 => a &= k,
            0x15 => jump(a == k),
            0x25 => jump(a > k),
            0x35 => jump(a >= k),
            0x05 => at += k as usize,
            0x06 => return k,
            other => panic!("no such instruction: {other:#x}"),
        }
    }
}

#[test]
fn dockers_shape_means_what_it_says() {
    let call = |nr, first| run(DOCKER, nr, [first, 0, 0, 0, 0, 0]);
    assert_eq!(call(libc::SYS_read, 0), ALLOW);
    assert_eq!(call(libc::SYS_kill, 0), errno(libc::EPERM));
    assert_eq!(call(libc::SYS_ptrace, 0), ALLOW);
    assert_eq!(call(libc::SYS_bpf, 0), errno(libc::EPERM), "a capability that nobody has");
    assert_eq!((call(libc::SYS_socket, 40), call(libc::SYS_socket, 2)), (errno(libc::EPERM), ALLOW));
    assert_eq!(call(libc::SYS_personality, 0xffff_ffff), ALLOW);
    assert_eq!(call(libc::SYS_personality, 0x1_ffff_ffff), errno(libc::EPERM));
    assert_eq!(
        (call(libc::SYS_clone, 0x100), call(libc::SYS_clone, 0x1000_0000)),
        (ALLOW, errno(libc::EPERM))
    );
    assert_eq!(call(libc::SYS_clone3, 0), errno(libc::ENOSYS));
    assert_eq!(call(i64::from(NEWEST) + 1, 0), errno(libc::ENOSYS), "newer than the table");
}

#[test]
fn podmans_shape_means_what_it_says() {
    let socket = |family, protocol| run(PODMAN, libc::SYS_socket, [family, 0, protocol, 0, 0, 0]);
    assert_eq!((socket(16, 9), socket(16, 0)), (errno(libc::EINVAL), ALLOW));
    assert_eq!(socket(2, 9), errno(libc::ENOSYS), "no entry matches");
    assert_eq!(run(PODMAN, libc::SYS_io_getevents, [0; 6]), errno(libc::EPERM));
    assert_eq!(run(PODMAN, libc::SYS_clone3, [0; 6]), errno(libc::ENOSYS), "its flags cannot be read");
}

#[test]
fn every_comparison_is_one_of_64_bits() {
    let values =
        [0, 1, 7, 8, 9, (5 << 32) + 7, (5 << 32) + 8, (5 << 32) + 9, (6 << 32) + 7, 1 << 63, u64::MAX];
    for value in values {
        for (op, met) in [
            ("NE", &(|a: u64| a != value) as &dyn Fn(u64) -> bool),
            ("LT", &|a| a < value),
            ("LE", &|a| a <= value),
            ("EQ", &|a| a == value),
            ("GE", &|a| a >= value),
            ("GT", &|a| a > value),
            ("MASKED_EQ", &|a| a & value == 8 & value),
        ] {
            let file = format!(
                r#"{{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{ "names": ["kill"], "action": "SCMP_ACT_TRAP",
                   "args": [{{ "index": 3, "value": {value}, "valueTwo": 8, "op": "SCMP_CMP_{op}" }}] }}] }}"#
            );
            for a in values {
                let answer = run(&file, libc::SYS_kill, [9, 9, 9, a, 9, 9]);
                assert_eq!(answer == libc::SECCOMP_RET_TRAP, met(a), "{a:#x} {op} {value:#x}");
            }
        }
    }
}

#[test]
fn the_strictest_entry_decides_in_any_order() {
    let entries = [
        r#"{ "names": ["kill"], "action": "SCMP_ACT_ALLOW" }"#,
        r#"{ "names": ["kill"], "action": "SCMP_ACT_KILL_PROCESS", "args": [{ "index": 1, "value": 9, "op": "SCMP_CMP_EQ" }] }"#,
    ];
    for [a, b] in [[0, 1], [1, 0]] {
        let (a, b) = (entries[a], entries[b]);
        let file = format!(r#"{{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{a}, {b}] }}"#);
        assert_eq!(run(&file, libc::SYS_kill, [1, 9, 0, 0, 0, 0]), libc::SECCOMP_RET_KILL_PROCESS);
        assert_eq!(run(&file, libc::SYS_kill, [1, 1, 0, 0, 0, 0]), ALLOW);
    }
}

#[test]
fn what_a_file_may_open_is_in_the_table() {
    use super::super::table::{CONDITIONAL, REFUSED};
    let refused: Vec<_> =
        REFUSED.iter().flat_map(|g| g.calls).chain(CONDITIONAL.iter().map(|c| &c.call)).collect();
    for name in OPENABLE {
        assert!(refused.iter().any(|call| call.name == *name), "`{name}` is not refused anyway");
    }
    for never in
        ["mount", "unshare", "setns", "ptrace", "bpf", "kexec_load", "io_uring_setup", "keyctl", "clone"]
    {
        assert!(!OPENABLE.contains(&never), "`{never}`");
    }
}

/// Each malformed file, and what the message must name.
#[test]
fn malformed_files_are_refused_by_field_and_value() {
    let entry = |entry: &str| format!(r#"{{ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{entry}] }}"#);
    let args = |args: &str| {
        entry(&format!(r#"{{ "names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [{args}] }}"#))
    };
    for (file, named) in [
        (String::new(), "EOF"),
        ("[]".to_owned(), "invalid"),
        ("{}".to_owned(), "`defaultAction`"),
        (r#"{ "defaultAction": "SCMP_ACT_ALLOW" } {}"#.to_owned(), "trailing"),
        (r#"{ "defaultAction": "ALLOW" }"#.to_owned(), "`defaultAction`: unknown variant `ALLOW`"),
        (r#"{ "defaultAction": "SCMP_ACT_ALLOW", "defaultAction": "SCMP_ACT_ALLOW" }"#.to_owned(), "duplicate"),
        (r#"{ "defaultAction": "SCMP_ACT_ALLOW", "sycalls": [] }"#.to_owned(), "unknown field `sycalls`"),
        (r#"{ "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1 }"#.to_owned(), "`defaultErrnoRet`: `1`"),
        (r#"{ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_S390X"] }"#.to_owned(), "SCMP_ARCH_S390X"),
        (r#"{ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"] }"#.to_owned(), "`flags`"),
        (r#"{ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x" }"#.to_owned(), "`listenerPath`: `/x`"),
        (r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["ptrce"], "action": "SCMP_ACT_ERRNO" }] }"#.to_owned(),
         "`syscalls[0].names[0]`: `ptrce`"),
        (r#"{ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [] }"#.to_owned(), "`execve`"),
        (entry(r#"{ "action": "SCMP_ACT_ALLOW" }"#), "`syscalls[0].names`"),
        (entry(r#"{ "names": ["kill"], "action": "SCMP_ACT_NOTIFY" }"#), "`syscalls[0].action`: unknown variant `SCMP_ACT_NOTIFY`"),
        (entry(r#"{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096 }"#), "`syscalls[0].errnoRet`: `4096`"),
        (entry(r#"{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errno": "EPREM" }"#), "`syscalls[0].errno`: `EPREM`"),
        (entry(r#"{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "errno": "EIO" }"#), "`syscalls[0].errnoRet`: `1`"),
        (entry(r#"{ "names": ["kill"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "new" } }"#), "minKernel`: `new`"),
        (entry(r#"{ "names": ["kill"], "action": "SCMP_ACT_ALLOW", "includes": { "cap": ["A"] } }"#), "`cap`"),
        (args(r#"{ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" }"#), "`syscalls[0].args[0].index`: `6`"),
        (args(r#"{ "index": 0, "value": -1, "op": "SCMP_CMP_EQ" }"#), "`syscalls[0].args[0].value`"),
        (args(r#"{ "index": 0, "value": 0, "op": "SCMP_CMP_EG" }"#), "`syscalls[0].args[0].op`: unknown variant `SCMP_CMP_EG`"),
        (args(r#"{ "index": 0, "value": 0, "op": "SCMP_CMP_EQ" }, { "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }"#),
         "`syscalls[0].args[1].index`: `0`"),
    ] {
        let error = compile(file.as_bytes()).expect_err(&file);
        assert!(error.to_string().contains(named), "{file}\nis told as: {error}");
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn the_list_in_the_words_of_oci_says_the_same() {
    let file = document().to_string();
    let call = |nr, args: [u64; 3]| run(&file, nr, [args[0], args[1], args[2], 0, 0, 0]);
    let refused = errno(libc::EPERM);
    assert_eq!((call(libc::SYS_read, [0; 3]), call(libc::SYS_mount, [0; 3])), (ALLOW, refused));
    for (command, expected) in [
        (0x5411, ALLOW),
        (0x5412, refused),
        (0x5413, ALLOW),
        (0x541c, refused),
        ((1 << 32) | 0x541c, refused),
        (0, ALLOW),
    ] {
        assert_eq!(call(libc::SYS_ioctl, [0, command, 0]), expected, "{command:#x}");
    }
    for (family, protocol, expected) in
        [(1, 0, ALLOW), (2, 9, ALLOW), (16, 0, ALLOW), (16, 9, refused), (40, 0, refused)]
    {
        assert_eq!(call(libc::SYS_socket, [family, 0, protocol]), expected, "{family} {protocol}");
    }
    assert_eq!(
        (call(libc::SYS_clone, [0x100, 0, 0]), call(libc::SYS_clone, [1 << 28, 0, 0])),
        (ALLOW, refused)
    );
    assert_eq!((call(libc::SYS_prlimit64, [0; 3]), call(libc::SYS_prlimit64, [1, 0, 0])), (ALLOW, refused));
    assert_eq!(call(libc::SYS_clone3, [0; 3]), errno(libc::ENOSYS));
}
