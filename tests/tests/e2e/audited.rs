//! What is asked of the daemon's own process is in the audit log.

use insula_tests::{Options, Place, Server, wait_until};
use rustix::process::{Signal, getuid};

use crate::common::app;

/// Who did what with which result, oldest first.
fn told(server: &Server) -> Vec<String> {
    let audit = server.cli(&["audit", "--after", "0", "--json"]).ok().json();
    let records = audit["records"].as_array().unwrap();
    let line = |r: &serde_json::Value| {
        assert!(r["target"].as_str().is_some_and(|t| t.ends_with("insula.toml")), "{r}");
        assert_eq!(r["request_id"].as_str().map(str::len), Some(16), "{r}");
        let who = match r["who"]["uid"].as_u64() {
            Some(uid) => format!("{} {uid}", r["who"]["kind"].as_str().unwrap()),
            None => r["who"]["kind"].as_str().unwrap().to_owned(),
        };
        format!(
            "{who}: {} {} {}",
            r["path"].as_str().unwrap(),
            r["status"],
            r["code"].as_str().unwrap_or("not over yet")
        )
    };
    records.iter().filter(|r| r["method"] == "LOCAL").map(line).collect()
}

#[test]
fn every_reload_is_in_the_audit_log_with_who_and_result() {
    let server = Server::start(&app("serve", "", &["a"]));
    let me = format!("unix {}", getuid().as_raw());
    server.cli(&["config", "apply", "--dry-run"]).ok();
    assert_eq!(told(&server), Vec::<String>::new(), "a dry run changes nothing");
    server.cli(&["config", "apply"]).ok();
    let mut expected = vec![format!("{me}: config apply 200 ok")];
    assert_eq!(told(&server), expected, "what is answered is written down");
    let worker = server.worker();
    server.parent().signal(Signal::HUP);
    expected.push("signal: config apply 200 ok".to_owned());
    wait_until("the signal is in the log", || {
        (server.worker() != worker && told(&server) == expected).then_some(())
    });
    server.take_over().ok();
    expected.push(format!("{me}: serve --takeover 200 ok"));
    assert_eq!(told(&server), expected);
    assert!(server.cli(&["audit"]).ok().stdout.contains("LOCAL config apply"));
}

#[test]
fn a_reload_that_is_refused_or_fails_is_in_the_audit_log_too() {
    let env = vec![("INSULA_FAULT".to_owned(), "standby.open".to_owned())];
    let server =
        Server::with(Place::new(), &app("serve", "", &["a"]), &Options { env, ..Options::default() });
    let me = format!("unix {}", getuid().as_raw());
    let path = server.place().path().join("insula.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("nonsense = 1\n{good}")).unwrap();
    assert_eq!(server.cli(&["config", "apply"]).code, 6);
    let mut expected = vec![format!("{me}: config apply 400 bad_config")];
    wait_until("the refusal is in the log", || (told(&server) == expected).then_some(()));
    std::fs::write(&path, good).unwrap();
    assert_eq!(server.cli(&["config", "apply"]).code, 4);
    expected.push(format!("{me}: config apply 500 not_ready"));
    wait_until("the failure is in the log of the next worker", || (told(&server) == expected).then_some(()));
}
