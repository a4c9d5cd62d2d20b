//! A page, its parts and its script, as a browser asks for them of a tenant that sleeps.

use std::process::Command;

use insula_tests::{Server, skip, system_program};
use serde_json::{Value, json};

const BROWSER: &str = include_str!("../../fixtures/browser.js");
const NOTES: &str = "[service.notes]\ncommand = \"python3 $APPS/notes.py\"\nworkdir = \"$APPS\"\n\
                     idle_timeout = \"300ms\"\n\
                     [service.notes.env]\nDATABASE_PATH = \"{data_dir}/{id}/notes.db\"\n\
                     [instances]\nnotes = [\"alice\", \"bob\"]\n";

fn visit(server: &Server, instance: &str) -> Value {
    let address = server.address();
    let script = server.place().path().join("browser.js");
    std::fs::write(&script, BROWSER).unwrap();
    let words = [&address.ip().to_string(), &address.port().to_string(), &server.host(instance)];
    let output = Command::new("node").arg(script).args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_browser_is_served_a_page_by_a_tenant_that_slept() {
    if system_program("node").is_none() {
        skip!("node is not in the system directories");
    }
    let server = Server::start(NOTES);
    server.wait_observed("notes:alice", "asleep");
    let seen = visit(&server, "notes:alice");
    let written = json!([{ "id": 1, "text": "from the page" }]);
    assert_eq!(seen["first"], json!({ "page": 200, "parts": [200, 200, 200, 200], "notes": [] }));
    assert_eq!(seen["added"], 201);
    // The second time only the notes are new.
    assert_eq!(seen["second"], json!({ "page": 304, "parts": [304, 304, 304, 200], "notes": written }));
    let connections = seen["connections"].as_i64().unwrap();
    assert!(connections <= 6, "{connections} connections for 11 requests: they were not kept");
    // What it wrote is there after a sleep, and nowhere else.
    server.wait_observed("notes:alice", "asleep");
    assert_eq!(visit(&server, "notes:alice")["first"]["notes"], written);
    assert_eq!(visit(&server, "notes:bob")["first"]["notes"], json!([]));
}
