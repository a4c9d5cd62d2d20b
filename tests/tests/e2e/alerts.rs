//! Who is told when something goes wrong.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use insula_tests::{Answer, Place, Server, free_port, is_root, skip, wait_until};
use serde_json::Value;

use crate::common::{app, services};
use crate::helper::Helper;

/// Takes alerts, checks each signature with the key, writes one JSON object a line. It answers with the
/// statuses that the path names, one after the other, the last one for ever. It ends with its input.
const RECEIVER: &str = r#"
import hashlib, hmac, http.server, json, os, sys, threading, time
key, port, out = open(sys.argv[1]).read().strip().encode(), int(sys.argv[2]), open(sys.argv[3], "a")
seen = 0
class Take(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        global seen
        body = self.rfile.read(int(self.headers["content-length"]))
        t, v1 = (part.split("=", 1)[1] for part in self.headers["insula-signature"].split(","))
        good = hmac.new(key, t.encode() + b"." + body, hashlib.sha256).hexdigest()
        genuine = hmac.compare_digest(good, v1) and abs(time.time() - int(t)) < 300
        statuses = self.path.strip("/").split(",")
        status = int(statuses[min(seen, len(statuses) - 1)])
        seen += 1
        headers = {name.lower(): value for name, value in self.headers.items()}
        line = {"genuine": genuine, "status": status, "headers": headers, "body": json.loads(body)}
        out.write(json.dumps(line) + "\n")
        out.flush()
        self.send_response(status)
        self.send_header("content-length", "2")
        self.send_header("location", "/elsewhere")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Take)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("there", flush=True)
sys.stdin.read()
"#;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A program that takes alerts.
pub(crate) fn receiver(place: &Place, port: u16) -> Helper {
    let [key, taken] = [key(place), place.path().join("taken")].map(|path| path.to_str().unwrap().to_owned());
    Helper::start(place, RECEIVER, &[key, port.to_string(), taken])
}

