//! Commands beside instances: they wake them, keep them awake, and end with whoever asked.

use std::process::Output;

use insula_tests::{Running, Server, wait_until};

use crate::common::{app, services};

/// Writes a line, then what comes in, until that ends.
const ECHO: [&str; 5] = ["--", "sh", "-c", "echo up; exec cat", "of-exec"];

fn echo(server: &Server, instance: &str) -> Running {
    let mut running = server.begin(&[&["exec", instance], &ECHO[..]].concat());
    assert_eq!(running.line(), "up");
    running
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_command_wakes_an_instance_and_keeps_it_awake() {
    let server = Server::start(&app("serve", "idle_timeout = \"300ms\"", &["a", "other"]));
    server.wait_observed("app:a", "asleep");
    let mut running = echo(&server, "app:a");
    let process = server.app("app:a");
    for _ in 0..3 {
        // As long as another one needs to fall asleep.
        server.get("app:other", "/").expect(200);
        server.wait_observed("app:other", "asleep");
        running.write(b"still here\n");
        assert_eq!(running.line(), "still here");
    }
    assert!(process.alive(), "it was restarted under a command");
    assert!(running.end().status.success());
    server.wait_observed("app:a", "asleep");
}

#[test]
fn what_cannot_be_run_is_refused_with_the_reason() {
    let server = Server::start(&services(&[("app", "serve", "", &["a"]), ("down", "serve", "", &["a"])]));
    let exec = |instance: &str| server.cli(&["exec", instance, "--", "true"]);
    assert_eq!(exec("app:a").ok().stdout, "");
    server.cli(&["stop", "down:a"]).ok();
    for (instance, code, says) in
        [("app:zed", 3, "no instance"), ("nothing:a", 3, "no service"), ("down:a", 4, "insula spawn down:a")]
    {
        let answer = exec(instance);
        assert!(answer.code == code && answer.stderr.contains(says), "{instance}: {answer:?}");
    }
    let answer = server.cli(&["exec", "app:a", "--env", "NOT_SET_ANYWHERE", "--", "true"]);
    assert!(answer.code == 2 && answer.stderr.contains("NOT_SET_ANYWHERE"), "{answer:?}");
    let answer = server.cli(&["exec", "app:a", "--cwd", "tmp", "--", "true"]);
    assert!(answer.code == 1 && answer.stderr.contains("absolute"), "{answer:?}");
}

#[test]
fn there_is_a_bound_to_commands_at_once() {
    let server = Server::start(&app("serve", "", &["a"]));
    let all: Vec<_> = (0..16).map(|_| echo(&server, "app:a")).collect();
    let one_more = server.cli(&["exec", "app:a", "--", "true"]);
    assert!(one_more.code == 4 && one_more.stderr.contains("16 commands"), "{one_more:?}");
    // The workload is reached all the same.
    server.get("app:a", "/").expect(200);
    for running in all {
        assert!(running.end().status.success());
    }
    server.cli(&["exec", "app:a", "--", "true"]).ok();
}

#[test]
fn a_planned_restart_cuts_commands_and_nothing_else() {
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/").expect(200);
    let (running, process) = (echo(&server, "app:a"), server.app("app:a"));
    assert_eq!(server.take_over().code, 0);
    let output = running.end();
    assert!(!output.status.success() && !said(&output).is_empty(), "{output:?}");
    let list = || server.cli(&["exec", "app:a", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline"]).ok().stdout;
    wait_until("the command is gone", || (!list().contains("of-exec")).then_some(()));
    assert!(process.alive(), "the workload was restarted");
}

#[test]
fn a_worker_that_is_killed_costs_commands_and_nothing_else() {
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/").expect(200);
    let (running, process, worker) = (echo(&server, "app:a"), server.app("app:a"), server.worker());
    worker.kill();
    let output = running.end();
    assert!(
        output.status.code() == Some(1) && said(&output).contains("before the command ended"),
        "{output:?}"
    );
    server.wait_worker_after(&worker);
    let list = || server.cli(&["exec", "app:a", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline"]).ok().stdout;
    wait_until("the command is gone", || (!list().contains("of-exec")).then_some(()));
    assert!(process.alive(), "the workload was restarted");
}

#[test]
fn commands_run_over_the_network_for_admins_alone() {
    let server = Server::start(&app("serve", "", &["a"]));
    let token = |more: &[&str], file: &str| {
        let arguments = [&["token", "create", "--name", "test"], more].concat();
        let path = server.place().path().join(file);
        std::fs::write(&path, server.cli(&arguments).ok().stdout).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    };
    let url = format!("http://localhost:{}", server.address().port());
    let exec = |path: &std::path::Path| {
        let remote = ["--server", url.as_str(), "--token-file", path.to_str().unwrap()];
        server.fed(&[&remote[..], &["exec", "app:a", "--", "cat"]].concat(), b"over the network")
    };
    let admin = exec(&token(&[], "admin"));
    assert!(admin.status.success() && admin.stdout == b"over the network", "{admin:?}");
    let tenant = exec(&token(&["--tenant", "app:a"], "tenant"));
    assert!(tenant.status.code() == Some(4) && tenant.stdout.is_empty(), "{tenant:?}");
}

#[test]
fn commands_are_written_down_without_their_environment() {
    let server = Server::start(&app("serve", "", &["a"]));
    let words = ["exec", "app:a", "--env", "TOKEN=hunter2", "--", "sh", "-c", "echo $TOKEN; exit 3"];
    assert_eq!(server.cli(&words).stdout, "hunter2\n");
    let audit = wait_until("the end is written down", || {
        let text = server.cli(&["audit", "--json"]).ok().stdout;
        text.contains("exited 3").then_some(text)
    });
    assert!(audit.contains("echo $TOKEN") && audit.contains("\"EXEC\""), "{audit}");
    assert!(!audit.contains("hunter2") && !server.said().contains("hunter2"), "{audit}");
}
