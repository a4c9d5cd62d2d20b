//! Input that is wrong, hostile or in the way is refused with a reason, and nothing is left of the attempt.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::Command;

use insula_tests::{Answer, Inventory, Options, Place, Server, is_root, skip, system_program, wait_until};

use crate::common::app;

/// Starts a server that must not start; what it said.
fn refused(place: &Place, config: &str) -> Answer {
    let config = place.configure(config);
    let answer = Answer::of(&place.home(), &["serve", "--config", config.to_str().unwrap()]);
    assert_ne!(answer.code, 0, "it ended well: {answer:?}");
    let left = Inventory::take(place);
    assert!(left.is_empty(), "left behind: {left:#?}");
    answer
}

#[test]
fn a_malformed_configuration_is_refused_with_its_place_and_a_suggestion() {
    let place = Place::new();
    let good = app("serve", "idle_timeout = \"5m\"", &["a"]);
    let bad = refused(&place, &good.replace("idle_timeout", "idle_timout"));
    assert_eq!(bad.code, 6, "{bad:?}");
    assert!(bad.stderr.contains("insula.toml:5") && bad.stderr.contains("idle_timeout"), "{}", bad.stderr);
    let bad = refused(&place, &good.replace("5m", "5 parsecs"));
    assert!(bad.stderr.contains("5 parsecs"), "{}", bad.stderr);
    let bad = refused(&place, "this is not toml");
    assert_eq!(bad.code, 6, "{bad:?}");
    // The control: the same text without the mistake.
    drop(Server::with(place, &good, &Options::default()));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config =
        format!("[settings]\nport = {port}\ndata_dir = \"$ROOT/data\"\n{}", app("serve", "", &["a"]));
    let answer = refused(&place, &config);
    assert!(answer.stderr.contains(&port.to_string()), "{}", answer.stderr);
    drop(listener);
    drop(Server::with(place, &config, &Options::default()));
}

#[test]
fn a_damaged_database_is_refused_and_left_as_it_is() {
    let mut server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/").expect(200);
    assert_eq!(server.terminate(), 0);
    let database = server.place().home().join("state.db");
    let whole = fs::read(&database).unwrap();
    for damaged in
        [b"not a database, but long enough to be one".repeat(100), whole[..whole.len() / 2].to_vec()]
    {
        fs::write(&database, &damaged).unwrap();
        let config = server.place().path().join("insula.toml");
        let answer = server.cli(&["serve", "--config", config.to_str().unwrap()]);
        assert_ne!(answer.code, 0, "{answer:?}");
        assert!(answer.stderr.contains("state.db"), "{}", answer.stderr);
        assert_eq!(fs::read(&database).unwrap(), damaged, "the damaged file was changed");
    }
    fs::write(&database, &whole).unwrap();
    server.start_again();
    server.get("app:a", "/").expect(200);
}

#[test]
fn hostile_bytes_on_the_public_port_do_no_harm() {
    let server = Server::start(&app("serve", "", &["a"]));
    let worker = server.worker();
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(200_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(10_000));
    let zeros = "\0".repeat(70_000);
    for bytes in [
        &long,
        &many,
        &zeros,
        "\r\n\r\n\r\n",
        "GET",
        "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        "\u{fe}\u{ff}\r\n\r\n",
    ] {
        let mut stream = server.connect();
        // The server may close before everything is sent.
        drop(stream.write_all(bytes.as_bytes()));
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    for host in
        ["", "..", "a.app.localhost:99999", "a..app.localhost", "a.app.localhost@evil", "-.app.localhost"]
    {
        let mut stream = server.connect();
        write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 4"), "Host `{host}`: {answer}");
    }
    server.get("app:a", "/").expect(200);
    assert!(worker.alive(), "the worker did not survive");
}

#[test]
fn hostile_bytes_on_the_control_socket_do_no_harm() {
    let server = Server::start(&app("serve", "", &["a"]));
    let path = server.place().home().join("run/control.sock");
    for bytes in [
        "\0\0\0\0",
        "GET /v1/instances/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /v1 HTTP/1.1\r\n",
    ] {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(insula_tests::PATIENCE)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    server.cli(&["ps"]).ok();
}

#[test]
fn another_user_may_not_give_orders() {
    if !is_root() {
        skip!("only root can become another user");
    }
    let server = Server::start(&app("serve", "", &["a"]));
    let setpriv = system_program("setpriv").unwrap();
    let insula = std::env::var_os("INSULA_BIN")
        .unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target/debug/insula").into());
    // Where the program or the home cannot be reached, opening both shows that the socket's own check holds.
    let program = server.place().path().join("insula");
    fs::copy(insula, &program).unwrap();
    let open = |path: &std::path::Path, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let home = server.place().home();
    open(&home, 0o755);
    open(&home.join("run"), 0o755);
    open(&home.join("run/control.sock"), 0o777);
    let ask = |uid: &str| -> Answer {
        let mut command = Command::new(&setpriv);
        command.args([&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups"]);
        command.arg(&program).args(["ps"]).env("INSULA_HOME", &home);
        command.output().unwrap().into()
    };
    assert_eq!(ask("0").code, 0, "the control was refused");
    let other = ask("4243");
    assert_eq!(other.code, 4, "{other:?}");
}

#[test]
fn a_database_that_is_locked_for_a_while_loses_no_line() {
    let Some(python) = system_program("python3") else { skip!("python3 is not in the system directories") };
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/log?n=1").expect(200);
    let lock = "import sqlite3, sys\nd = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n\
                d.execute('BEGIN EXCLUSIVE')\nprint('locked', flush=True)\nsys.stdin.read()";
    let mut holder = Command::new(python)
        .args(["-c", lock])
        .arg(server.place().home().join("state.db"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 6];
    holder.stdout.take().unwrap().read_exact(&mut word).unwrap();
    for _ in 0..5 {
        server.get("app:a", "/log?n=100").expect(200);
    }
    drop(holder.stdin.take());
    holder.wait().unwrap();
    wait_until("every line is stored", || {
        let logs = server.cli(&["logs", "app:a"]).ok().stdout;
        (logs.lines().filter(|l| l.contains("line ")).count() == 501).then_some(())
    });
}