pub(crate) fn key(place: &Place) -> PathBuf {
    let path = place.path().join("alerts.key");
    std::fs::write(&path, KEY).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// What was taken so far.
fn taken(place: &Place) -> Vec<Value> {
    let text = std::fs::read_to_string(place.path().join("taken")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn hook(port: u16, path: &str, events: &str) -> String {
    format!(
        "[[alerts.webhook]]\nname = \"ops\"\nurl = \"http://127.0.0.1:{port}/{path}\"\n\
         secret_file = \"$ROOT/alerts.key\"\nevents = [{events}]\n"
    )
}

/// A server whose `app:a` ends each time, started together with this receiver.
fn looping(place: Place, hook: &str) -> Server {
    drop(key(&place));
    let keys =
        "restart = \"on-failure\"\nrestart_backoff = \"20ms\"\nmax_restarts = 2\nrestart_window = \"60s\"";
    let config = app("crash-loop", keys, &[]) + hook;
    Server::with(place, &config, &insula_tests::Options::default())
}

fn listed(server: &Server) -> Value {
    server.cli(&["alerts", "ls", "--json"]).ok().json()["webhooks"][0].clone()
}

#[track_caller]
fn fails(server: &Server) {
    let answer: Answer = server.cli(&["spawn", "app:a"]);
    assert_ne!(answer.code, 0, "it started: {answer:?}");
    server.wait_observed("app:a", "failed");
}

#[test]
fn a_crash_loop_is_told_once_signed_and_with_what_to_do() {
    let (place, port) = (Place::new(), free_port());
    drop(key(&place));
    let receiver = receiver(&place, port);
    let server = looping(place, &hook(port, "200", "\"restart_loop\", \"failed\""));
    fails(&server);
    let alerts =
        wait_until("the alert is taken", || Some(taken(server.place())).filter(|alerts| !alerts.is_empty()));
    let (alert, body) = (&alerts[0], &alerts[0]["body"]);
    assert_eq!(alert["genuine"], true, "{alert}");
    assert_eq!((&body["kind"], &body["instance"]), (&"restart_loop".into(), &"app:a".into()), "{body}");
    assert_eq!(body["service"], "app");
    assert_eq!(body["remediation"], "run `insula why app:a`");
    assert_eq!(alert["headers"]["insula-event"], "restart_loop");
    assert_eq!(alert["headers"]["insula-delivery"], body["id"]);
    wait_until("it is counted", || (listed(&server)["delivered"] == 1).then_some(()));
    assert_eq!(taken(server.place()).len(), 1);
    // The key is nowhere but in its file.
    assert!(!server.said().contains(KEY));
    drop(receiver);
}

#[test]
fn a_receiver_that_was_down_is_told_later_although_the_worker_was_killed() {
    let (place, port) = (Place::new(), free_port());
    let server = looping(place, &hook(port, "200", "\"failed\""));
    fails(&server);
    let before = wait_until("an attempt failed", || {
        Some(listed(&server)).filter(|hook| hook["failed"].as_u64() > Some(0))
    });
    assert!(before["last_error"]["cause"].as_str().unwrap().contains("cannot connect"), "{before}");
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    let receiver = receiver(server.place(), port);
    wait_until("it was told", || (listed(&server)["delivered"] == 1).then_some(()));
    let alerts = taken(server.place());
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!((&alerts[0]["genuine"], &alerts[0]["body"]["kind"]), (&true.into(), &"failed".into()));
    drop(receiver);
}

#[test]
fn what_may_pass_is_sent_again_under_the_same_id_and_what_is_gone_is_given_up() {
    let (place, port) = (Place::new(), free_port());
    drop(key(&place));
    let receiver = receiver(&place, port);
    let server = looping(place, &hook(port, "503,410,302,200", "\"failed\""));
    for given_up in 1..=2 {
        fails(&server);
        wait_until("it is given up", || (listed(&server)["given_up"] == given_up).then_some(()));
        server.cli(&["stop", "app:a"]).ok();
    }
    fails(&server);
    wait_until("the next one is delivered", || (listed(&server)["delivered"] == 1).then_some(()));
    let alerts = taken(server.place());
    let statuses: Vec<_> = alerts.iter().map(|a| a["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [503, 410, 302, 200]);
    let ids: Vec<_> = alerts.iter().map(|a| a["body"]["id"].as_str().unwrap()).collect();
    assert!(ids[0] == ids[1] && ids[1] != ids[2] && ids[2] != ids[3], "{ids:?}");
    drop(receiver);
}

/// What the checks of an instance said so far, oldest first.
fn checks(server: &Server, instance: &str) -> Vec<String> {
    let said = server.cli(&["events", instance, "--kind", "health", "--json"]).ok().stdout;
    let word = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["cause"].as_str().unwrap().split(' ').next().unwrap().to_owned()
    };
    said.lines().map(word).collect()
}

/// What the receiver was told: kind, instance, and what the detail says of a disk.
fn told(place: &Place) -> Vec<(String, String, String)> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alerts = taken(place);
    assert!(alerts.iter().all(|alert| alert["genuine"] == true), "{alerts:?}");
    let one = |alert: &Value| {
        let body = &alert["body"];
        assert_eq!(alert["headers"]["insula-event"], body["kind"], "{alert}");
        (word(&body["kind"]), word(&body["instance"]), word(&body["detail"]["disk"]))
    };
    alerts.iter().map(one).collect()
}

#[test]
fn who_falls_ill_and_who_is_well_again_is_told_once_each() {
    let (place, port) = (Place::new(), free_port());
    drop(key(&place));
    let receiver = receiver(&place, port);
    let health = "health = { path = \"/well\", interval = \"100ms\", failures = 3 }";
    let keys = |restart: &str| format!("{health}\nrestart = \"{restart}\"\nrestart_backoff = \"20ms\"");
    let (stays, restarts) = (keys("never"), keys("on-failure"));
    // A check that never succeeds again is the control of a recovery.
    let all = services(&[("stays", "serve", &stays, &["a", "lost"]), ("anew", "serve", &restarts, &["a"])]);
    let events = "\"unhealthy\", \"healthy\", \"failed\"";
    // The first attempt at the recovery is refused, so it comes again.
    let config = all + &hook(port, "200,200,503,200", events);
    let server = Server::with(place, &config, &insula_tests::Options::default());
    let wait = |instance: &str, said: &[&str]| {
        wait_until(&format!("the checks of {instance} say {said:?}"), || {
            (checks(&server, instance) == said).then_some(())
        });
    };
    let well = ["stays:a", "stays:lost", "anew:a"];
    for instance in well {
        server.get(instance, "/health").expect(200);
        wait(instance, &["healthy"]);
    }
    // One check that fails makes nobody ill, and one that succeeds after it is no recovery.
    server.get("stays:a", "/sicken?n=1").expect(200);
    wait("stays:a", &["healthy", "degraded", "healthy"]);
    server.get("stays:lost", "/sicken?n=1000000").expect(200);
    wait("stays:lost", &["healthy", "degraded", "degraded", "unhealthy"]);
    let told_so_far = |count: usize| {
        wait_until(&format!("{count} alerts are delivered"), || {
            (listed(&server)["delivered"] == count).then_some(())
        });
    };
    told_so_far(1);
    server.get("stays:a", "/sicken?n=3").expect(200);
    told_so_far(3);
    // A new process has forgotten that it was ill.
    server.get("anew:a", "/sicken?n=1000000").expect(200);
    told_so_far(5);
    let expected: Vec<_> = [
        ("unhealthy", "stays:lost"),
        ("unhealthy", "stays:a"),
        ("healthy", "stays:a"),
        ("healthy", "stays:a"),
        ("unhealthy", "anew:a"),
        ("healthy", "anew:a"),
    ]
    .map(|(kind, instance)| (kind.to_owned(), instance.to_owned(), String::new()))
    .to_vec();
    assert_eq!(told(server.place()), expected);
    let alerts = taken(server.place());
    assert_eq!(alerts[2]["body"]["id"], alerts[3]["body"]["id"], "the refused one came under another id");
    assert_eq!(listed(&server)["failed"], 1);
    drop(receiver);
}

#[test]
fn a_disk_that_fills_and_has_room_again_is_told() {
    let (place, port) = (Place::new(), free_port());
    drop(key(&place));
    let receiver = receiver(&place, port);
    let mode = if is_root() { "disk_limit_mode = \"soft\"" } else { "" };
    let keys = format!("disk_limit = \"10MiB\"\n{mode}\nidle_timeout = \"200ms\"");
    let hook = hook(port, "200", "\"disk\", \"disk_room\"");
    let config = app("serve", &keys, &["a", "b"]) + &hook;
    let server = Server::with(place, &config, &insula_tests::Options::default());
    // Counted when it falls asleep; `b` stays where there is room, and is counted as often.
    let step = |path: &str, delivered: usize| {
        server.get("app:a", path).expect(200);
        server.get("app:b", "/write?n=1000").expect(200);
        server.wait_observed("app:a", "asleep");
        server.wait_observed("app:b", "asleep");
        wait_until(&format!("{delivered} alerts after {path}"), || {
            (listed(&server)["delivered"] == delivered).then_some(())
        });
    };
    step("/fill?mb=1", 0);
    let usage = server.cli(&["usage", "app:a", "--json"]).ok().json();
    if usage["tenants"][0]["disk"]["used_bytes"].is_null() {
        skip!("this user may not read what belongs to its subordinate ids");
    }
    step("/fill?mb=8", 1);
    step("/fill?mb=3", 2);
    step("/empty", 3);
    let expected: Vec<_> = [("disk", "near"), ("disk", "full"), ("disk_room", "room")]
        .map(|(kind, fill)| (kind.to_owned(), "app:a".to_owned(), fill.to_owned()))
        .to_vec();
    assert_eq!(told(server.place()), expected);
    // The daemon says so itself, too, and at which level.
    let said = server.said();
    for (level, words) in [("WARN", "% of its disk limit"), ("INFO", "there is room again")] {
        assert!(
            said.lines().any(|line| line.contains(level) && line.contains(words)),
            "{level} {words}: {said}"
        );
    }
    drop(receiver);
}

#[test]
fn a_test_is_sent_without_a_daemon_and_its_answer_is_the_exit_code() {
    let (place, port) = (Place::new(), free_port());
    drop(key(&place));
    let _receiver = receiver(&place, port);
    let config = place.configure(&(app("serve", "", &[]) + &hook(port, "200,500", "\"failed\"")));
    let ask = |name: &str| {
        Answer::of(&place.home(), &["alerts", "test", name, "--config", config.to_str().unwrap(), "--json"])
    };
    let answer = ask("ops").ok().json();
    assert_eq!((&answer["status"], &answer["answer"]), (&200.into(), &"ok".into()));
    assert_eq!(ask("ops").code, 1);
    let stranger = ask("pos");
    assert!(stranger.code == 3 && stranger.stderr.contains("the receivers are ops"), "{stranger:?}");
    assert!(taken(&place).iter().all(|a| a["genuine"] == true && a["body"]["kind"] == "test"));
}

#[test]
fn a_key_that_others_may_read_refuses_the_start() {
    let place = Place::new();
    let path: &Path = &key(&place);
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
    let config = place.configure(&(app("serve", "", &[]) + &hook(9, "", "\"failed\"")));
    let answer = Answer::of(&place.home(), &["serve", "--config", config.to_str().unwrap()]);
    assert!(answer.code == 6 && answer.stderr.contains("chmod 600"), "{answer:?}");
    assert!(!answer.stderr.contains(KEY));
}

#[test]
fn a_key_that_cannot_be_used_is_told_before_anything_changes() {
    let (place, port) = (Place::new(), free_port());
    let path = key(&place);
    let server = looping(place, &hook(port, "200", "\"failed\""));
    let config = server.place().path().join("insula.toml");
    let check = || server.cli(&["config", "check", "--config", config.to_str().unwrap()]);
    let worker = server.worker();
    check().ok();
    for (text, mode, words) in [(KEY, 0o644, "chmod 600"), ("short", 0o600, "has 5 bytes")] {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        for answer in
            [check(), server.cli(&["config", "apply", "--dry-run"]), server.cli(&["config", "apply"])]
        {
            assert!(answer.code == 6 && answer.stderr.contains(words), "{words}: {answer:?}");
        }
    }
    assert_eq!(server.worker(), worker);
    drop(key(server.place()));
    server.cli(&["config", "apply"]).ok();
    assert_ne!(server.worker(), worker);
}
