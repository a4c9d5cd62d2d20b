//! Hello in five languages, without an SDK.

use std::fs;
use std::process::Command;

use insula_tests::{Options, Place, Server, skip, system_program};

const SOURCES: [(&str, &str); 5] = [
    ("hello.py", include_str!("../../../examples/hello/hello.py")),
    ("hello.js", include_str!("../../../examples/hello/hello.js")),
    ("hello.pl", include_str!("../../../examples/hello/hello.pl")),
    ("hello.c", include_str!("../../../examples/hello/hello.c")),
    ("hello.rs", include_str!("../../../examples/hello/hello.rs")),
];

/// Starts one hello and asks it.
fn says_hello(language: &str, command: &str, build: Option<(&str, &[&str])>) {
    let place = Place::new();
    for (name, text) in SOURCES {
        fs::write(place.apps().join(name), text).unwrap();
    }
    if let Some((compiler, arguments)) = build {
        let built = Command::new(compiler).args(arguments).current_dir(place.apps()).status().unwrap();
        assert!(built.success(), "`{compiler}` failed");
    }
    let config = format!(
        "[service.hello]\ncommand = \"{command}\"\nworkdir = \"$APPS\"\nidle_timeout = \"200ms\"\n\
         [instances]\nhello = [\"world\"]\n"
    );
    let server = Server::with(place, &config, &Options::default());
    for _ in 0..2 {
        server.wait_observed("hello:world", "asleep");
        let reply = server.get("hello:world", "/").expect(200);
        assert_eq!(reply.text(), format!("hello from {language}\n"));
    }
}

#[test]
fn python_says_hello() {
    says_hello("python", "python3 hello.py", None);
}

#[test]
fn node_says_hello() {
    if system_program("node").is_none() {
        skip!("node is not in the system directories");
    }
    says_hello("node", "node hello.js", None);
}

#[test]
fn perl_says_hello() {
    if system_program("perl").is_none() {
        skip!("perl is not in the system directories");
    }
    says_hello("perl", "perl hello.pl", None);
}

#[test]
fn c_says_hello() {
    if system_program("cc").is_none() {
        skip!("cc is not in the system directories");
    }
    says_hello("c", "./hello-c", Some(("cc", &["-O1", "-o", "hello-c", "hello.c"])));
}

#[test]
fn rust_says_hello() {
    if Command::new("rustc").arg("--version").output().is_err() {
        skip!("rustc cannot be run by this user");
    }
    says_hello(
        "rust",
        "./hello-rust",
        Some(("rustc", &["--edition", "2024", "-o", "hello-rust", "hello.rs"])),
    );
}
