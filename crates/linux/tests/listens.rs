//! A call of listen(2) waits until it is passed, and fails when nobody is left to pass it.
//!
//! Both tests are each other's control: what is passed succeeds, what is not does not.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::io::Write;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use insula_linux::scm;
use insula_linux::seccomp::{Listens, stop_listens, try_listens};
use rustix::event::{PollFd, PollFlags, poll};

const CHILD: &str = "INSULA_TEST_LISTENS_CHILD";
/// What the child writes when it listens, and when the call failed with `ENOSYS`.
const LISTENING: &str = "it listens";
const REFUSED: &str = "it cannot listen";

/// Not a test of its own: the program that listens, started by the tests.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let told = match TcpListener::bind("127.0.0.1:0") {
        Ok(_) => LISTENING,
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => REFUSED,
        Err(e) => panic!("{e}"),
    };
    std::io::stdout().write_all(told.as_bytes()).unwrap();
}

/// Starts the program that listens, and answers the end that passes its calls; `None`, and says so, where a
/// filter of this kind is in force already.
fn start(test: &str) -> Option<(Child, Listens)> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--test-threads=1", "--nocapture"]).env(CHILD, "1");
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let install = move || {
        rustix::thread::set_no_new_privs(true)?;
        match stop_listens() {
            Ok(fd) => scm::send(&theirs, b"+", &[fd.as_fd()]).map(drop),
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => scm::send(&theirs, b"-", &[]).map(drop),
            Err(e) => Err(e),
        }
    };
    // SAFETY: between fork and exec it makes system calls on memory that the closure owns; it neither allocates
    // nor takes a lock.
    unsafe { command.pre_exec(install) };
    let child = command.spawn().unwrap();
    let (mut word, mut fds) = ([0; 1], Vec::<OwnedFd>::new());
    scm::recv(&ours, &mut word, &mut fds).unwrap();
    match fds.pop() {
        Some(fd) => Some((child, Listens::new(fd))),
        None => {
            let why = "another program stops system calls of this one already";
            std::io::stderr().write_all(format!("SKIPPED {test}: {why}\n").as_bytes()).unwrap();
            None
        }
    }
}

/// Waits until something is to be passed, or nobody is left.
fn wait(listens: &Listens) {
    poll(&mut [PollFd::new(listens, PollFlags::IN)], None).unwrap();
}

/// All that it wrote up to its end.
fn said(child: Child) -> String {
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn a_passed_call_goes_on_and_the_end_is_told() {
    let Some((mut child, listens)) = start("a_passed_call_goes_on_and_the_end_is_told") else { return };
    wait(&listens);
    assert!(child.try_wait().unwrap().is_none(), "it did not wait");
    assert!(listens.pass().unwrap());
    wait(&listens);
    assert!(!listens.pass().unwrap(), "nobody is left");
    assert!(said(child).contains(LISTENING));
}

#[test]
fn a_call_that_nobody_can_pass_fails() {
    let Some((child, listens)) = start("a_call_that_nobody_can_pass_fails") else { return };
    wait(&listens);
    drop(listens);
    assert!(said(child).contains(REFUSED));
}

#[test]
fn passing_when_nothing_waits_does_not_wait() {
    let Some((mut child, listens)) = start("passing_when_nothing_waits_does_not_wait") else { return };
    wait(&listens);
    child.kill().unwrap();
    child.wait().unwrap();
    // The call is gone with its caller; the first answers may still be about it.
    while listens.pass().unwrap() {}
}

const TRIES: &str = "INSULA_TEST_LISTENS_TRIES";

/// Not a test of its own: the program that tries, started by the test below.
#[test]
fn trying_child() {
    if std::env::var_os(TRIES).is_some() {
        let told = try_listens().err().and_then(|e| e.raw_os_error());
        std::io::stdout().write_all(format!("tried: {told:?}").as_bytes()).unwrap();
    }
}

#[test]
fn whether_it_can_be_is_known_before_and_costs_nothing() {
    let tries = |under_one: bool| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "trying_child", "--test-threads=1", "--nocapture"]).env(TRIES, "1");
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        if under_one {
            let install = || {
                rustix::thread::set_no_new_privs(true)?;
                // Kept open over the execution; nobody listens, so nobody waits.
                let fd = stop_listens()?;
                rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty())?;
                std::mem::forget(fd);
                Ok(())
            };
            // SAFETY: between fork and exec it makes system calls on memory that the closure owns.
            unsafe { command.pre_exec(install) };
        }
        said(command.spawn().unwrap())
    };
    if try_listens().is_err() {
        let why = "another program stops system calls of this one already";
        let test = "whether_it_can_be_is_known_before_and_costs_nothing";
        std::io::stderr().write_all(format!("SKIPPED {test}: {why}\n").as_bytes()).unwrap();
        return;
    }
    assert!(tries(false).contains("tried: None"));
    assert!(tries(true).contains(&format!("tried: Some({})", libc::EBUSY)));
    // The thread that tried it is gone, and its filter with it.
    TcpListener::bind("127.0.0.1:0").unwrap();
}
