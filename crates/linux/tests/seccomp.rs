//! The system call filter refuses what it says, and only that.
//!
//! Each refused call is tried for real in a child process, with arguments that do no harm even where it is
//! allowed (all bits set: no such address, descriptor, process or command). The same calls without the
//! filter are the negative control.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Output, Stdio};

use insula_linux::seccomp::table::{CLONE3, NEWEST, REFUSED};
use insula_linux::seccomp::{Call, Program, carrier_profile, default_profile, install};

/// Prints past the capture of the test harness, so that a skip is always seen.
fn skipped(test: &str, why: &str) {
    std::io::stderr().write_all(format!("SKIPPED {test}: {why}\n").as_bytes()).unwrap();
}

const CHILD: &str = "INSULA_TEST_SECCOMP_CHILD";

/// This test program again, running only [`child`] with this task, with or without the filter.
fn again(task: &str, filtered: bool) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, task)
        .stderr(Stdio::null());
    if filtered { under_filter(&mut command) } else { &mut command }.output().unwrap()
}

/// Installs the filter just before exec, as the agent does.
fn under_filter(command: &mut Command) -> &mut Command {
    let programs: Vec<Program> = default_profile().unwrap();
    let install_all = move || {
        rustix::thread::set_no_new_privs(true)?;
        programs.iter().try_for_each(|program| install(program))
    };
    // SAFETY: between fork and exec it makes system calls on memory that the closure owns; `install`
    // neither allocates nor takes a lock.
    unsafe { command.pre_exec(install_all) }
}

/// Name to errno (0 for success) of every probe of a task.
fn probe(task: &str, filtered: bool) -> BTreeMap<String, i32> {
    let output = again(task, filtered);
    assert!(output.status.success(), "`{task}`: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let parse = |line: &str| {
        let (name, errno) = line.strip_prefix("probe ")?.split_once(' ')?;
        Some((name.to_owned(), errno.parse().unwrap()))
    };
    // The harness writes its own words before the first probe, on the same line.
    let probes: BTreeMap<_, _> =
        text.lines().filter_map(|line| parse(line.get(line.find("probe ")?..)?)).collect();
    assert!(!probes.is_empty(), "{text}");
    probes
}

/// Makes a call with these arguments and tells its errno, 0 for success.
fn call(nr: i64, args: [i64; 6]) -> i32 {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the callers pass arguments that are not valid addresses, or for which the kernel reads and
    // writes no memory of this process.
    let rc = unsafe { libc::syscall(nr, a, b, c, d, e, f) };
    if rc == -1 { std::io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}

fn refused() -> impl Iterator<Item = &'static Call> {
    REFUSED.iter().flat_map(|group| group.calls)
}

const FLAGS: [(&str, i64); 8] = [
    ("time", 0x80),
    ("mount", 0x2_0000),
    ("cgroup", 0x200_0000),
    ("uts", 0x400_0000),
    ("ipc", 0x800_0000),
    ("user", 0x1000_0000),
    ("pid", 0x2000_0000),
    ("net", 0x4000_0000),
];

/// Calls that are allowed with other arguments. The second value tells whether the filter lets it through.
fn conditional() -> Vec<(String, bool, i64, [i64; 6])> {
    // So that a `clone` which is let through makes no process: a thread needs shared signal handlers.
    const CLONE_THREAD: i64 = 0x1_0000;
    let high = 1_i64 << 32;
    let mut probes = Vec::new();
    let mut add = |name: &str, passes: bool, nr: i64, a: [i64; 3]| {
        probes.push((name.to_owned(), passes, nr, [a[0], a[1], a[2], 0, 0, 0]));
    };
    // CLONE_NEWTIME cannot be asked for by clone(2): the bit is part of the exit signal.
    for (name, flag) in FLAGS.iter().skip(1) {
        add(&format!("clone-{name}"), false, libc::SYS_clone, [CLONE_THREAD | flag, 0, 0]);
    }
    add("clone-thread", true, libc::SYS_clone, [CLONE_THREAD, 0, 0]);
    for (name, family, protocol, passes) in [
        ("unix", 1, 0, true),
        ("inet", 2, 0, true),
        ("inet6", 10, 0, true),
        ("netlink-route", 16, 0, true),
        ("netlink-audit", 16, 9, false),
        ("netlink-netfilter", 16, 12, false),
        ("packet", 17, 0, false),
        ("alg", 38, 0, false),
        ("vsock", 40, 0, false),
        // The kernel looks at the low 32 bits; so must the filter.
        ("vsock-high", high | 40, 0, false),
        ("inet-high", high | 2, 0, true),
    ] {
        let kind = if family & 0xff == 17 { 3 } else { 2 };
        add(&format!("socket-{name}"), passes, libc::SYS_socket, [family, kind, protocol]);
    }
    add("personality-query", true, libc::SYS_personality, [0xffff_ffff, 0, 0]);
    add("personality-linux", true, libc::SYS_personality, [0, 0, 0]);
    add("personality-no-random", false, libc::SYS_personality, [0x4_0000, 0, 0]);
    add("ioctl-other", true, libc::SYS_ioctl, [-1, 0x5401, 0]);
    add("ioctl-sti", false, libc::SYS_ioctl, [-1, 0x5412, 0]);
    add("ioctl-sti-high", false, libc::SYS_ioctl, [-1, high | 0x5412, 0]);
    add("ioctl-linux", false, libc::SYS_ioctl, [-1, 0x541c, 0]);
    add("prlimit-self", true, libc::SYS_prlimit64, [0, 7, 0]);
    add("prlimit-other", false, libc::SYS_prlimit64, [1, 7, 0]);
    probes
}

