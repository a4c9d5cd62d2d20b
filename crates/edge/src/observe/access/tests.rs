//! Lines reach the file, in time, whole, and without holding anybody up.

use std::fs;
use std::time::{Duration, Instant};

use insula_spec::config::LineFormat;

use super::Settings;
use crate::observe::tests::exchange;
use crate::observe::{Observe, access};
use crate::public::{Observer, RequestIds};

fn settings(dir: &tempfile::TempDir) -> access::Settings {
    Settings {
        path: dir.path().join("access.log"),
        format: LineFormat::Text,
        query: false,
        size: 1 << 30,
        files: 1,
    }
}

fn start(access: access::Settings) -> std::sync::Arc<Observe> {
    let settings = crate::observe::Settings { access: Some(access), ..Default::default() };
    Observe::start(settings).unwrap().0
}

#[test]
fn every_line_of_every_thread_is_in_the_file_once() {
    let dir = tempfile::tempdir().unwrap();
    let observe = start(settings(&dir));
    let ids = RequestIds::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5_000).for_each(|_| observe.exchange(&exchange(ids.next()))));
        }
    });
    observe.close();
    let text = fs::read_to_string(dir.path().join("access.log")).unwrap();
    let mut seen: Vec<_> = text.lines().map(|line| line.rsplit(' ').nth(1).unwrap()).collect();
    let written = seen.len() as u64;
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len() as u64, written, "a line is there twice");
    // What the writer could not take in time is counted.
    assert_eq!(written + observe.losses().lines, 20_000);
}

#[test]
fn a_line_is_written_without_a_second_one() {
    let dir = tempfile::tempdir().unwrap();
    let observe = start(settings(&dir));
    let path = dir.path().join("access.log");
    for round in 1..=2 {
        observe.exchange(&exchange(RequestIds::default().next()));
        let until = Instant::now() + Duration::from_secs(60);
        while fs::read_to_string(&path).unwrap().lines().count() < round {
            assert!(Instant::now() < until, "the line did not come");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_log_that_cannot_be_written_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let observe = start(settings(&dir));
    fs::remove_file(dir.path().join("access.log")).unwrap();
    fs::create_dir(dir.path().join("access.log")).unwrap();
    let ids = RequestIds::default();
    (0..1_000).for_each(|_| observe.exchange(&exchange(ids.next())));
    observe.close();
    assert_eq!(observe.losses().lines, 1_000);
    assert_eq!(observe.held().count, 1_000, "the ring does not depend on the log");
}

#[test]
fn a_log_that_cannot_be_opened_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let access = Settings { path: dir.path().join("none/access.log"), ..settings(&dir) };
    let settings = crate::observe::Settings { access: Some(access), ..Default::default() };
    let error = Observe::start(settings).unwrap_err();
    assert!(error.to_string().contains("none/access.log") && error.hint().contains("access_log"), "{error}");
}
