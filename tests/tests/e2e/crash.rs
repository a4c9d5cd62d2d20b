//! Apps that end, refuse to end, or try to get away.

use std::time::Duration;

use insula_tests::{PATIENCE, Process, Server, exited_within, skip, system_program, wait_until};
use rustix::process::Signal;

use crate::common::{app, number};

#[test]
fn a_killed_app_is_noticed_and_started_again() {
    let server = Server::start(&app("serve", "restart = \"always\"", &["a"]));
    server.get("app:a", "/").expect(200);
    let first = server.app("app:a");
    first.kill();
    let second = successor(&server, "app:a", &first);
    assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), 1);
    assert_ne!(first.pid, second.pid);
    let detail = server.inspect("app:a");
    assert_eq!(detail["restarts"], 1, "{detail}");
    let why = server.cli(&["why", "app:a"]).ok().stdout;
    assert!(why.contains("signal 9"), "`why` does not name the signal: {why}");
}

#[test]
fn a_request_during_a_restart_waits_and_is_answered() {
    let server = Server::start(&app("slow 300", "restart = \"always\"", &["a"]));
    server.get("app:a", "/").expect(200);
    for _ in 0..5 {
        server.app("app:a").kill();
        server.get("app:a", "/").expect(200);
        server.wait_observed("app:a", "running");
    }
}

#[test]
fn a_crash_loop_ends_in_failed_with_the_reason() {
    let keys =
        "restart = \"on-failure\"\nrestart_backoff = \"20ms\"\nmax_restarts = 3\nrestart_window = \"60s\"";
    let server = Server::start(&app("crash-loop", keys, &["a"]));
    server.wait_observed("app:a", "failed");
    assert_eq!(server.inspect("app:a")["restarts"], 3);
    let why = server.cli(&["why", "app:a"]).ok().stdout;
    assert!(why.contains("status 3") && why.contains("cannot open the frobnicator"), "{why}");
    server.get("app:a", "/").expect(503);
}

#[test]
fn an_app_that_ends_well_is_not_restarted_on_failure() {
    let server = Server::start(&app("serve", "restart = \"on-failure\"", &["a", "b"]));
    server.get("app:a", "/").expect(200);
    let process = server.app("app:a");
    // The answer is lost with the process.
    drop(server.try_get("app:a", "/exit?code=0"));
    assert!(exited_within(process.id(), PATIENCE));
    wait_until("it is no longer running", || (server.observed("app:a") != "running").then_some(()));
    assert_eq!(server.inspect("app:a")["restarts"], 0);
    // A request lost with its run is sent to the next one, so this may be more than one end.
    drop(server.try_get("app:b", "/exit?code=1"));
    wait_until("its neighbour was restarted", || {
        server.inspect("app:b")["restarts"].as_i64().filter(|restarts| *restarts > 0)
    });
}

#[test]
fn the_end_of_the_main_process_ends_everything_in_the_instance() {
    let server = Server::start(&app("serve", "restart = \"never\"", &["a"]));
    server.get("app:a", "/leave").expect(200);
    // The answer may come before the daemon has become the program it is known by.
    let left = wait_until("the daemon is to be seen", || {
        Some(descendants(&server.agent("app:a"), "sleep 1000")).filter(|left| !left.is_empty())
    });
    assert_eq!(left.len(), 1, "{left:?}");
    drop(server.try_get("app:a", "/exit?code=3"));
    wait_until("its daemon is gone", || (!left[0].alive()).then_some(()));
}

#[test]
fn a_grandchild_is_stopped_too() {
    let server = Server::start(&app("child", "", &["a"]));
    server.get("app:a", "/").expect(200);
    let main = server.app("app:a");
    let children = main.children();
    assert_eq!(children.len(), 1, "{children:?}");
    server.cli(&["stop", "app:a"]).ok();
    server.wait_observed("app:a", "stopped");
    assert!(!main.alive() && !children[0].alive());
}

#[test]
fn an_app_that_ignores_sigterm_is_killed_after_its_grace() {
    let server = Server::start(&app("deaf", "stop_timeout = \"300ms\"", &["a"]));
    server.get("app:a", "/").expect(200);
    let process = server.app("app:a");
    process.signal(Signal::TERM);
    assert!(
        !exited_within(process.id(), Duration::from_millis(200)),
        "the app is not deaf: nothing is shown"
    );
    server.cli(&["stop", "app:a"]).ok();
    assert!(exited_within(process.id(), PATIENCE));
    server.wait_observed("app:a", "stopped");
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let config = "[service.app]\ncommand = \"no-such-program --flag\"\n[instances]\napp = [\"a\"]\n";
    let server = Server::start(config);
    server.wait_observed("app:a", "failed");
    let why = server.cli(&["why", "app:a"]).ok().stdout;
    assert!(why.contains("no-such-program"), "{why}");
    server.get("app:a", "/").expect(503);
}

#[test]
fn one_tenant_that_fails_does_not_touch_another() {
    let keys = "restart = \"always\"\nrestart_backoff = \"10ms\"";
    let server = Server::start(&app("serve", keys, &["a", "b"]));
    server.get("app:b", "/").expect(200);
    let neighbour = server.app("app:b");
    server.get("app:a", "/").expect(200);
    let mut failing = server.app("app:a");
    for _ in 0..3 {
        failing.kill();
        failing = successor(&server, "app:a", &failing);
        assert!(number(&server.get("app:b", "/").expect(200), "counter") > 1);
    }
    assert!(neighbour.alive());
}

#[test]
fn a_flood_of_lines_ends_nothing() {
    let server = Server::start(&app("serve", "", &["a"]));
    let last = number(&server.get("app:a", "/log?n=20000&pad=100").expect(200), "last");
    assert_eq!(last, 20_000);
    assert_eq!(number(&server.get("app:a", "/").expect(200), "counter"), 1);
    wait_until("the last line is stored", || {
        let logs = server.cli(&["logs", "app:a", "-n", "5"]).ok().stdout;
        logs.contains("line 20000 ").then_some(())
    });
}

#[test]
fn a_shell_script_is_an_app_too() {
    if system_program("python3").is_none() {
        skip!("python3 is not in the system directories");
    }
    let config = "[service.app]\ncommand = \"sh -c 'exec python3 $APPS/app.py serve \\\"two words\\\"'\"\n\
                  workdir = \"$APPS\"\n[instances]\napp = [\"a\"]\n";
    let server = Server::start(config);
    assert_eq!(server.get("app:a", "/about").expect(200).json()["argv"][1], "two words");
}

/// The process that runs the app after this one.
fn successor(server: &Server, instance: &str, first: &Process) -> Process {
    wait_until("another process runs", || {
        let pid = server.inspect(instance)["processes"]["app_pid"].as_i64()?;
        Process::find(i32::try_from(pid).ok()?).filter(|p| p != first)
    })
}

/// Everything below a process whose command line begins like this.
fn descendants(of: &Process, command: &str) -> Vec<Process> {
    let mut waiting = of.children();
    let mut found = Vec::new();
    while let Some(process) = waiting.pop() {
        waiting.extend(process.children());
        if process.command.starts_with(command) {
            found.push(process);
        }
    }
    found
}
