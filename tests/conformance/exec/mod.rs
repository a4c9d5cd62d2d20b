//! A command beside an instance has the streams, the status and the end that it would have anywhere else.

use insula_tests::{Process, Server, wait_until};

use crate::ground::{Claim, Ground, Shown, act};

pub(crate) const CLAIM: Claim =
    Claim { name: "exec", says: "a command beside it runs as anywhere", from: "process", run };

/// More than any buffer on the way, with every byte in it.
const BYTES: usize = 1 << 20;
/// More than what may be under way, by far.
const MUCH: usize = 64 << 20;

/// Whether another program makes the containers. Commands are refused there, with what to do about it.
pub(crate) fn refused(ground: &Ground, server: &Server) -> Option<Shown> {
    ground.is_driven().then(|| {
        let output = server.fed(&["exec", "app:a", "--", "true"], &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(4) && said.contains("driver"), "{said}");
        Shown::No("another program makes the container: commands are refused".to_owned())
    })
}

/// Runs `sh -c SCRIPT` beside `app:a`.
fn sh(server: &Server, script: &str, input: &[u8]) -> (i32, Vec<u8>, String) {
    let output = server.fed(&["exec", "app:a", "--", "sh", "-c", script], input);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), output.stdout, said)
}

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a"]);
    if let Some(shown) = refused(ground, &server) {
        return shown;
    }
    act(&server, "app:a", "me", &[]);
    let app = server.app("app:a");
    ends(&server);
    streams(&server);
    surroundings(&server);
    much(&server);
    killed(&server);
    assert!(app.alive(), "the workload was disturbed");
    stopped(&server, &app);
    Shown::Yes
}

fn ends(server: &Server) {
    for code in [0, 3, 255] {
        assert_eq!(sh(server, &format!("exit {code}"), &[]).0, code);
    }
    assert_eq!(sh(server, "kill -9 $$", &[]).0, 128 + 9);
    assert_eq!(sh(server, "kill -TERM $$", &[]).0, 128 + 15);
    let program = |words: &[&str]| server.fed(&[&["exec", "app:a"], words].concat(), &[]);
    assert_eq!(program(&["--", "no-such-program"]).status.code(), Some(127));
    assert_eq!(program(&["--", "/etc/passwd"]).status.code(), Some(126));
    let late = program(&["--timeout", "200ms", "--", "sh", "-c", "while :; do sleep 1; done"]);
    assert_eq!(late.status.code(), Some(124), "{late:?}");
}

fn streams(server: &Server) {
    let bytes: Vec<u8> =
        (0..BYTES).map(|n| (n * 31 % 251).to_le_bytes()[0] ^ (n >> 8).to_le_bytes()[0]).collect();
    let (code, stdout, said) = sh(server, "cat; echo apart >&2", &bytes);
    assert_eq!((code, said.as_str()), (0, "apart\n"));
    assert!(stdout == bytes, "{} bytes came back", stdout.len());
    let none = server.fed(&["exec", "app:a", "--no-stdin", "--", "cat"], &bytes);
    assert!(none.status.success() && none.stdout.is_empty());
    // What takes none of its input ends all the same.
    assert_eq!(sh(server, "exec 0<&-; exit 7", &bytes).0, 7);
}

fn surroundings(server: &Server) {
    let me = act(server, "app:a", "me", &[]);
    let (code, stdout, said) =
        sh(server, "id -u; pwd; echo $WORD; cat /proc/self/status | grep -c CapEff:.0000000000000000", &[]);
    let expected = format!("{}\n{}\nword-of-a\n1\n", me["uid"], me["cwd"].as_str().unwrap());
    assert_eq!((code, String::from_utf8_lossy(&stdout).into_owned()), (0, expected), "{said}");
    let words = ["exec", "app:a", "--env", "WORD=mine", "--cwd", "/", "--", "sh", "-c", "pwd; echo $WORD"];
    assert_eq!(server.fed(&words, &[]).stdout, b"/\nmine\n");
    // The workload can be sent a signal.
    assert_eq!(sh(server, &format!("kill -0 {}", me["pid"]), &[]).0, 0);
}

/// The daemon holds no more of it than what may be under way.
fn much(server: &Server) {
    let worker = server.worker();
    let peak = |worker: &Process| {
        let text = worker.field("VmHWM").unwrap();
        text.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
    };
    let before = peak(&worker);
    let (code, stdout, said) = sh(server, &format!("head -c {MUCH} /dev/zero"), &[]);
    assert_eq!((code, stdout.len()), (0, MUCH), "{said}");
    let grown = peak(&worker).saturating_sub(before);
    assert!(grown < MUCH / 4, "the daemon grew by {grown} bytes");
}

/// A client that goes away takes the command and what that started with it.
fn killed(server: &Server) {
    let script = "echo up; sh -c 'sleep 1000; echo of-killed' & sleep 1000; echo of-killed";
    let mut client = server.begin(&["exec", "app:a", "--", "sh", "-c", script]);
    assert_eq!(client.line(), "up");
    let seen = || act(server, "app:a", "see", &[("word", "of-killed")])["seen"] == true;
    assert!(seen());
    client.kill();
    wait_until("the command is gone", || (!seen()).then_some(()));
}

/// A stop ends it, and says so.
fn stopped(server: &Server, app: &Process) {
    let mut client =
        server.begin(&["exec", "app:a", "--", "sh", "-c", "echo up; sleep 1000; echo of-stopped"]);
    assert_eq!(client.line(), "up");
    server.cli(&["stop", "app:a"]).ok();
    let output = client.end();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(4) && said.contains("app:a"), "{output:?}");
    let left: Vec<_> = Process::all().into_iter().filter(|p| p.command.contains("of-stopped")).collect();
    let left: Vec<_> = left.into_iter().filter(|p| !p.command.contains("insula")).collect();
    assert!(left.is_empty() && !app.alive(), "{left:?}");
}
