//! `insula verify` on this host: what it tries, what it says, and that it leaves nothing.

use insula_tests::{Answer, Place, cgroups_writable, is_root, skip};
use serde_json::Value;

/// What came of a probe at a level.
fn verdict<'a>(report: &'a Value, probe: &str, level: &str) -> &'a str {
    let row = report["probes"].as_array().unwrap().iter().find(|row| row["id"] == probe).unwrap();
    let cell = row["levels"].as_array().unwrap().iter().find(|cell| cell["level"] == level);
    cell.unwrap_or_else(|| panic!("no `{level}` in {row}"))["verdict"].as_str().unwrap()
}

/// The report on this host, in which nothing was breached.
#[track_caller]
fn verified(place: &Place) -> Value {
    let answer = Answer::of(&place.home(), &["verify", "--json"]);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap_or_else(|_| panic!("{answer:?}"));
    for row in report["probes"].as_array().unwrap() {
        let breached = |cell: &&Value| cell["verdict"] == "breached";
        let found: Vec<_> = row["levels"].as_array().unwrap().iter().filter(breached).collect();
        assert!(found.is_empty(), "{}: {found:?}", row["id"]);
    }
    answer.ok().json()
}

#[test]
fn every_level_of_this_host_keeps_what_it_promises() {
    let place = Place::new();
    let report = verified(&place);
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
    // Every verdict has its control, and at every level something gets through.
    for row in rows {
        for cell in row["levels"].as_array().unwrap() {
            let controlled = cell["verdict"] == "skipped" || cell["control"]["through"].is_boolean();
            let shown = cell["verdict"] != "stopped" || cell["control"]["through"] == true;
            assert!(controlled && shown, "{}: {cell}", row["id"]);
        }
    }
    let sane: Vec<_> = report["sane"].as_array().unwrap().iter().map(|one| &one["level"]).collect();
    let tried: Vec<_> = rows[0]["levels"].as_array().unwrap().iter().map(|cell| &cell["level"]).collect();
    assert_eq!(sane, tried);
    for (probe, level, limited) in [("metadata", "namespace", false), ("memory-bomb", "namespace", true)] {
        let expected = if limited && !cgroups_writable() { "skipped" } else { "stopped" };
        assert_eq!(verdict(&report, probe, level), expected, "{probe}");
    }
    // It has the network of the host: only if somebody answers there is anything shown.
    assert_ne!(verdict(&report, "metadata", "process"), "stopped");
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

/// A service with everything that the apps of `verify` have.
const BOUND: &str = "[service.app]\ncommand = \"true\"\nmin_isolation = \"namespace\"\npids_limit = 48\n\
                     memory_limit_mb = 96\ndisk_limit = \"32M\"\n";

#[test]
fn what_is_explained_is_what_attempts_show() {
    let place = Place::new();
    let file = place.configure(BOUND);
    let report = verified(&place);
    let ask = ["--json", "explain", "isolation", "app", "--config", file.to_str().unwrap()];
    let explained = Answer::of(&place.home(), &ask).ok().json();
    let mut compared = 0;
    for row in report["probes"].as_array().unwrap() {
        for cell in row["levels"].as_array().unwrap() {
            let (probe, level) = (row["id"].as_str().unwrap(), cell["level"].as_str().unwrap());
            let told = answer(&explained, probe, level);
            let fits = match cell["verdict"].as_str().unwrap() {
                "stopped" => told == "stopped",
                "open" => matches!(told, "open" | "inside"),
                _ => continue,
            };
            // What a level does not promise to stop may be stopped all the same, by the kernel that is asked.
            let lax = matches!((level, told), ("process", "open") | ("gvisor", "inside"));
            assert!(fits || lax, "{probe} at {level}: {told}, {cell}");
            compared += 1;
        }
    }
    let levels = report["probes"][0]["levels"].as_array().unwrap().len();
    assert!(compared > 15 * levels, "{compared} were compared at {levels} levels");
    let standing = |level: &str| {
        let all = explained["levels"].as_array().unwrap();
        all.iter().find(|one| one["level"] == level).unwrap()["standing"].as_str().unwrap().to_owned()
    };
    assert_eq!(standing("process"), "below_floor");
    // The control: without limits the same service is told to be open.
    let file = place.configure("[service.app]\ncommand = \"true\"\n");
    let ask = ["--json", "explain", "isolation", "app", "--config", file.to_str().unwrap()];
    let bare = Answer::of(&place.home(), &ask).ok().json();
    for probe in ["fork-bomb", "memory-bomb", "disk-fill"] {
        assert_eq!(answer(&bare, probe, "namespace"), "open", "{probe}");
    }
}

/// What is explained of a probe at a level.
fn answer<'a>(explained: &'a Value, probe: &str, level: &str) -> &'a str {
    let row = explained["attempts"].as_array().unwrap().iter().find(|row| row["id"] == probe).unwrap();
    let cell = row["levels"].as_array().unwrap().iter().find(|cell| cell["level"] == level);
    cell.unwrap_or_else(|| panic!("no `{level}` in {row}"))["answer"].as_str().unwrap()
}

/// Runs the commands of the page on publishing, as they stand there.
#[test]
fn a_published_report_is_whose_it_says_and_as_it_was() {
    let named = std::process::Command::new("id").arg("-un").output().unwrap();
    if !named.status.success() {
        skip!("ssh-keygen does nothing for a user without a name");
    }
    let place = Place::new();
    let page = include_str!("../../../docs/reference/verify.md");
    let block =
        page.split("## Publishing a report").nth(1).and_then(|rest| rest.split("```").nth(1)).unwrap();
    let commands = block.strip_prefix("sh\n").unwrap().replace("~/.ssh", "keys");
    let (sign, check) = commands.split_once("\n\n").unwrap();
    let program = insula_tests::program();
    let sh = |script: &str| {
        let mut sh = std::process::Command::new("sh");
        let insula = format!("insula() {{ '{}' --home home \"$@\" --level process; }}", program.display());
        sh.arg("-ec").arg(format!("{insula}\n{script}")).current_dir(place.path());
        let output = sh.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let keys = "mkdir keys; ssh-keygen -q -t ed25519 -N '' -f keys/id_ed25519";
    let operators = "printf 'you@example.org %s' \"$(cat keys/id_ed25519.pub)\" >operators";
    let made = sh(&format!("{keys}\n{operators}\n{sign}"));
    assert!(made.0, "{}", made.1);
    let checked = sh(check);
    assert!(checked.0, "{}", checked.1);
    // The controls: another report, and another operator.
    for spoil in ["sed -i s/stopped/open/ report.json", "sed -i s/you@/they@/ operators"] {
        assert!(sh(&format!("cp report.json kept; cp operators trusted; {spoil}")).0);
        assert!(!sh(check).0, "`{spoil}` is not noticed");
        assert!(sh("mv kept report.json; mv trusted operators").0);
    }
    assert!(sh(check).0);
}

#[test]
fn a_service_that_is_not_there_is_told_with_those_that_are() {
    let place = Place::new();
    let file = place.configure(BOUND);
    let refused =
        Answer::of(&place.home(), &["explain", "isolation", "api", "--config", file.to_str().unwrap()]);
    assert_eq!(refused.code, 3);
    assert!(refused.stderr.contains("services there: app"), "{}", refused.stderr);
}

#[test]
fn a_level_that_does_not_work_here_is_told_with_what_to_do() {
    let place = Place::new();
    let refused = Answer::of(&place.home(), &["verify", "--level", "vm"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("insula doctor"), "{}", refused.stderr);
}
