//! What a tenant may store: refused beyond a hard limit, told near any.

use std::fs;
use std::path::{Path, PathBuf};

use insula_isolation::DiskProbe;
use insula_tests::{Place, Server, is_root, skip, wait_until};
use serde_json::Value;

use crate::common::{lacks, number, services};

/// Levels whose walls can hold a limit.
const WALLED: [&str; 3] = ["namespace", "container", "gvisor"];

/// Why hard limits cannot be had by this user here.
fn no_images() -> Option<String> {
    DiskProbe::of(&std::env::temp_dir()).image.err()
}

/// `insula usage OF --json`, one tenant.
fn usage(server: &Server, of: &str) -> Value {
    let all = server.cli(&["usage", of, "--json"]).ok().json();
    let tenants = all["tenants"].as_array().unwrap();
    tenants.iter().find(|tenant| tenant["name"] == of).unwrap().clone()
}

/// What the events of an instance tell of its disk limit, oldest first.
fn told(server: &Server, instance: &str) -> Vec<String> {
    let text = server.cli(&["events", instance, "--kind", "disk", "--json"]).ok().stdout;
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let events: Vec<Value> =
        events.flat_map(|v| v["events"].as_array().cloned().unwrap_or(vec![v])).collect();
    let mut told: Vec<_> = events
        .iter()
        .filter(|event| event["kind"] == "disk")
        .map(|event| (event["id"].as_u64(), event["detail"].clone()))
        .collect();
    told.sort_by_key(|(id, _)| *id);
    let word = |detail: Value| match detail["started"].as_bool() {
        Some(true) => "started".to_owned(),
        _ => detail["disk"].as_str().unwrap().to_owned(),
    };
    told.into_iter().map(|(_, detail)| word(detail)).collect()
}

/// Files below a directory, wherever they are; with contents.
fn image(place: &Place, id: &str) -> PathBuf {
    place.data().join("app/.quota").join(format!("{id}.ext4"))
}

#[test]
fn beyond_a_hard_limit_there_is_no_space_and_a_neighbour_has_its_own() {
    if let Some(why) = no_images() {
        skip!("{why}");
    }
    for level in WALLED {
        eprintln!("at {level}");
        let place = Place::new();
        let before = place.data().join("app/a");
        fs::create_dir_all(&before).unwrap();
        fs::write(before.join("kept"), "x".repeat(1000)).unwrap();
        let free = format!("isolation = \"{level}\"");
        let limited = format!(
            "{free}\ndisk_limit = \"32MiB\"\ndisk_limit_mode = \"hard\"\nidle_timeout = \"300ms\"\nstartup_timeout = \"30s\""
        );
        let all = [("app", "serve", limited.as_str(), &["a", "b"][..]), ("free", "serve", &free, &["a"][..])];
        let server = Server::with(place, &services(&all), &insula_tests::Options::default());
        if let Some(why) = lacks(&server, level) {
            skip!("{level}: {why}");
        }
        server.get("app:a", "/health").expect(200);
        assert_eq!(server.inspect("app:a")["level"], level);
        hard_limit_holds(server, &before);
    }
}

/// `app:a` and `app:b` may have 32 MiB, `free:a` what there is; `app:a` had something before.
fn hard_limit_holds(mut server: Server, before: &Path) {
    assert_eq!(number(&server.get("app:a", "/read").expect(200), "size"), 1000, "what was there is there");
    let filled = server.get("app:a", "/fill?mb=64").expect(200).json();
    assert_eq!(filled["error"], "No space left on device", "{filled}");
    assert!((30..=32).contains(&filled["mb"].as_i64().unwrap()), "{filled}");
    for (instance, mb) in [("app:b", 8), ("free:a", 64)] {
        let filled = server.get(instance, &format!("/fill?mb={mb}")).expect(200).json();
        assert_eq!((&filled["mb"], &filled["error"]), (&mb.into(), &Value::Null), "{instance}: {filled}");
    }
    let disk = usage(&server, "app:a")["disk"].clone();
    assert_eq!(disk["bound"]["mechanism"], "hard (image)", "{disk}");
    assert_eq!((&disk["limit_bytes"], &disk["complete"]), (&(32 << 20).into(), &true.into()), "{disk}");
    assert!(disk["used_bytes"].as_i64().unwrap() > 30 << 20, "{disk}");
    assert!(usage(&server, "free:a")["disk"]["bound"].is_null(), "the control is bounded");
    assert!(server.inspect("app:a")["disk_bound"]["mechanism"] == "hard (image)");
    assert_eq!(told(&server, "app:a"), ["full"]);
    assert_eq!(told(&server, "free:a"), Vec::<String>::new());

    server.wait_observed("app:a", "asleep");
    assert_eq!(number(&server.get("app:a", "/read").expect(200), "size"), 1000, "after sleep");
    wait_until("its start is told", || (told(&server, "app:a") == ["full", "started"]).then_some(()));
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    assert_eq!(number(&server.get("app:a", "/read").expect(200), "size"), 1000, "after a new worker");
    server.get("app:a", "/empty").expect(200);
    assert_eq!(number(&server.get("app:a", "/fill?mb=4").expect(200), "mb"), 4, "there is room again");
    server.terminate();
    assert!(image(server.place(), "a").exists() && !before.join("kept").exists());
    server.start_again();
    assert_eq!(number(&server.get("app:a", "/read").expect(200), "size"), 1000, "after a restart");
}

