//! What one exchange leaves behind.

use std::time::Duration;

use insula_spec::InstanceName;
use insula_spec::config::LineFormat;
use insula_store::RequestQuery;

use super::clock::Clock;
use super::line::{self, NOBODY, Style};
use super::{Observe, Settings};
use crate::public::{Exchange, Observer, Protocol, RequestId, RequestIds};

pub(super) fn exchange(id: RequestId) -> Exchange<'static> {
    Exchange {
        id,
        protocol: Protocol::Http,
        peer: NOBODY,
        version: "HTTP/1.1",
        instance: None,
        method: "GET",
        target: "/a?token=secret",
        status: 200,
        bytes_in: 0,
        bytes_out: 1024,
        waited: Duration::ZERO,
        total: Duration::from_micros(1_000_042),
        woke: false,
        retried: false,
        error: None,
    }
}

fn alice() -> InstanceName {
    "notes:alice".parse().unwrap()
}

fn line(format: LineFormat, query: bool, e: &Exchange<'_>) -> String {
    let (mut out, mut clock) = (Vec::new(), Clock::default());
    clock.now();
    line::write(&mut out, Style { format, query }, e, &clock);
    String::from_utf8(out).unwrap()
}

#[test]
fn text_lines_are_combined_lines_with_more_behind() {
    let alice = alice();
    let plain = Exchange { instance: Some(&alice), ..exchange(RequestId::of(10)) };
    let text = line(LineFormat::Text, false, &plain);
    let (before, after) = text.split_once("] ").unwrap();
    assert!(before.starts_with("192.0.2.1 - - [") && before.ends_with(" +0000"), "{text}");
    let expected =
        "\"GET /a HTTP/1.1\" 200 1024 \"-\" \"-\" notes:alice 1.000042 0.000000 000000000000000a -\n";
    assert_eq!(after, expected);
    let failed = Exchange { woke: true, retried: true, error: Some("no_answer"), ..plain };
    assert!(line(LineFormat::Text, false, &failed).ends_with(" woke,retried,no_answer\n"));
    let tcp =
        Exchange { protocol: Protocol::Tcp, method: "", target: "", version: "", ..exchange(failed.id) };
    assert!(line(LineFormat::Text, false, &tcp).contains(" \"TCP\" 200 "));
}

#[test]
fn the_query_is_left_out_unless_it_is_wanted() {
    for format in [LineFormat::Text, LineFormat::Json] {
        let e = exchange(RequestId::of(1));
        assert!(!line(format, false, &e).contains("secret"));
        assert!(line(format, true, &e).contains("/a?token=secret"), "negative control");
    }
}

#[test]
fn json_lines_are_json_whatever_the_target_holds() {
    let alice = alice();
    for target in ["/", "/\"\\", "/\u{1}\u{7f}ä\n", "/a?b=\"c\""] {
        let e =
            Exchange { target, instance: Some(&alice), error: Some("failed"), ..exchange(RequestId::of(1)) };
        let text = line(LineFormat::Json, true, &e);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!((json["target"].as_str(), text.matches('\n').count()), (Some(target), 1));
        assert_eq!(
            (json["instance"].as_str(), json["error"].as_str()),
            (Some("notes:alice"), Some("failed"))
        );
        assert_eq!((json["status"].as_u64(), json["seconds"].as_f64()), (Some(200), Some(1.000_042)));
        let time: Result<insula_api::Timestamp, _> = json["time"].as_str().unwrap().parse();
        assert!(time.is_ok(), "{text}");
    }
}

#[test]
fn a_text_line_cannot_be_broken_by_its_target() {
    let e = Exchange { target: "/\" 200 \n\\ä", ..exchange(RequestId::of(1)) };
    let text = line(LineFormat::Text, true, &e);
    assert!(text.contains("\"GET /\\x22 200 \\x0A\\x5C\\xC3\\xA4 HTTP/1.1\" 200 "), "{text}");
}

fn started() -> (std::sync::Arc<Observe>, super::Recorder) {
    let (observe, recorder) = Observe::start(Settings::default()).unwrap();
    observe.register(&["notes".parse().unwrap(), "api".parse().unwrap()]);
    (observe, recorder)
}

