//! `seccomp = "file.json"`: what it refuses is refused, what is malformed refuses the start, inspect names it.

use std::fs;

use insula_tests::{Answer, Options, Place, Server, skip};

use crate::common::{app, lacks};

/// Everything but new directories.
const NO_MKDIR: &str = r#"{ "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30 }] }"#;

fn with(file: Option<&str>, level: &str) -> Server {
    let place = Place::new();
    let key = file.map_or_else(String::new, |text| {
        fs::write(place.path().join("filter.json"), text).unwrap();
        "seccomp = \"$ROOT/filter.json\"".to_owned()
    });
    let config = format!(
        "[service.sh]\ncommand = [\"sh\", \"-c\", \"mkdir /tmp/made && echo made || echo refused; exec python3 \
         $APPS/app.py serve\"]\nworkdir = \"$APPS\"\nisolation = \"{level}\"\n{key}\n[instances]\nsh = [\"a\"]\n"
    );
    Server::with(place, &config, &Options::default())
}

#[test]
fn a_call_that_the_file_refuses_is_refused_and_the_rest_goes_on() {
    for level in ["namespace", "container", "gvisor"] {
        let free = with(None, level);
        if let Some(why) = lacks(&free, level) {
            skip!("{why}");
        }
        free.get("sh:a", "/").expect(200);
        assert!(free.cli(&["logs", "sh:a"]).ok().stdout.contains("made"), "at {level} without the file");
        assert!(free.inspect("sh:a")["in_force"]["profile"].is_null());
        let bound = with(Some(NO_MKDIR), level);
        bound.get("sh:a", "/").expect(200);
        let logs = bound.cli(&["logs", "sh:a"]).ok().stdout;
        assert!(logs.contains("Read-only file system") && logs.contains("refused"), "at {level}: {logs}");
        let text = bound.cli(&["inspect", "sh:a"]).ok().stdout;
        assert!(text.contains("filter.json (sha256:"), "{text}");
        // The file is in force after a crash of the daemon, and another content after the next start.
        bound.worker().kill();
        bound.wait_observed("sh:a", "running");
        let named = bound.inspect("sh:a")["in_force"]["profile"].as_str().unwrap().to_owned();
        fs::write(bound.place().path().join("filter.json"), NO_MKDIR.replace("mkdirat", "rmdir")).unwrap();
        bound.cli(&["restart", "sh:a"]).ok();
        bound.get("sh:a", "/").expect(200);
        assert_ne!(bound.inspect("sh:a")["in_force"]["profile"], named.as_str());
    }
}

#[test]
fn a_malformed_file_refuses_the_start_and_says_where() {
    let text = NO_MKDIR.replace("SCMP_ACT_ERRNO", "SCMP_ACT_EROR");
    let server = with(Some(&text), "namespace");
    server.get("sh:a", "/").expect(503);
    let why = server.cli(&["why", "sh:a"]).ok().stdout;
    assert!(why.contains("filter.json") && why.contains("`syscalls[0].action`"), "{why}");
    assert!(why.contains("SCMP_ACT_EROR"), "{why}");
}

#[test]
fn at_level_process_there_is_no_filter_to_change() {
    let place = Place::new();
    let text = app("serve", "isolation = \"process\"\nseccomp = \"filter.json\"", &["a"]);
    let config = place.configure(&text);
    let checked = ["config", "check", "--config", config.to_str().unwrap()];
    let answer = Answer::of(&place.home(), &checked);
    assert!(answer.code == 6 && answer.stderr.contains("`service.app.seccomp`"), "{answer:?}");
}
