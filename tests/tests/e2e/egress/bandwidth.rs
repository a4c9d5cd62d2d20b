//! How fast an instance may send and receive.

use std::time::{Duration, Instant};

use insula_tests::{Internet, Place, Server, wait_until};
use serde_json::json;

use super::{GOOD, ask};

/// Bytes that go there and back.
const SIZE: u32 = 600_000;
/// Bytes a second that may.
const RATE: u32 = 200_000;

fn service(name: &str, keys: &str) -> String {
    format!("[service.{name}]\ncommand = \"python3 $APPS/reach.py\"\nworkdir = \"$APPS\"\n{keys}\n")
}

/// How long it takes until everything is back.
fn time(server: &Server, instance: &str) -> Duration {
    let begin = Instant::now();
    let found = ask(server, instance, &format!("/round?host={GOOD}&port=5432&size={SIZE}"));
    assert_eq!(found["data"], SIZE, "{found}");
    begin.elapsed()
}

#[test]
fn a_bounded_stream_takes_its_time() {
    let mut internet = Internet::new();
    internet.server(&format!("{GOOD}:5432"), "");
    let place = Place::new();
    let options = internet.options(&place);
    let slow = service("slow", &format!("bandwidth_limit = \"{RATE}\""));
    let tables = format!("{slow}{}[instances]\nslow = [\"a\"]\nfree = [\"a\"]\n", service("free", ""));
    let server = Server::with(place, &tables, &options);
    let (slow, free) = (time(&server, "slow:a"), time(&server, "free:a"));
    // What is there and what is back overlap; a tenth of a second may be ahead.
    let least = Duration::from_secs((SIZE / RATE).into()) - Duration::from_millis(200);
    assert!(slow >= least, "{SIZE} bytes took {slow:?} at {RATE} a second");
    assert!(free < slow, "without a bound they took {free:?}, with one {slow:?}");
    let shown = server.cli(&["inspect", "slow:a"]).ok().stdout;
    assert!(shown.contains("bandwidth") && shown.contains("/s each way"), "{shown}");
    assert_eq!(server.inspect("slow:a")["limits"]["bandwidth"], RATE);
    assert!(server.inspect("free:a")["limits"]["bandwidth"].is_null());
}

#[test]
fn a_new_bound_holds_for_what_runs() {
    let mut internet = Internet::new();
    internet.server(&format!("{GOOD}:5432"), "");
    let place = Place::new();
    let options = internet.options(&place);
    let text = |rate: u32| {
        service("slow", &format!("bandwidth_limit = \"{rate}\"")) + "[instances]\nslow = [\"a\"]\n"
    };
    let server = Server::with(place, &text(RATE), &options);
    let slow = time(&server, "slow:a");
    let app = server.app("slow:a");
    let _path = server.place().configure(&text(8 * RATE));
    let planned = server.cli(&["config", "apply", "--dry-run", "--json"]).ok().json();
    assert_eq!((&planned["adjusted"], &planned["restarted"]), (&json!(["slow"]), &json!([])));
    server.cli(&["config", "apply"]).ok();
    assert_eq!(server.inspect("slow:a")["limits"]["bandwidth"], 8 * RATE);
    let fast = time(&server, "slow:a");
    assert!(
        fast * 2 < slow,
        "{SIZE} bytes took {slow:?} at {RATE} a second, and {fast:?} at eight times as much"
    );
    let _path = server.place().configure(&text(RATE));
    server.parent().signal(rustix::process::Signal::HUP);
    wait_until("the old bound", || (server.inspect("slow:a")["limits"]["bandwidth"] == RATE).then_some(()));
    let again = time(&server, "slow:a");
    assert!(fast * 2 < again, "{fast:?}, then {again:?}");
    assert_eq!(server.app("slow:a"), app, "it was restarted");
}

#[test]
fn what_nothing_judges_is_refused_with_its_bounds_and_rules() {
    let without = "isolation = \"process\"\n";
    let bound = format!("{without}bandwidth_limit = \"1M\"\n");
    let rules = format!("{without}net = [\"public\"]\n");
    let tables = [service("bound", &bound), service("rules", &rules), service("free", without)].concat();
    let server =
        Server::start(&format!("{tables}[instances]\nbound = [\"a\"]\nrules = [\"a\"]\nfree = [\"a\"]\n"));
    for (service, key) in [("bound", "bandwidth_limit"), ("rules", "net")] {
        assert_eq!(server.get(&format!("{service}:a"), "/").status, 503);
        let why = server.cli(&["why", &format!("{service}:a")]).ok().stdout;
        assert!(why.contains(&format!("`{key}` cannot be enforced at level `process`")), "{why}");
    }
    server.get("free:a", "/").expect(200);
}
