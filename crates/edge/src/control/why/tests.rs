//! Each named failure is found, and its cause is named.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use insula_api::{Observed, Status, Timestamp, Wanted, Why};
use insula_spec::{Config, Network, ServiceSpec};
use insula_store::{Event, EventKind, EventRow, RequestRecord};
use serde_json::json;

use super::{Case, explain, failure, request};

const SLOW: Duration = Duration::from_secs(1);

fn spec() -> ServiceSpec {
    let text = "[service.notes]\ncommand = \"app\"\nstartup_timeout = \"2s\"\nmemory = \"64M\"\n";
    let config = Config::parse(text, &PathBuf::from("/srv/insula.toml")).unwrap();
    config.services.into_values().next().unwrap()
}

/// Events are given oldest first, as they happen.
fn why(observed: Observed, story: Vec<Event>) -> Why {
    let name = "notes:alice".parse().unwrap();
    let status = Status {
        observed,
        wanted: Wanted::Up,
        since: Timestamp::from_micros(0),
        why: "as the keeper says".into(),
        health: None,
    };
    let row = |(i, event): (usize, Event)| EventRow { id: i as u64, instance: None, event };
    let events = story.into_iter().enumerate().map(row).rev().collect();
    let stderr = vec![(at(7), "Traceback".to_owned()), (at(7), "ImportError: no module".to_owned())];
    let (requests, slow) = (Vec::new(), SLOW);
    explain(Case { name: &name, spec: &spec(), status, events, stderr, requests, slow })
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second)
}

fn event(kind: EventKind, cause: &str) -> Event {
    Event { time: at(0), ..Event::new(kind, cause) }
}

/// The words of the events say nothing here: what is found must come from their details.
fn exited(detail: serde_json::Value) -> Event {
    event(EventKind::Exited, "words").detail(detail)
}

fn code(status: i32) -> Event {
    let event = exited(json!({ "failure": "ended", "reason": "code", "value": status }));
    Event { cause: format!("exited with status {status}"), ..event }
}

fn start_failed(cause: &str, detail: serde_json::Value) -> Event {
    event(EventKind::StartFailed, cause).detail(detail)
}

fn gave_up() -> Event {
    event(EventKind::Failed, "given up")
}

#[test]
fn a_program_that_exits_at_once() {
    let found = why(Observed::Failed, vec![event(EventKind::Woken, "a request came"), code(3), gave_up()]);
    assert_eq!(found.finding.code, "exited_at_once");
    assert!(found.finding.cause.contains("exited with status 3 before it accepted"), "{found:?}");
    assert_eq!(found.stderr.len(), 2);
    assert!(found.text.contains("| ImportError: no module"), "{}", found.text);
}

#[test]
fn a_program_that_never_listens() {
    let late = start_failed("words", json!({ "failure": "never_listened", "limit_ms": 2000 }));
    let story = vec![event(EventKind::Spawned, "asked"), late, gave_up()];
    let found = why(Observed::Failed, story);
    assert_eq!(found.finding.code, "never_listened");
    assert!(found.finding.cause.contains("within `startup_timeout` 2 s"), "{}", found.finding.cause);
    assert!(found.finding.remediation.contains("`PORT`"));
}

#[test]
fn a_program_killed_for_its_memory() {
    let oom = exited(json!({ "failure": "ended", "reason": "oom" }));
    for ready in [true, false] {
        let mut story = vec![event(EventKind::Woken, "a request came")];
        story.extend(ready.then(|| event(EventKind::Ready, "it accepts")));
        story.extend([oom.clone(), gave_up()]);
        let found = why(Observed::Failed, story);
        assert_eq!(found.finding.code, "oom");
        assert!(found.finding.cause.contains("64 MiB"), "{}", found.finding.cause);
    }
}

#[test]
fn a_program_that_is_not_there() {
    let exec = |errno: i32| {
        let detail = json!({ "failure": "exec", "program": "frobnicate", "errno": errno, "hint": "x" });
        start_failed("cannot execute it", detail)
    };
    let found = why(Observed::Failed, vec![exec(2), gave_up()]);
    assert_eq!(found.finding.code, "unknown_program");
    assert!(found.finding.cause.contains("`frobnicate`"), "{}", found.finding.cause);
    assert!(found.finding.remediation.contains("`mounts`"), "{}", found.finding.remediation);
    // Another reason not to execute it is not this one.
    let found = why(Observed::Failed, vec![exec(13), gave_up()]);
    assert_eq!((found.finding.code.as_str(), found.finding.remediation.as_str()), ("not_started", "x"));
}