/// Runs only as a child of the other tests.
#[test]
fn child() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let tell = |name: &str, errno: i32| writeln!(std::io::stdout(), "probe {name} {errno}").unwrap();
    match task.as_str() {
        "refused" => {
            // Without a controlling terminal `vhangup`, which has no arguments, does nothing.
            rustix::process::setsid().map(drop).unwrap_or_default();
            refused().for_each(|of| tell(of.name, call(of.nr, [-1; 6])));
        }
        "conditional" => {
            conditional().into_iter().for_each(|(name, _, nr, args)| tell(&name, call(nr, args)))
        }
        "unknown" => {
            tell("clone3", call(CLONE3.nr, [-1; 6]));
            tell("next", call(i64::from(NEWEST) + 1, [-1; 6]));
            tell("far", call(5000, [-1; 6]));
            tell("minus-one", call(-1, [-1; 6]));
        }
        #[cfg(target_arch = "x86_64")]
        "x32" => tell("x32", call(0x4000_0000 | libc::SYS_getpid, [0; 6])),
        #[cfg(target_arch = "x86_64")]
        "i386" => tell("i386", i386_getpid()),
        other => panic!("unknown task `{other}`"),
    }
}

/// Makes a call through the entry for 32 bit programs.
#[cfg(target_arch = "x86_64")]
fn i386_getpid() -> i32 {
    let mut eax = 20;
    // SAFETY: `getpid` takes no argument and touches no memory; the entry preserves every register but
    // `eax`, and r8 to r11 on old kernels, which are named as clobbered.
    unsafe {
        std::arch::asm!("int 0x80", inout("eax") eax, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    i32::from(eax <= 0)
}

#[test]
fn every_refused_call_is_refused() {
    let filtered = probe("refused", true);
    assert_eq!(filtered.len(), refused().count());
    let through: Vec<_> = filtered.iter().filter(|(_, errno)| **errno != libc::EPERM).collect();
    assert_eq!(through, Vec::<(&String, &i32)>::new(), "(name, errno) of what got past the filter");
}

#[test]
fn without_the_filter_they_answer_otherwise() {
    if !rustix::process::geteuid().is_root() {
        return skipped(
            "without_the_filter_they_answer_otherwise",
            "the kernel itself refuses many to a user",
        );
    }
    let open = probe("refused", false);
    let refused: Vec<_> =
        open.iter().filter(|(_, errno)| **errno == libc::EPERM).map(|(name, _)| name).collect();
    assert_eq!(
        refused,
        Vec::<&String>::new(),
        "the kernel refuses these anyway: the other test shows nothing"
    );
}

#[test]
fn arguments_decide() {
    let (filtered, open) = (probe("conditional", true), probe("conditional", false));
    for (name, passes, ..) in conditional() {
        let expected = if passes { open[&name] } else { libc::EPERM };
        assert_eq!(filtered[&name], expected, "`{name}` under the filter");
        if rustix::process::geteuid().is_root() {
            assert!(passes || open[&name] != libc::EPERM, "`{name}` is refused without the filter too");
        }
    }
    if !rustix::process::geteuid().is_root() {
        skipped("arguments_decide, negative control", "the kernel itself refuses many to a user");
    }
}

#[test]
fn what_is_not_known_does_not_exist() {
    let (filtered, open) = (probe("unknown", true), probe("unknown", false));
    for (name, errno) in &filtered {
        assert_eq!(*errno, libc::ENOSYS, "`{name}`");
    }
    assert_ne!(open["clone3"], libc::ENOSYS, "this kernel has no clone3: the test shows nothing");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn foreign_architectures_are_killed() {
    for task in ["x32", "i386"] {
        let killed = again(task, true).status;
        assert_eq!(killed.signal(), Some(libc::SIGSYS), "`{task}`: {killed:?}");
        let open = again(task, false).status;
        assert_ne!(open.signal(), Some(libc::SIGSYS), "`{task}`: killed without the filter too");
    }
}

/// Runs a program under the filter; `None` when it is not installed.
fn run(program: &str, args: &[&str]) -> Option<(ExitStatus, String)> {
    let mut command = Command::new(program);
    under_filter(command.args(args).stdin(Stdio::null()));
    match command.output() {
        Ok(out) => {
            Some((out.status, String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()))
        }
        // A directory of `PATH` that may not be searched gives the second.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EACCES)) => None,
        Err(e) => panic!("cannot run `{program}`: {e}"),
    }
}

const PYTHON: &str = "
import asyncio, multiprocessing, os, socket, sqlite3, ssl, subprocess, tempfile, threading
with tempfile.TemporaryDirectory() as d:
    db = sqlite3.connect(os.path.join(d, 'a.db')); db.execute('create table t(x)'); db.commit()
t = threading.Thread(target=lambda: None); t.start(); t.join()
assert subprocess.run(['true']).returncode == 0
async def main():
    s = await asyncio.start_server(lambda r, w: w.close(), '127.0.0.1', 0)
    r, w = await asyncio.open_connection(*s.sockets[0].getsockname()); await r.read(); w.close(); s.close()
asyncio.run(main())
p = multiprocessing.Process(target=int); p.start(); p.join(); assert p.exitcode == 0
try: os.unshare
except AttributeError: pass
print('works')
";
const NODE: &str = "
const http = require('http'), fs = require('fs'), os = require('os'), { Worker } = require('worker_threads');
os.networkInterfaces(); fs.readdirSync('/'); require('child_process').execFileSync('true');
const server = http.createServer((q, a) => a.end('ok')).listen(0, '127.0.0.1', () =>
  http.get({ port: server.address().port, host: '127.0.0.1' }, (r) => { r.resume(); r.on('end', () =>
    new Worker('0', { eval: true }).on('exit', () => { console.log('works'); server.close(); process.exit(0) })) }));
";

/// Serves on a Unix socket, forks to save, and ends.
const REDIS: &str = "
command -v redis-server redis-cli >/dev/null || { echo works without redis; exit; }
dir=$(mktemp -d); redis-server --port 0 --unixsocket $dir/s --dir $dir >$dir/log & server=$!
cli() { redis-cli -s $dir/s \"$@\"; }
until cli ping 2>&1 | grep -q PONG; do kill -0 $server || { cat $dir/log; exit 1; }; done
cli set a b; cli bgsave
until cli info persistence | grep -q rdb_bgsave_in_progress:0; do kill -0 $server || exit 1; done
cli info persistence | grep -q rdb_last_bgsave_status:ok || { cat $dir/log; exit 1; }
cli shutdown nosave; wait $server && echo works; rm -r $dir
";

#[test]
fn runtimes_run_under_it() {
    let programs: [(&str, &[&str], &str); 6] = [
        ("python3", &["-c", PYTHON], "works"),
        ("node", &["-e", NODE], "works"),
        ("perl", &["-e", "system('true') == 0 and print 'works'"], "works"),
        ("sh", &["-c", REDIS], "works"),
        ("java", &["-XshowSettings:vm", "-version"], "ersion"),
        ("go", &["version"], "go version"),
    ];
    for (program, args, expected) in programs {
        match run(program, args) {
            Some((status, output)) => {
                assert!(status.success() && output.contains(expected), "`{program}`: {status:?}\n{output}");
                if output.contains("works without redis") {
                    skipped("runtimes_run_under_it `redis-server`", "not installed");
                }
            }
            None => skipped(&format!("runtimes_run_under_it `{program}`"), "not installed"),
        }
    }
}

/// Under the filter of processes that only carry bytes nothing is executed; the list for workloads lets it.
#[test]
fn a_carrier_executes_nothing() {
    let under = |program: Program| {
        let mut command = Command::new("true");
        let install_it = move || {
            rustix::thread::set_no_new_privs(true)?;
            install(&program)
        };
        // SAFETY: between fork and exec it makes system calls on memory that the closure owns.
        unsafe { command.pre_exec(install_it) };
        command.status()
    };
    assert_eq!(under(carrier_profile().unwrap()).unwrap_err().raw_os_error(), Some(libc::EPERM));
    assert!(under(default_profile().unwrap().remove(0)).unwrap().success());
}

#[test]
fn without_no_new_privs_an_ordinary_user_installs_nothing() {
    if !rustix::process::geteuid().is_root() {
        return skipped("without_no_new_privs_an_ordinary_user_installs_nothing", "needs root to become one");
    }
    let programs = default_profile().unwrap();
    let tried = move || {
        // SAFETY: takes no pointer; the process has one thread after the fork.
        if unsafe { libc::setresuid(65_534, 65_534, 65_534) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        programs.iter().try_for_each(|program| install(program))
    };
    let mut command = Command::new("true");
    // SAFETY: between fork and exec it makes system calls on memory that the closure owns.
    unsafe { command.pre_exec(tried) };
    assert_eq!(command.status().unwrap_err().raw_os_error(), Some(libc::EACCES));
}