#[test]
fn a_worker_killed_while_data_moves_into_an_image_loses_nothing() {
    if let Some(why) = no_images() {
        skip!("{why}");
    }
    for point in ["disk.formatted", "disk.copied", "disk.set-aside", "disk.named"] {
        let port = insula_tests::free_port();
        let settings = format!("[settings]\nport = {port}\ndata_dir = \"$ROOT/data\"\n");
        let keys = "isolation = \"namespace\"\nidle_timeout = \"10s\"";
        let free = settings.clone() + &services(&[("app", "serve", keys, &["a"])]);
        let mut server = Server::start(&free);
        assert_eq!(number(&server.get("app:a", "/write?n=5000").expect(200), "size"), 5000);
        server.cli(&["stop", "app:a"]).ok();
        server.kill_parent();
        let limited = format!("{keys}\ndisk_limit = \"16MiB\"");
        let configured =
            server.place().configure(&(settings + &services(&[("app", "serve", &limited, &["a"])])));
        assert!(configured.exists());
        server.start_with_fault(point);
        wait_until(&format!("`{point}` is reached"), || {
            // Whether it is answered does not matter.
            drop(server.cli(&["spawn", "app:a", "--timeout", "1s"]));
            (server.said().contains("fault point") && server.said().contains(point)).then_some(())
        });
        server.kill_parent();
        server.start_again();
        server.cli(&["spawn", "app:a"]).ok();
        assert_eq!(number(&server.get("app:a", "/read").expect(200), "size"), 5000, "at `{point}`");
        assert_eq!(usage(&server, "app:a")["disk"]["bound"]["mechanism"], "hard (image)");
        assert!(!server.place().data().join("app/a/kept").exists(), "it is in two places, at `{point}`");
    }
}

#[test]
fn a_soft_limit_refuses_nothing_and_is_told_of_once() {
    let mode = if is_root() { "disk_limit_mode = \"soft\"" } else { "" };
    for level in WALLED {
        let keys =
            format!("isolation = \"{level}\"\ndisk_limit = \"10MiB\"\n{mode}\nidle_timeout = \"200ms\"");
        let server = Server::start(&services(&[("app", "serve", &keys, &["a"])]));
        if let Some(why) = lacks(&server, level) {
            skip!("{level}: {why}");
        }
        server.get("app:a", "/health").expect(200);
        server.wait_observed("app:a", "asleep");
        if usage(&server, "app:a")["disk"]["used_bytes"].is_null() {
            skip!("this user may not read what belongs to its subordinate ids");
        }
        eprintln!("at {level}");
        soft_limit_is_told(&server);
    }
}

