//! A command is behind the same walls as the workload: it sees no more of the host, and counts for the same limits.

use std::fs;

use insula_tests::Server;
use serde_json::json;

use crate::exec::refused;
use crate::ground::{Claim, Ground, Shown, act, held};

pub(crate) const CLAIM: Claim =
    Claim { name: "exec_walls", says: "a command beside it is behind its walls", from: "namespace", run };

/// What is eaten where there is a limit of less, and where there is none.
const EATER: &str = "x = b'x' * (900 << 20); print('eaten')";

fn python(server: &Server, instance: &str, code: &str) -> String {
    let output = server.fed(&["exec", instance, "--", "python3", "-c", code], &[]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn run(ground: &Ground) -> Shown {
    let act_py = include_str!("act.py");
    let server = ground.serve(act_py, "", &["a", "b"]);
    if let Some(shown) = refused(ground, &server) {
        return shown;
    }
    act(&server, "app:b", "nothing", &[]);
    act(&server, "app:a", "nothing", &[]);
    // Another tenant's processes.
    let look = "import glob\nfor p in glob.glob('/proc/[0-9]*/cmdline'):\n try: print(open(p).read())\n except OSError: pass";
    let found = python(&server, "app:a", look);
    assert!(found.contains("word-of-a"), "{found}");
    held(ground, "namespace", &json!({ "through": found.contains("word-of-b") }));
    // A file of the host that is nobody's business.
    let file = server.place().path().join("of-the-host");
    fs::write(&file, "of the host").unwrap();
    let read = server.fed(&["exec", "app:a", "--", "cat", file.to_str().unwrap()], &[]);
    held(ground, "namespace", &json!({ "through": read.stdout == b"of the host" }));
    if ground.limits() {
        limited(ground, act_py);
    }
    Shown::Yes
}

fn limited(ground: &Ground, act_py: &str) {
    let memory = if ground.level() == "gvisor" { 512 } else { 128 };
    let keys = format!("restart = \"never\"\nmemory_limit_mb = {memory}");
    let server = ground.serve(act_py, &keys, &["a"]);
    act(&server, "app:a", "nothing", &[]);
    assert_eq!(python(&server, "app:a", "print('fine')"), "fine\n");
    assert_eq!(python(&server, "app:a", EATER), "", "it passed the limit of the instance");
    let control = ground.serve(act_py, "", &["a"]);
    assert_eq!(python(&control, "app:a", EATER), "eaten\n");
}