#[test]
fn a_program_that_crashes_again_and_again() {
    let life = || [event(EventKind::Restarted, "again"), event(EventKind::Ready, "it accepts"), code(1)];
    let first = [event(EventKind::Woken, "a request came"), event(EventKind::Ready, "it accepts"), code(1)];
    let once: Vec<_> = first.clone().into_iter().collect();
    assert_eq!(why(Observed::BackingOff, once).finding.code, "crashed");
    let row: Vec<_> = first.into_iter().chain(life()).chain(life()).chain([gave_up()]).collect();
    let found = why(Observed::Failed, row);
    assert_eq!(found.finding.code, "crash_loop");
    assert!(found.finding.cause.contains("ended 3 times"), "{}", found.finding.cause);
    assert!(found.finding.cause.contains("exited with status 1"), "{}", found.finding.cause);
}

#[test]
fn a_row_of_crashes_begins_where_it_was_asked_for() {
    let life = [event(EventKind::Woken, "a request came"), event(EventKind::Ready, "it accepts"), code(1)];
    let lives: Vec<_> = life.iter().cycle().take(9).cloned().collect();
    assert_eq!(why(Observed::BackingOff, lives).finding.code, "crashed");
}

#[test]
fn an_old_failure_does_not_explain_a_new_life() {
    let story = vec![
        event(EventKind::Woken, "a request came"),
        code(1),
        event(EventKind::Woken, "a request came"),
        event(EventKind::Ready, "it accepts connections"),
    ];
    for (observed, word) in [(Observed::Running, "running"), (Observed::Starting, "starting")] {
        let found = why(observed, story.clone());
        assert_eq!((found.finding.code.as_str(), &*found.finding.cause), (word, "a request came"));
        assert!(found.stderr.is_empty() && !found.text.contains("ImportError"), "{}", found.text);
    }
}

#[test]
fn what_sleeps_or_was_stopped_is_not_a_failure() {
    let found = why(Observed::Asleep, vec![event(EventKind::Slept, "idle")]);
    assert_eq!((found.finding.code.as_str(), found.finding.cause.as_str()), ("asleep", "idle"));
    let found = why(Observed::Stopped, vec![event(EventKind::Stopped, "stopped by the operator")]);
    assert_eq!(found.finding.code, "stopped");
    assert!(found.finding.remediation.contains("insula spawn notes:alice"));
}

#[test]
fn only_the_last_life_speaks() {
    let again = event(EventKind::Restarted, "again");
    let mut first = code(3);
    let story =
        |first| vec![event(EventKind::Woken, "a request came"), first, again.clone(), code(3), gave_up()];
    assert_eq!(why(Observed::Failed, story(first.clone())).stderr.len(), 2);
    first.time = at(8);
    assert!(why(Observed::Failed, story(first)).stderr.is_empty(), "words of an earlier life were shown");
}

#[test]
fn without_any_event_the_status_speaks() {
    let found = why(Observed::Failed, vec![]);
    assert_eq!(found.finding.cause, "as the keeper says");
}

#[test]
fn the_text_reads_from_the_newest_down() {
    let story = vec![event(EventKind::Spawned, "asked by the operator"), code(3), gave_up()];
    let text = why(Observed::Failed, story).text;
    let expected = "\
notes:alice failed: it exited with status 3 before it accepted connections
last lines on standard error:
  | Traceback
  | ImportError: no module
what happened, newest first:
  2023-11-14T22:13:20.000000Z  failed        given up
  2023-11-14T22:13:20.000000Z  exited        exited with status 3
  2023-11-14T22:13:20.000000Z  spawned       asked by the operator
hint: read `insula logs notes:alice`";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn words_alone_are_no_failure() {
    let words = "cannot execute `frobnicate`: No such file or directory (os error 2)";
    let story = vec![event(EventKind::StartFailed, words), event(EventKind::Health, "unhealthy"), gave_up()];
    assert_eq!(why(Observed::Failed, story).finding.code, "failed");
}

#[test]
fn a_sick_one_is_told_from_one_that_missed_a_check() {
    let check = |ill: bool| {
        let detail = json!({ "failure": "unhealthy", "failures": 3, "ill": ill });
        event(EventKind::Health, "GET / answered 500").detail(detail)
    };
    let found = why(Observed::BackingOff, vec![check(true)]);
    assert_eq!(found.finding.code, "unhealthy");
    assert!(found.finding.cause.contains("answered 500"), "{}", found.finding.cause);
    assert_eq!(why(Observed::BackingOff, vec![check(false)]).finding.code, "backing_off");
}

#[test]
fn a_program_that_may_miss_the_network_is_told_of_it() {
    let fails = |network| {
        let name = "notes:alice".parse().unwrap();
        let spec = ServiceSpec { network, ..spec() };
        failure::Failure::ExitedAtOnce { how: "exited".into() }.remediation(&name, &spec)
    };
    assert!(fails(Network::Isolated).contains("`network = \"host\"`"));
    assert!(!fails(Network::Host).contains("network"));
    let found = why(Observed::Failed, vec![exited(json!({ "failure": "ended", "reason": "oom" }))]);
    assert!(!found.finding.remediation.contains("network"), "memory has nothing to do with the network");
}

