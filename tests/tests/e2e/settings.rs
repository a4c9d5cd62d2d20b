//! Files of other systems, and where values come from.

use std::process::{Command, Stdio};

use insula_tests::{Answer, Options, Place, Server, cgroups_writable};

use crate::common::app;

/// The claims' app under its old table name, with keys that mean something else here.
fn old() -> String {
    // Where no limit can be enforced, one that is asked for refuses the start.
    let shares = if cgroups_writable() { "cpu_shares = 100" } else { "" };
    let text = app("serve", &format!("port = 3000\nsocket = \"/tmp/x-{{id}}.sock\"\n{shares}"), &["a"]);
    text.replace("[service.", "[process.")
}

#[test]
fn a_file_with_old_names_answers_requests_and_says_what_is_old() {
    let place = Place::new();
    let config = place.configure(&old());
    let path = config.to_str().unwrap();
    let check = Answer::of(&place.home(), &["config", "check", "--config", path]);
    assert_eq!(check.code, 0, "{check:?}");
    assert!(check.stderr.contains("`[process.app]` is deprecated"), "{}", check.stderr);
    let new = Answer::of(&place.home(), &["config", "check", "--json", "--config", path]).json();
    assert!(new["warnings"].as_array().unwrap().len() >= 3, "{new}");
    let server = Server::with(place, &old(), &Options::default());
    server.get("app:a", "/").expect(200);
    // The control: nothing is said of a file with present names.
    let place = Place::new();
    let config = place.configure(&app("serve", "", &["a"]));
    let quiet = Answer::of(&place.home(), &["config", "check", "--config", config.to_str().unwrap()]);
    assert!(quiet.code == 0 && !quiet.stderr.contains("warning"), "{quiet:?}");
}

#[test]
fn every_value_is_shown_with_its_origin() {
    let place = Place::new();
    let secret = app("serve", "", &["a"]).replace("DATA =", "TOKEN = \"hunter2\"\nDATA =");
    let config = place.configure(&secret);
    let shown =
        Answer::of(&place.home(), &["config", "show", "--port", "9", "--config", config.to_str().unwrap()]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let row = |key: &str| shown.stdout.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    assert!(row("settings.port").ends_with("--port"), "{}", shown.stdout);
    assert!(row("service.app.command").contains("insula.toml:"), "{}", shown.stdout);
    assert!(
        row("service.app.env.TOKEN").contains("...") && !shown.stdout.contains("hunter2"),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.contains("option > environment > file > default"), "{}", shown.stdout);
}

#[test]
fn bash_takes_the_completions() {
    let place = Place::new();
    let script = Answer::of(&place.home(), &["completions", "bash"]);
    let path = place.path().join("completions.bash");
    std::fs::write(&path, &script.stdout).unwrap();
    let bash = Command::new("bash").arg("-n").arg(&path).stdin(Stdio::null()).output().unwrap();
    assert!(bash.status.success() && script.stdout.contains("doctor"), "{bash:?}");
    // The control: bash refuses the same script without its end.
    std::fs::write(&path, script.stdout.replacen("esac", "", 1)).unwrap();
    let bash = Command::new("bash").arg("-n").arg(&path).stdin(Stdio::null()).output().unwrap();
    assert!(!bash.status.success());
}
