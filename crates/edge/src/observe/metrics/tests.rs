//! The page: every family is documented, and labels are bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use insula_api::{Footprint, Timestamp, Usage};
use insula_services::{Fill, Observed, Overview, ServiceCounts, Status};
use insula_spec::ServiceName;
use insula_store::Wanted;

use super::{OTHER, Sources, page};
use crate::observe::tests::exchange;
use crate::observe::{Observe, Settings};
use crate::public::{Exchange, Observer, RequestId};

const DOCUMENT: &str = include_str!("../../../../../docs/reference/observability.md");

fn overview(name: &str) -> Overview {
    Overview {
        name: name.parse().unwrap(),
        status: Status {
            observed: Observed::Asleep,
            wanted: Wanted::Up,
            since: SystemTime::UNIX_EPOCH,
            why: None,
        },
        level: None,
        outdated: false,
        record: None,
        restarts: 0,
        wakes: 0,
        leases: 2,
        disk_bytes: Some(9),
        disk_limit: Some(10),
        disk_fill: Some(Fill::Near),
    }
}

fn sources(services: &[&str], each_instance: bool) -> Sources<'static> {
    let (observe, _recorder) = Observe::start(Settings::default()).unwrap();
    let services: Vec<ServiceName> = services.iter().map(|name| name.parse().unwrap()).collect();
    observe.register(&services);
    let alice = "notes:alice".parse().unwrap();
    let e =
        Exchange { instance: Some(&alice), error: Some("failed"), status: 503, ..exchange(RequestId::of(1)) };
    observe.exchange(&Exchange { waited: Duration::from_millis(3), ..e });
    let counts = ServiceCounts { exits: [0, 1, 0, 0, 0], wakes: 4, ..ServiceCounts::default() };
    let usage = Usage { memory_bytes: Some(1), cpu_micros: Some(2), pids: Some(3) };
    Sources {
        version: "0",
        epoch: 3,
        since: Timestamp::from_micros(1_500_000),
        tally: observe.tally(),
        losses: observe.losses(),
        held: observe.held(),
        counts: services.iter().map(|name| (name.clone(), counts)).collect(),
        instances: vec![(overview("notes:alice"), Some(usage)), (overview("last:x"), None)],
        each_instance,
        store_queue: 0,
        refused: 5,
        footprint: Footprint {
            shells: 2,
            shells_memory_bytes: Some(1),
            daemon_memory_bytes: Some(2),
            ..Footprint::default()
        },
    }
}

fn families(page: &str) -> BTreeMap<&str, &str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[test]
fn every_family_is_on_the_page_of_the_reference_and_the_other_way_round() {
    let page = page(&sources(&["notes"], true));
    let written = families(&page);
    let row = |line: &'static str| {
        let mut cells = line.strip_prefix("| `insula_")?.split('|');
        Some((cells.next()?.trim().trim_end_matches('`'), cells.next()?.trim()))
    };
    let documented: BTreeMap<_, _> = DOCUMENT.lines().filter_map(row).collect();
    let written: BTreeMap<_, _> =
        written.into_iter().map(|(name, kind)| (name.strip_prefix("insula_").unwrap(), kind)).collect();
    assert_eq!(documented, written);
}

#[test]
fn each_sample_is_there_once_and_after_its_type() {
    let page = page(&sources(&["notes", "last"], true));
    let mut seen = BTreeSet::new();
    let mut family = "";
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap();
        } else if !line.starts_with('#') {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(sample.starts_with(family) && value.parse::<f64>().is_ok(), "{line}");
            assert!(seen.insert(sample.to_owned()), "`{sample}` is there twice");
        }
    }
}

#[test]
fn what_happened_is_counted_under_its_service() {
    let page = page(&sources(&["notes", "last"], false));
    for line in [
        "insula_requests_total{service=\"notes\",status=\"5xx\"} 1\n",
        "insula_request_errors_total{service=\"notes\",code=\"failed\"} 1\n",
        "insula_request_wait_seconds_count{service=\"notes\"} 1\n",
        "insula_instance_exits_total{service=\"notes\",reason=\"error\"} 1\n",
        "insula_instance_starts_total{service=\"last\",cause=\"wake\"} 4\n",
        "insula_instances{service=\"last\",state=\"asleep\"} 1\n",
        "insula_requests_in_flight{service=\"notes\"} 2\n",
        "insula_instances_disk{service=\"notes\",fill=\"near\"} 1\n",
        "insula_instances_disk{service=\"notes\",fill=\"full\"} 0\n",
        "insula_worker_start_time_seconds 1.5\n",
    ] {
        assert!(page.contains(line), "no {line} in {page}");
    }
    assert!(!page.contains("alice"), "an instance is a label");
    let page = super::page(&sources(&["notes", "last"], true));
    for line in [
        "insula_instance_disk_bytes{service=\"notes\",id=\"alice\"} 9\n",
        "insula_instance_disk_limit_bytes{service=\"notes\",id=\"alice\"} 10\n",
    ] {
        assert!(page.contains(line), "no {line} in {page}");
    }
}

#[test]
fn more_services_than_there_are_labels_are_counted_together() {
    let names: Vec<_> = (0..250).map(|n| format!("s{n}")).chain(["last".to_owned()]).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let page = page(&sources(&names, false));
    assert!(!page.contains("service=\"s200\"") && page.contains("service=\"s199\""));
    let exits = format!("insula_instance_exits_total{{service=\"{OTHER}\",reason=\"error\"}} 51\n");
    assert!(page.contains(&exits), "{page}");
    assert!(page.contains(&format!("insula_instances{{service=\"{OTHER}\",state=\"asleep\"}} 2\n")));
}