#[test]
fn an_exchange_is_found_by_its_id_as_it_was() {
    let (observe, _recorder) = started();
    let (alice, nobody) = (alice(), "nobody:x".parse::<InstanceName>().unwrap());
    let first = Exchange {
        instance: Some(&alice),
        woke: true,
        waited: Duration::from_micros(5),
        error: Some("failed"),
        status: 503,
        ..exchange(RequestId::of(1))
    };
    observe.exchange(&first);
    observe.exchange(&Exchange { instance: Some(&nobody), ..exchange(RequestId::of(2)) });
    let found = observe.find(RequestId::of(1)).unwrap();
    assert_eq!(found.instance.as_ref(), Some(&alice));
    assert_eq!((found.path.as_str(), found.method.as_str()), ("/a", "GET"));
    assert_eq!((found.status, found.error.as_deref(), found.woke), (503, Some("failed"), true));
    assert_eq!((found.waited, found.total), (first.waited, first.total));
    assert_eq!(observe.find(RequestId::of(2)).unwrap().instance, Some(nobody));
    assert_eq!(observe.find(RequestId::of(3)), None);
}

#[test]
fn long_names_and_paths_are_cut_and_never_mixed_up() {
    let (observe, _recorder) = started();
    let name: InstanceName = format!("notes:{}", "i".repeat(63)).parse().unwrap();
    let path = format!("/{}", "p".repeat(100));
    observe.exchange(&Exchange { instance: Some(&name), ..exchange(RequestId::of(1)) });
    let alice = alice();
    observe.exchange(&Exchange { instance: Some(&alice), target: &path, ..exchange(RequestId::of(2)) });
    assert_eq!(observe.find(RequestId::of(1)).unwrap().instance, None, "half a name is no name");
    let found = observe.find(RequestId::of(2)).unwrap();
    assert!(found.instance == Some(alice) && path.starts_with(&found.path) && found.path.len() > 40);
}

#[test]
fn the_ring_holds_the_last_ones_and_no_more() {
    let (observe, _recorder) = started();
    let ids = RequestIds::default();
    let all: Vec<_> = (0..70_000).map(|_| ids.next()).collect();
    all.iter().for_each(|id| observe.exchange(&exchange(*id)));
    assert!(observe.find(all[0]).is_none(), "the oldest is gone");
    assert!(all[70_000 - 65_536..].iter().step_by(997).all(|id| observe.find(*id).is_some()));
    let held = observe.held();
    assert!((65_536..65_536 + 256).contains(&held.count) && held.since.is_some(), "{held:?}");
}

#[test]
fn services_are_counted_apart_and_strangers_together() {
    let (observe, _recorder) = started();
    let (alice, api, nobody) = (alice(), "api:a".parse().unwrap(), "nobody:x".parse().unwrap());
    for (name, status) in [(&alice, 200), (&alice, 503), (&api, 200), (&alice, 200), (&nobody, 404)] {
        let e = Exchange { instance: Some(name), status, ..exchange(RequestId::of(1)) };
        observe.exchange(&e);
    }
    let of = |at: usize, class: usize| observe.tally().rows()[at].requests[class].buckets.iter().sum::<u64>();
    assert_eq!([of(1, 1), of(1, 4), of(2, 1), of(0, 3)], [2, 1, 1, 1]);
}

#[tokio::test]
async fn notable_requests_are_recorded_and_a_flood_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = insula_store::Store::open(&dir.path().join("s.db")).await.unwrap();
    let (observe, recorder) = started();
    let alice = alice();
    let quick = Exchange { total: Duration::ZERO, instance: Some(&alice), ..exchange(RequestId::of(1)) };
    observe.exchange(&quick);
    for (id, e) in [
        Exchange { woke: true, ..quick.clone() },
        Exchange { waited: Duration::from_micros(1), ..quick.clone() },
        Exchange { retried: true, ..quick.clone() },
        Exchange { status: 500, ..quick.clone() },
        Exchange { status: 400, error: Some("bad_head"), instance: None, ..quick.clone() },
        Exchange { total: Duration::from_millis(1001), ..quick.clone() },
    ]
    .into_iter()
    .enumerate()
    {
        observe.exchange(&Exchange { id: RequestId::of(100 + id as u64), ..e });
    }
    (0..5_000)
        .for_each(|n| observe.exchange(&Exchange { id: RequestId::of(1000 + n), status: 503, ..quick }));
    observe.close();
    recorder.run(store.clone()).await;
    let all = store.requests(RequestQuery::default()).await.unwrap();
    assert!((100..106).all(|n| all.iter().any(|r| r.id == format!("{n:016x}"))), "{all:?}");
    assert!(!all.iter().any(|r| r.id == format!("{:016x}", 1)), "nothing was notable about it");
    assert!(all.len() < 30 && observe.losses().records > 4_900, "{} recorded", all.len());
}
