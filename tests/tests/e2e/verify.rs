//! `insula verify` on this host: what it tries, what it says, and that it leaves nothing.

use insula_tests::{Answer, Place, cgroups_writable, is_root};
use serde_json::Value;

/// What came of a probe at a level.
fn verdict<'a>(report: &'a Value, probe: &str, level: &str) -> &'a str {
    let row = report["probes"].as_array().unwrap().iter().find(|row| row["id"] == probe).unwrap();
    let cell = row["levels"].as_array().unwrap().iter().find(|cell| cell["level"] == level);
    cell.unwrap_or_else(|| panic!("no `{level}` in {row}"))["verdict"].as_str().unwrap()
}

#[test]
fn every_level_of_this_host_keeps_what_it_promises() {
    let place = Place::new();
    let report = Answer::of(&place.home(), &["verify", "--json"]).ok().json();
    let rows = report["probes"].as_array().unwrap();
    assert!(rows.len() >= 31, "{} attempts", rows.len());
    for row in rows {
        for cell in row["levels"].as_array().unwrap() {
            let (level, verdict) = (cell["level"].as_str().unwrap(), cell["verdict"].as_str().unwrap());
            assert!(verdict != "breached", "{row}");
            // What runs in a kernel of its own may do there what it likes.
            assert!(matches!(level, "process" | "gvisor") || verdict != "open", "{row}");
        }
    }
    for probe in ["host-loopback", "host-abstract", "neighbour-process"] {
        // The probes do get through where the wall is known to be absent.
        assert_eq!(verdict(&report, probe, "process"), "open", "{probe}");
        assert_eq!(verdict(&report, probe, "namespace"), "stopped", "{probe}");
    }
    let by_ids = if is_root() { "stopped" } else { "open" };
    assert_eq!(verdict(&report, "neighbour-file", "process"), by_ids);
    let by_limits = if cgroups_writable() { "stopped" } else { "skipped" };
    assert_eq!(verdict(&report, "fork-bomb", "namespace"), by_limits);
    assert_eq!(verdict(&report, "outlive", "namespace"), "stopped");
    assert_eq!(verdict(&report, "disk-fill", "process"), "open", "what a tenant keeps there is only counted");
    assert_eq!(verdict(&report, "disk-fill", "namespace"), if is_root() { "stopped" } else { "skipped" });
}

#[test]
fn a_level_that_does_not_work_here_is_told_with_what_to_do() {
    let place = Place::new();
    let refused = Answer::of(&place.home(), &["verify", "--level", "vm"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("insula doctor"), "{}", refused.stderr);
}
