//! gRPC to a workload that sleeps until it is called, with the client and the server that everybody uses.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use insula_tests::{Server, skip};
use serde_json::{Value, json};

/// Where setup puts what it takes from PyPI: the interpreter, and its packages.
fn packages() -> Option<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv");
    let library = std::fs::read_dir(root.join("lib")).ok()?.filter_map(Result::ok).next()?.path();
    let packages = library.join("site-packages").canonicalize().ok()?;
    std::fs::metadata(packages.join("grpc/__init__.py")).ok()?;
    Some((root.join("bin/python3"), packages))
}

/// A service that speaks gRPC, and sleeps soon.
fn config(packages: &Path) -> String {
    format!(
        "[service.rpc]\ncommand = \"python3 rpc_server.py\"\nworkdir = \"$APPS\"\nprotocol = \"h2c\"\n\
         idle_timeout = \"300ms\"\nmounts = [{{ source = \"{}\", target = \"/packages\" }}]\n\
         [service.rpc.env]\nPYTHONPATH = \"/packages\"\nPYTHONDONTWRITEBYTECODE = \"1\"\n\
         [instances]\nrpc = [\"a\"]\n",
        packages.display()
    )
}

/// A client with one channel, told what to do line by line.
struct Client {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Client {
    fn of(server: &Server, python: &Path, tenant: &str) -> Self {
        let mut process = Command::new(python)
            .arg(server.place().apps().join("rpc_client.py"))
            .args([server.address().to_string(), format!("{tenant}.rpc.localhost")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { input: process.stdin.take(), process, output }
    }

    fn call(&mut self, line: &str) -> Value {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("`{line}`: {e}: {answer:?}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.input.take());
        self.process.wait().unwrap();
    }
}

#[test]
fn a_sleeping_server_answers_every_kind_of_call() {
    let Some((python, packages)) = packages() else {
        skip!("this user cannot read the packages of tests/requirements.txt; `scripts/setup` installs them");
    };
    let server = Server::start(&config(&packages));
    let mut client = Client::of(&server, &python, "a");
    server.wait_observed("rpc:a", "asleep");
    let wakes = server.inspect("rpc:a")["wakes"].as_i64().unwrap();
    assert_eq!(client.call("Unary hello"), json!({ "reply": "echo hello", "trailers": ["x-pid"] }));
    assert_eq!(server.inspect("rpc:a")["wakes"].as_i64().unwrap(), wakes + 1);
    let hundred: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(client.call("Count 100"), json!({ "replies": hundred }));
    let said: Vec<String> = ["a", "b", "c"].iter().map(|word| format!("you said {word}")).collect();
    assert_eq!(client.call("Chat a,b,c"), json!({ "replies": said }));
    let failed = client.call("Fail x");
    assert_eq!(failed, json!({ "code": "NOT_FOUND", "details": "no such thing: äöü %" }));
    assert_eq!(client.call("Nothing x")["code"], "UNIMPLEMENTED");
}

#[test]
fn an_open_channel_keeps_nothing_awake_and_an_open_call_does() {
    let Some((python, packages)) = packages() else {
        skip!("this user cannot read the packages of tests/requirements.txt; `scripts/setup` installs them");
    };
    let server = Server::start(&config(&packages));
    let mut client = Client::of(&server, &python, "a");
    // Silent for four times the idle timeout.
    assert_eq!(client.call("Slow 1.2"), json!({ "replies": ["before", "after"] }));
    for _ in 0..2 {
        server.wait_observed("rpc:a", "asleep");
        assert_eq!(client.call("Unary again")["reply"], "echo again");
    }
}

#[test]
fn failures_have_names_that_clients_of_grpc_know() {
    let Some((python, packages)) = packages() else {
        skip!("this user cannot read the packages of tests/requirements.txt; `scripts/setup` installs them");
    };
    let server = Server::start(&config(&packages));
    let mut client = Client::of(&server, &python, "a");
    let died = client.call("Die x");
    assert_eq!(died["code"], "UNAVAILABLE", "{died}");
    assert_eq!(client.call("Unary back")["reply"], "echo back");
    let mut stranger = Client::of(&server, &python, "stranger");
    let answer = stranger.call("Unary x");
    assert_eq!(answer["code"], "UNIMPLEMENTED", "{answer}");
    assert!(answer["details"].as_str().unwrap().contains("unknown_instance"), "{answer}");
    server.cli(&["stop", "rpc:a"]).ok();
    assert_eq!(client.call("Unary x")["code"], "UNAVAILABLE");
}