#[test]
fn what_is_being_taken_down_after_a_failure_says_so() {
    let late = start_failed("words", json!({ "failure": "never_listened", "limit_ms": 2000 }));
    let found = why(Observed::Stopping, vec![event(EventKind::Spawned, "asked"), late]);
    assert_eq!(found.finding.code, "never_listened");
    let found = why(Observed::Stopping, vec![event(EventKind::Spawned, "asked")]);
    assert_eq!(found.finding.code, "stopping");
}

fn disk(fill: &str, mechanism: &str) -> Event {
    let detail =
        json!({ "disk": fill, "used": 900, "limit": 1000, "mechanism": mechanism, "started": false });
    event(EventKind::Disk, "words").detail(detail)
}

#[test]
fn a_full_disk_is_named_behind_what_came_of_it() {
    let life = || vec![event(EventKind::Woken, "a request came"), event(EventKind::Ready, "it accepts")];
    let told = |more: Vec<Event>| why(Observed::Failed, life().into_iter().chain(more).collect());
    // It is counted while it runs, or at its end; that it fails is told in between or behind.
    for more in [
        vec![disk("full", "hard (image)"), code(1), gave_up()],
        vec![code(1), disk("full", "hard (project quota)"), gave_up()],
    ] {
        let found = told(more).finding;
        assert_eq!(found.code, "disk_full");
        assert!(
            found.cause.contains("exited with status 1 while it ran; its disk is full: 900"),
            "{found:?}"
        );
        assert!(found.remediation.contains("raise `disk_limit`"), "{found:?}");
    }
    // Where there is room again, or writes go on beyond the limit, or it was killed for its memory, it is not the disk.
    let oom = exited(json!({ "failure": "ended", "reason": "oom" }));
    for (more, code) in [
        (vec![disk("full", "hard (image)"), disk("room", "hard (image)"), code(1)], "crashed"),
        (vec![disk("full", "soft"), code(1)], "crashed"),
        (vec![disk("near", "hard (image)"), code(1)], "crashed"),
        (vec![disk("full", "hard (image)"), oom], "oom"),
    ] {
        assert_eq!(told(more).finding.code, code);
    }
}

#[test]
fn a_start_after_a_full_disk_is_still_about_it() {
    let story = vec![event(EventKind::Ready, "it accepts"), code(1), disk("full", "hard (image)")];
    assert_eq!(why(Observed::Starting, story).finding.code, "disk_full");
}

#[test]
fn a_program_that_says_that_there_is_no_space_is_believed() {
    let name = "notes:alice".parse().unwrap();
    let status = Status {
        observed: Observed::Failed,
        wanted: Wanted::Up,
        since: Timestamp::from_micros(0),
        why: "as the keeper says".into(),
        health: None,
    };
    for (line, expected) in [
        ("OSError: [Errno 28] No space left on device", "disk_full"),
        ("write: Disk quota exceeded", "disk_full"),
        ("there is enough space", "exited_at_once"),
    ] {
        let event = Event { time: at(9), ..code(1) };
        let events = vec![EventRow { id: 1, instance: None, event }];
        let stderr = vec![(at(7), line.to_owned()), (at(8), "bye".to_owned())];
        let (spec, status, requests) = (spec(), status.clone(), Vec::new());
        let case = Case { name: &name, spec: &spec, status, events, stderr, requests, slow: SLOW };
        let found = explain(case).finding;
        assert_eq!(found.code, expected);
        assert_eq!(found.cause.contains(line), expected == "disk_full", "{found:?}");
    }
}

#[test]
fn slow_is_what_the_configuration_says() {
    let record = |status: u16, millis: u64| RequestRecord {
        id: "0123456789abcdef".into(),
        time: at(0),
        instance: Some("notes:alice".parse().unwrap()),
        method: "GET".into(),
        path: "/".into(),
        status,
        error: None,
        waited: Duration::ZERO,
        total: Duration::from_millis(millis),
        bytes_in: 0,
        bytes_out: 0,
        woke: false,
        retried: false,
        skipped: 0,
    };
    let judge = |status, millis, slow| {
        request::judge(&record(status, millis), Some(&spec()), &[], Duration::from_millis(slow))
    };
    assert_eq!(judge(200, 300, 1000).code, "answered");
    let found = judge(200, 300, 250);
    assert!(found.code == "slow" && found.cause.contains("`slow_request` 250 ms"), "{found:?}");
    assert_eq!(judge(200, 1500, 2000).code, "answered");
    // The time that a connection is open after an upgrade is not the workload's.
    assert_eq!(judge(101, 1500, 250).code, "answered");
}
