//! The operator's system call filter: what it refuses is refused, what it opens is open, and no more than that.

use std::fs;
use std::path::Path;

use insula_isolation::{LaunchError, in_force};
use insula_spec::{Launch, Level};

use crate::support::*;

/// Tries calls by number with harmless arguments: their errors by name, `ok` for none.
const TRY: &str = "
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def tried(nr, *args):
    done = libc.syscall(nr, *args)
    return 'ok' if done >= 0 else errno.errorcode[ctypes.get_errno()]
def attempt(do):
    try: do(); return 'ok'
    except OSError as e: return errno.errorcode[e.errno]
print('mkdir', attempt(lambda: os.mkdir('/tmp/d')))
print('kill', attempt(lambda: os.kill(os.getpid(), 0)))
print('personality', tried(135, 0x40000))
print('unshare', tried(272, 0x10000000))
print('ptrace', tried(101, 0, 0, 0, 0))
";

/// Everything is allowed but `mkdir` and signals other than 9; and what a file may never open.
const FILE: &str = r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
    { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30 },
    { "names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 1, "value": 9, "op": "SCMP_CMP_NE" }] },
    { "names": ["unshare", "ptrace", "mount"], "action": "SCMP_ACT_ALLOW" } ] }"#;

fn with(launch: Launch, file: &Path) -> Launch {
    Launch { seccomp: Some(file.to_owned()), ..launch }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_decides_within_the_floor() {
    let home = Home::new();
    let engine = home.engine(1);
    let file = home.path("filter.json");
    fs::write(&file, FILE).unwrap();
    for level in [Level::Namespace, Level::Container] {
        let launch = home.launch(&engine, level, &["python3", "-c", TRY]);
        let without = run(&engine, &launch, level).await;
        let control = "mkdir ok\nkill ok\npersonality EPERM\nunshare EPERM\nptrace EPERM\n";
        assert_eq!(without, control, "at {level}, without the file");
        let launch = with(home.launch(&engine, level, &["python3", "-c", TRY]), &file);
        let behind = run(&engine, &launch, level).await;
        let expected = "mkdir EROFS\nkill EPERM\npersonality ok\nunshare EPERM\nptrace EPERM\n";
        assert_eq!(behind, expected, "at {level}, behind the file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_allows_little_need_not_allow_what_a_start_takes() {
    let home = Home::new();
    let engine = home.engine(1);
    let file = home.path("filter.json");
    // What a static program needs to say something, and nothing that changes ids or limits.
    let text = r#"{ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{ "action": "SCMP_ACT_ALLOW", "names": [
        "execve", "exit_group", "write", "writev", "read", "brk", "mmap", "munmap", "mprotect", "arch_prctl", "access",
        "openat", "close", "fstat", "newfstatat", "pread64", "set_tid_address", "set_robust_list", "rseq", "prlimit64",
        "getrandom", "readlink", "readlinkat" ] }] }"#;
    fs::write(&file, text).unwrap();
    let launch = with(home.launch(&engine, Level::Namespace, &["/bin/echo", "through"]), &file);
    assert_eq!(run(&engine, &launch, Level::Namespace).await, "through\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_refuses_the_start() {
    let home = Home::new();
    let engine = home.engine(1);
    let file = home.path("filter.json");
    for (text, named) in [
        ("{", "EOF"),
        (r#"{ "defaultAction": "SCMP_ACT_ALOW" }"#, "`defaultAction`: unknown variant `SCMP_ACT_ALOW`"),
        (r#"{ "defaultAction": "SCMP_ACT_KILL", "syscalls": [] }"#, "`execve`"),
    ] {
        fs::write(&file, text).unwrap();
        let launch = with(home.launch(&engine, Level::Namespace, &["true"]), &file);
        let error = try_start(&engine, &launch, Level::Namespace).await.unwrap_err();
        let LaunchError::Filter { file: told, source } = &error else { panic!("{error:?}") };
        assert_eq!((told, source.to_string().contains(named)), (&file, true), "{source}");
    }
    let launch = with(home.launch(&engine, Level::Namespace, &["true"]), &home.path("nowhere"));
    let error = try_start(&engine, &launch, Level::Namespace).await.unwrap_err();
    assert!(matches!(&error, LaunchError::Filter { .. }) && error.hint().contains("`seccomp`"), "{error:?}");
    let launch = with(home.launch(&engine, Level::Process, &["true"]), &file);
    let error = try_start(&engine, &launch, Level::Process).await.unwrap_err();
    assert!(matches!(&error, LaunchError::Unenforceable { what: "seccomp", .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_force_is_told_by_its_digest() {
    let home = Home::new();
    let engine = home.engine(1);
    let file = home.path("filter.json");
    fs::write(&file, FILE).unwrap();
    let launch = with(home.launch(&engine, Level::Namespace, &["sleep", "60"]), &file);
    let sandbox = try_start(&engine, &launch, Level::Namespace).await.unwrap();
    let found = in_force(&sandbox.record()).unwrap().unwrap();
    let named = found.profile.unwrap_or_default();
    assert!(named.contains("filter.json") && named.contains("sha256:"), "{named}");
    // The listener's, the opened list, and the file's; where listens cannot be told, one less.
    assert!(found.filters >= 2, "{}", found.filters);
    sandbox.stop(std::time::Duration::ZERO).await;
}
