//! What is in the memory of the daemon is not written to a disk when it dies.

use std::path::PathBuf;

use insula_tests::{Options, Place, Process, Server, exited_within, is_root, wait_until};
use rustix::process::{Resource, Rlimit, Signal, prlimit};

use crate::common::app;

/// Starts the server as one whose core files are not bounded, as far as this user may.
const UNBOUNDED: &str = "ulimit -S -c $(ulimit -H -c); exec \"$@\"";

/// The soft and the hard limit of the size of core files, as `/proc/PID/limits` has them.
fn limits(process: &Process) -> (String, String) {
    let text = std::fs::read_to_string(format!("/proc/{}/limits", process.pid)).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

/// Core files in the server's working directory, if that is where this kernel would put them.
fn cores(server: &Server) -> Vec<PathBuf> {
    let all = std::fs::read_dir(server.place().path()).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("core")).collect()
}

/// Ends a worker as an abort would.
fn aborts(server: &Server, worker: &Process, signal: Signal) {
    worker.signal(signal);
    assert!(exited_within(worker.id(), insula_tests::PATIENCE), "{worker:?} outlived {signal:?}");
    server.wait_worker_after(worker);
}

#[test]
fn no_core_file_is_written_of_the_daemon_and_workloads_ask_for_theirs() {
    let through = ["/bin/sh", "-c", UNBOUNDED, "sh"].map(str::to_owned).to_vec();
    let options = Options { through, ..Options::default() };
    let server = Server::with(Place::new(), &app("serve", "", &["a"]), &options);
    server.get("app:a", "/").expect(200);
    let hard = limits(&server.parent()).1;
    let soft = if hard == "0" { "0" } else { "1" };
    for process in [server.parent(), server.worker()] {
        assert_eq!(limits(&process), (soft.to_owned(), hard.clone()), "{process:?}");
    }
    // A workload begins without; its hard limit is left, so that it can raise its own.
    assert_eq!(limits(&server.app("app:a")), ("0".to_owned(), hard.clone()));
    // Whoever starts the tests in the background may have SIGQUIT ignored.
    for signal in [Signal::SYS, Signal::ABORT] {
        let worker = server.worker();
        aborts(&server, &worker, signal);
        assert_eq!(limits(&server.worker()).0, soft, "the next worker");
    }
    assert_eq!(cores(&server), Vec::<PathBuf>::new());
    // The control: without the limit there is one, where the kernel writes core files beside the program.
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let beside = pattern.trim().starts_with("core") && !pattern.contains('/');
    if beside && (hard == "unlimited" || is_root()) {
        let worker = server.worker();
        let all = Rlimit { current: None, maximum: None };
        prlimit(Some(worker.id()), Resource::Core, all).unwrap();
        aborts(&server, &worker, Signal::ABORT);
        let core = wait_until("the control has a core file", || cores(&server).pop());
        assert!(core.metadata().unwrap().len() > 4096, "{}", core.display());
        std::fs::remove_file(core).unwrap();
    } else {
        eprintln!("no control here: core files go to `{}`, the hard limit is {hard}", pattern.trim());
    }
    server.get("app:a", "/").expect(200);
}
