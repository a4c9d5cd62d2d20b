//! What uses how much, as `insula top` shows it.

use std::process::Command;

use insula_tests::{Server, program, system_program, wait_until};
use serde_json::Value;

use crate::common::app;

/// Runs a program in a terminal of its own, presses keys as soon as words are to be seen, and prints what the
/// program wrote. It ends as the program does. Its arguments: words and keys by turns, `--`, the command.
const TERMINAL: &str = r#"
import os, pty, struct, fcntl, sys, termios
cut = sys.argv.index("--")
steps, command = sys.argv[1:cut], sys.argv[cut + 1:]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    os.execv(command[0], command)
seen, since, before = b"", 0, None
while True:
    try:
        got = os.read(terminal, 65536)
    except OSError:
        break
    if not got:
        break
    seen += got
    if steps and steps[0].encode() in seen[since:]:
        since = len(seen)
        os.write(terminal, steps[1].encode())
        steps = steps[2:]
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

fn top(server: &Server) -> Value {
    server.cli(&["top", "--once", "--json"]).ok().json()
}

fn row<'a>(frame: &'a Value, name: &str) -> &'a Value {
    frame["instances"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()
}

#[test]
fn one_look_shows_what_runs_and_what_sleeps() {
    let server = Server::start(&app("serve", "idle_timeout = \"300ms\"", &["a"]));
    server.get("app:a", "/").expect(200);
    let frame = wait_until("it sleeps", || {
        Some(top(&server)).filter(|frame| row(frame, "app:a")["state"] == "asleep")
    });
    assert_eq!((&frame["totals"]["asleep"], &frame["totals"]["running"]), (&1.into(), &0.into()), "{frame}");
    assert!(row(&frame, "app:a")["cpu_percent"].is_null(), "{frame}");
    let busy = Server::start(&app("serve", "", &["b"]));
    busy.get("app:b", "/").expect(200);
    let frame = top(&busy);
    let b = row(&frame, "app:b");
    assert_eq!((&b["state"], &frame["totals"]["running"]), (&"running".into(), &1.into()), "{frame}");
    assert!(b["pids"].as_u64().is_none_or(|pids| pids > 0), "{frame}");
    let text = busy.cli(&["top", "--once", "--sort", "mem"]).ok().stdout;
    assert!(text.starts_with("1 instances: 1 running") && text.contains("app:b"), "{text}");
}

#[test]
fn the_screen_is_drawn_keys_work_and_the_terminal_is_given_back() {
    let server = Server::start(&app("serve", "", &["a", "b"]));
    server.get("app:a", "/").expect(200);
    let home = server.place().home();
    let steps = ["app:b", "s", "sort (mem)", "/", "filter: ", "app:a", "filter: app:a", "\r", "(app:a)", "q"];
    let output = Command::new(system_program("python3").unwrap())
        .args(["-c", TERMINAL])
        .args(steps)
        .arg("--")
        .arg(program())
        .args(["top", "--home", home.to_str().unwrap()])
        .env("TERM", "xterm")
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(seen.contains("\u{1b}[?1049h") && seen.contains("2 instances"), "{seen:?}");
    let end = &seen[seen.rfind("(app:a)").unwrap()..];
    assert!(end.contains("\u{1b}[?1049l") && end.contains("\u{1b}[?25h"), "{seen:?}");
    // What is filtered out is not drawn again.
    assert!(!end.contains("app:b"), "{seen:?}");
}