fn soft_limit_is_told(server: &Server) {
    let fill = |mb: i64| {
        let filled = server.get("app:a", &format!("/fill?mb={mb}")).expect(200).json();
        assert_eq!((&filled["mb"], &filled["error"]), (&mb.into(), &Value::Null), "{filled}");
    };
    let asleep = || server.wait_observed("app:a", "asleep");
    fill(1);
    asleep();
    assert_eq!(told(server, "app:a"), Vec::<String>::new(), "a tenth is nothing to tell");
    fill(8);
    asleep();
    wait_until("80 % is told", || (told(server, "app:a") == ["near"]).then_some(()));
    fill(3);
    asleep();
    wait_until("100 % is told", || (told(server, "app:a") == ["near", "full"]).then_some(()));
    server.get("app:a", "/health").expect(200);
    wait_until("its start is told", || (told(server, "app:a") == ["near", "full", "started"]).then_some(()));
    let disk = usage(server, "app:a")["disk"].clone();
    assert_eq!(disk["bound"]["mechanism"], "soft", "{disk}");
    assert_eq!(disk["bound"]["why"].as_str().unwrap().is_empty(), is_root(), "{disk}");
    let text = server.cli(&["usage"]).ok().stdout;
    assert!(text.contains("app:a") && text.contains("soft") && text.contains("10.0 MiB"), "{text}");
    let why = server.cli(&["why", "app:a"]).ok().stdout;
    assert!(why.contains("disk limit"), "{why}");
    server.get("app:a", "/empty").expect(200);
    asleep();
    wait_until("room is told", || told(server, "app:a").ends_with(&["room".to_owned()]).then_some(()));
}

#[test]
fn what_is_used_and_what_may_be_are_metrics() {
    let mode = if is_root() { "disk_limit_mode = \"soft\"" } else { "" };
    let limited = format!("disk_limit = \"10MiB\"\n{mode}\nidle_timeout = \"200ms\"");
    let all = [("app", "serve", limited.as_str(), &["a"][..]), ("free", "serve", "", &["a"][..])];
    let server = Server::start(&("[observability]\ninstance_metrics = true\n".to_owned() + &services(&all)));
    let page = || server.cli(&["metrics"]).ok().stdout;
    let value = |name: &str| page().lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<f64>().ok());
    let fill = |word: &str| value(&format!("insula_instances_disk{{service=\"app\",fill=\"{word}\"}}"));
    let used = "insula_instance_disk_bytes{service=\"app\",id=\"a\"}";
    server.get("free:a", "/fill?mb=1").expect(200);
    server.get("app:a", "/fill?mb=1").expect(200);
    server.wait_observed("app:a", "asleep");
    if usage(&server, "app:a")["disk"]["used_bytes"].is_null() {
        skip!("this user may not read what belongs to its subordinate ids");
    }
    wait_until("it is counted", || (fill("room") == Some(1.0)).then_some(()));
    assert_eq!((fill("near"), fill("full")), (Some(0.0), Some(0.0)));
    assert!(value(used).is_some_and(|bytes| (1e6..4e6).contains(&bytes)), "{}", page());
    let limit = "insula_instance_disk_limit_bytes{service=\"app\",id=\"a\"}";
    assert_eq!(value(limit), Some(f64::from(10 << 20)));
    server.get("app:a", "/fill?mb=8").expect(200);
    server.wait_observed("app:a", "asleep");
    wait_until("it is near its limit", || (fill("near") == Some(1.0)).then_some(()));
    assert_eq!(fill("room"), Some(0.0));
    assert!(value(used) > Some(8e6), "{}", page());
    // Who has no limit has no sample of one, even when it was counted.
    assert!(usage(&server, "free:a")["disk"]["used_bytes"].is_u64());
    assert!(value("insula_instance_disk_bytes{service=\"free\",id=\"a\"}").is_some());
    assert!(!page().contains("insula_instance_disk_limit_bytes{service=\"free\""), "{}", page());
    assert_eq!(value("insula_instances_disk{service=\"free\",fill=\"room\"}"), Some(0.0));
}

#[test]
fn a_limit_that_cannot_be_hard_is_refused_where_hard_is_asked_for() {
    let level = if no_images().is_some() { "namespace" } else { "process" };
    let keys = format!("disk_limit = \"10MiB\"\ndisk_limit_mode = \"hard\"\nisolation = \"{level}\"");
    let server = Server::start(&services(&[("app", "serve", &keys, &["a"]), ("free", "serve", "", &["a"])]));
    server.wait_observed("app:a", "failed");
    let why = server.cli(&["why", "app:a"]).ok().stdout;
    assert!(why.contains("disk_limit_mode"), "`why` does not say what would do: {why}");
    server.get("free:a", "/health").expect(200);
    let nobody = server.cli(&["usage", "app:nobody"]);
    assert_eq!(nobody.code, 3, "{nobody:?}");
}
