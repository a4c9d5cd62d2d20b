//! `seccomp = "file.json"`: what it refuses is refused, what is malformed refuses the start, inspect names it.

use std::fs;

use insula_tests::{Answer, Options, Place, Server, skip, wait_until};

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
fn a_program_that_its_filter_kills_is_told_so() {
    let kills = NO_MKDIR.replace(r#""SCMP_ACT_ERRNO", "errnoRet": 30"#, r#""SCMP_ACT_KILL_PROCESS""#);
    for level in ["namespace", "container"] {
        for (filter, ends) in [(&kills, true), (&NO_MKDIR.to_owned(), false)] {
            let place = Place::new();
            fs::write(place.path().join("filter.json"), filter).unwrap();
            let config = format!(
                "[service.app]\ncommand = [\"python3\", \"-c\", \"import os; os.mkdir('/tmp/made')\"]\nrestart = \
                 \"never\"\nisolation = \"{level}\"\nseccomp = \"$ROOT/filter.json\"\n[instances]\napp = [\"a\"]\n"
            );
            let server = Server::with(place, &config, &Options::default());
            if let Some(why) = lacks(&server, level) {
                skip!("{why}");
            }
            wait_until("it has ended", || (server.observed("app:a") != "starting").then_some(()));
            let why = server.cli(&["why", "app:a"]).ok().stdout;
            assert_eq!(why.contains("signal 31 (SIGSYS"), ends, "at {level}: {why}");
            // The control: refused instead, it ends by itself and says what was refused.
            assert_eq!(why.contains("status 1") && why.contains("Read-only file system"), !ends, "{why}");
        }
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
fn a_malformed_file_is_found_before_anything_is_changed() {
    let server = with(Some(NO_MKDIR), "namespace");
    server.get("sh:a", "/").expect(200);
    let (app, file) = (server.app("sh:a"), server.place().path().join("filter.json"));
    let config = server.place().path().join("insula.toml");
    let check = || server.cli(&["config", "check", "--config", config.to_str().unwrap()]);
    check().ok();
    for (text, said) in [
        (NO_MKDIR.replace("SCMP_ACT_ERRNO", "SCMP_ACT_EROR"), ["`syscalls[0].action`", "SCMP_ACT_EROR"]),
        (NO_MKDIR.replace("defaultAction", "defaultActoin"), ["defaultActoin", "defaultAction"]),
        ("{".to_owned(), ["EOF", "line 1"]),
    ] {
        fs::write(&file, text).unwrap();
        for answer in [check(), server.cli(&["config", "apply"]), server.take_over()] {
            let told = ["`service.sh.seccomp`", "filter.json", said[0], said[1]];
            assert_eq!(answer.code, 6, "{answer:?}");
            assert!(answer.stderr.contains("hint") || answer.stderr.contains("remediation"), "{answer:?}");
            assert!(told.iter().all(|part| answer.stderr.contains(part)), "{told:?}: {answer:?}");
        }
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(check().code, 6);
    server.parent().signal(rustix::process::Signal::HUP);
    server.wait_said("the configuration was not applied");
    assert_eq!(server.app("sh:a"), app);
    server.get("sh:a", "/").expect(200);
    fs::write(&file, NO_MKDIR).unwrap();
    server.cli(&["config", "apply"]).ok();
    assert_eq!(server.app("sh:a"), app);
}

#[test]
fn a_driver_that_is_not_there_is_a_warning() {
    let place = Place::new();
    let driver = |path: &str| format!("[levels.container]\ndriver = \"crun\"\npath = \"{path}\"\n");
    let checked = |text: &str, more: &[&str]| {
        let config = place.configure(&(app("serve", "", &["a"]) + text));
        let verb = ["config", "check", "--config", config.to_str().unwrap()];
        Answer::of(&place.home(), &[&verb[..], more].concat()).ok()
    };
    let answer = checked(&driver("/nowhere/crun"), &[]);
    let told = ["`levels.container.driver`", "`/nowhere/crun`", "insula.toml:"];
    assert!(told.iter().all(|part| answer.stderr.contains(part)), "{answer:?}");
    assert!(answer.stdout.contains("1 warning"), "{answer:?}");
    let warnings = checked(&driver("/nowhere/crun"), &["--json"]).json()["warnings"].clone();
    assert_eq!(warnings[0]["key"], "levels.container.driver", "{warnings}");
    // What is there is asked for its version by `doctor`, and only there.
    assert!(!checked(&driver("/bin/sh"), &[]).stdout.contains("warning"));
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
