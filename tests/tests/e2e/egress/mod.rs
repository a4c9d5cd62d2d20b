//! What leaves the walls, and what does not. Each refusal has its negative control: the same probe gets through
//! where a rule allows it.

mod bandwidth;
mod redirects;
mod routed;
mod siblings;
mod wires;

use insula_tests::{Internet, Options, Place, Server, skip, wait_until};
use serde_json::Value;

/// A public address, and another.
const GOOD: &str = "93.184.216.34";
const OTHER: &str = "151.101.1.69";

/// A service `NAME` for one tenant `a` with these rules; no rules is no key.
fn service(name: &str, net: Option<&str>) -> String {
    let net = net.map_or(String::new(), |net| format!("net = {net}\n"));
    format!("[service.{name}]\ncommand = \"python3 $APPS/reach.py\"\nworkdir = \"$APPS\"\n{net}\n")
}

fn start(internet: &Internet, services: &[(&str, Option<&str>)]) -> Server {
    let tables: String = services.iter().map(|(name, net)| service(name, *net)).collect();
    let instances: String = services.iter().map(|(name, _)| format!("{name} = [\"a\"]\n")).collect();
    let place = Place::new();
    let options = internet.options(&place);
    Server::with(place, &format!("{tables}[instances]\n{instances}"), &options)
}

/// What came of a try.
#[track_caller]
fn ask(server: &Server, instance: &str, what: &str) -> Value {
    server.get(instance, what).expect(200).json()
}

#[track_caller]
fn reaches(server: &Server, instance: &str, what: &str, who: &str) {
    let found = ask(server, instance, what);
    let data = found["data"].as_str().unwrap_or_default();
    assert!(data.contains(&format!("hello from {who}")), "{instance} {what}: {found}");
}

#[track_caller]
fn fails(server: &Server, instance: &str, what: &str) -> String {
    let found = ask(server, instance, what);
    assert_eq!(found["ok"], false, "{instance} {what}: {found}");
    found["error"].as_str().unwrap().to_owned()
}

/// Waits for a refusal in the events of an instance that has all these words.
#[track_caller]
fn refused(server: &Server, instance: &str, words: &[&str]) {
    wait_until(&format!("a refusal of {instance} with {words:?}"), || {
        let events = server.cli(&["events", instance, "--json"]).ok().stdout;
        let has = |line: &str| line.contains("net_denied") && words.iter().all(|word| line.contains(word));
        events.lines().any(has).then_some(())
    });
}

#[test]
fn what_a_rule_names_is_reached_and_nothing_else() {
    let mut internet = Internet::new();
    internet.server(&format!("{GOOD}:5432"), "good");
    internet.server(&format!("{GOOD}:443"), "good");
    internet.server(&format!("{OTHER}:5432"), "other");
    internet.name("db.example.com", &[&[GOOD]]);
    internet.name("evil.example.org", &[&[OTHER]]);
    let server = start(
        &internet,
        &[
            ("byname", Some(r#"["tcp://db.example.com:5432"]"#)),
            ("byaddress", Some(r#"["93.184.216.34:5432"]"#)),
            ("public", None),
            ("none", Some("[]")),
        ],
    );
    let (db, other) = ("/tcp?host=db.example.com&port=5432", "/tcp?host=evil.example.org&port=5432");
    reaches(&server, "byname:a", db, "good");
    fails(&server, "byname:a", other);
    refused(&server, "byname:a", &["evil.example.org", "no rule of `net` names it"]);
    fails(&server, "byname:a", &format!("/tcp?host={OTHER}&port=5432"));
    refused(&server, "byname:a", &[OTHER, "5432"]);
    fails(&server, "byname:a", "/tcp?host=db.example.com&port=443");
    reaches(&server, "byaddress:a", &format!("/tcp?host={GOOD}&port=5432"), "good");
    fails(&server, "byaddress:a", &format!("/tcp?host={GOOD}&port=443"));
    // The same tries where everything public is allowed, and where nothing is.
    for what in [db, other] {
        reaches(&server, "public:a", what, if what == db { "good" } else { "other" });
        fails(&server, "none:a", what);
    }
    refused(&server, "none:a", &["`net` is empty"]);
}

#[test]
fn the_inside_is_out_of_reach_unless_a_rule_names_its_address() {
    let mut internet = Internet::new();
    let inside = ["169.254.169.254", "10.0.0.5", "192.168.1.1", "172.16.0.1", "100.64.0.1"];
    for address in inside {
        internet.server(&format!("{address}:8000"), "inside");
    }
    let listed = inside.map(|address| format!("\"{address}:8000\"")).join(",");
    let server = start(&internet, &[("public", None), ("listed", Some(&format!("[{listed}]")))]);
    for address in inside {
        let what = format!("/tcp?host={address}&port=8000");
        fails(&server, "public:a", &what);
        refused(&server, "public:a", &[address]);
        reaches(&server, "listed:a", &what, "inside");
    }
    let own = server.address().port();
    fails(&server, "public:a", &format!("/tcp?host=127.0.0.1&port={own}"));
    let packet = fails(&server, "public:a", &format!("/udp?host={GOOD}&port=443"));
    assert!(packet.contains("PermissionError"), "other packets fail at once: {packet}");
}

#[test]
fn a_name_that_leads_inside_is_refused_at_first_and_after_it_turned() {
    let mut internet = Internet::new();
    internet.server(&format!("{GOOD}:443"), "good");
    internet.server("10.0.0.5:443", "inside");
    internet.name("inside.example.com", &[&["10.0.0.5"]]);
    internet.name("turning.example.com", &[&[GOOD], &["10.0.0.5"]]);
    internet.name("mixed.example.com", &[&["10.0.0.5", GOOD]]);
    internet.name("mapped.example.com", &[&["::ffff:10.0.0.5"]]);
    let net = r#"["*.example.com:443"]"#;
    let listed = r#"["*.example.com:443", "10.0.0.5:443"]"#;
    let server = start(&internet, &[("app", Some(net)), ("listed", Some(listed))]);
    let tls = |name: &str, host: &str| format!("/tls?host={host}&port=443&name={name}");
    let inside = tls("inside.example.com", "inside.example.com");
    fails(&server, "app:a", &inside);
    refused(&server, "app:a", &["inside.example.com", "10.0.0.5", "private"]);
    reaches(&server, "listed:a", &inside, "inside");
    fails(&server, "app:a", &tls("mapped.example.com", "mapped.example.com"));
    // Of several addresses only those that may be reached are told and dialled.
    assert_eq!(ask(&server, "app:a", "/resolve?name=mixed.example.com")["data"][0], GOOD);
    reaches(&server, "app:a", &tls("mixed.example.com", "mixed.example.com"), "good");
    // Asked first it is public; whatever it says later, the client's address is not what is dialled.
    reaches(&server, "app:a", &tls("turning.example.com", "turning.example.com"), "good");
    reaches(&server, "app:a", &tls("turning.example.com", "10.0.0.5"), "good");
    // A name that no rule allows does not hide behind an address that led there.
    let denied = ask(&server, "app:a", &tls("other.org", GOOD));
    assert!(!denied.to_string().contains("hello"), "{denied}");
    refused(&server, "app:a", &["other.org", "443"]);
}

#[test]
fn a_proxy_inside_answers_403_with_the_reason() {
    let mut internet = Internet::new();
    internet.server(&format!("{GOOD}:443"), "good");
    internet.server(&format!("{GOOD}:80"), "good");
    internet.name("a.cdn.com", &[&[GOOD]]);
    let server = start(&internet, &[("app", Some(r#"["*.cdn.com:443", "http://a.cdn.com"]"#))]);
    let proxy = |say: &str| {
        let say: String = say.bytes().map(|b| format!("%{b:02X}")).collect();
        let found = ask(&server, "app:a", &format!("/tcp?host=127.0.0.1&port=64053&say={say}"));
        found["data"].as_str().unwrap_or_else(|| panic!("{found}")).to_owned()
    };
    let connect = |to: &str| proxy(&format!("CONNECT {to} HTTP/1.1\r\n\r\n"));
    assert!(connect("a.cdn.com:443").starts_with("HTTP/1.1 200 "));
    for to in [
        "evil.org:443",
        "cdn.com:443",
        "a.cdn.com:22",
        "127.0.0.1:443",
        "127.1:443",
        "2130706433:443",
        "0x7f000001:443",
        "169.254.169.254:443",
        "[::ffff:127.0.0.1]:443",
        "[::1]:443",
        "localhost:443",
    ] {
        let said = connect(to);
        assert!(said.starts_with("HTTP/1.1 403 "), "{to}: {said}");
        assert!(said.contains("refused by the network policy"), "{to}: {said}");
    }
    let plain = |host: &str| {
        let say: String =
            format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").bytes().map(|b| format!("%{b:02X}")).collect();
        ask(&server, "app:a", &format!("/tcp?host={GOOD}&port=80&say={say}")).to_string()
    };
    assert!(plain("a.cdn.com").contains("hello from good"));
    let denied = plain("evil.org");
    assert!(denied.contains("403 Forbidden") && denied.contains("no rule of `net`"), "{denied}");
}

#[test]
fn an_open_stream_outlives_a_killed_worker_and_a_planned_restart() {
    let mut internet = Internet::new();
    internet.server(&format!("{GOOD}:5432"), "good");
    let server = start(&internet, &[("app", None)]);
    reaches(&server, "app:a", &format!("/hold?key=one&host={GOOD}&port=5432"), "good");
    let echo =
        |word: &str| assert_eq!(ask(&server, "app:a", &format!("/echo?key=one&word={word}"))["data"], word);
    echo("before");
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    echo("killed");
    reaches(&server, "app:a", &format!("/tcp?host={GOOD}&port=5432"), "good");
    server.take_over().ok();
    echo("taken-over");
    reaches(&server, "app:a", &format!("/tcp?host={GOOD}&port=5432"), "good");
    fails(&server, "app:a", "/tcp?host=10.0.0.5&port=5432");
    refused(&server, "app:a", &["10.0.0.5"]);
}

#[test]
fn when_the_egress_process_is_killed_another_takes_its_place() {
    let mut internet = Internet::new();
    internet.server(&format!("{GOOD}:5432"), "good");
    let server = start(&internet, &[("app", None)]);
    let what = format!("/tcp?host={GOOD}&port=5432");
    reaches(&server, "app:a", &what, "good");
    let find = || {
        let all = [server.parent().children(), server.worker().children()].concat();
        all.into_iter().find(|p| p.command.contains("insula egress"))
    };
    let old = find().expect("no egress process");
    old.kill();
    reaches(&server, "app:a", &what, "good");
    assert_ne!(find().map(|new| new.pid), Some(old.pid));
}

#[test]
fn the_egress_process_has_no_rights_and_few_system_calls() {
    let mut internet = Internet::new();
    internet.server(&format!("{GOOD}:5432"), "good");
    internet.name("db.example.com", &[&[GOOD]]);
    let server = start(&internet, &[("app", None)]);
    let all = |server: &Server| [server.parent().children(), server.worker().children()].concat();
    let find = || all(&server).into_iter().find(|p| p.command.contains("insula egress"));
    // It does all of its work behind the filter.
    reaches(&server, "app:a", "/tcp?host=db.example.com&port=5432", "good");
    let egress = find().expect("no egress process");
    let is = |name: &str, expected: &str| assert_eq!(egress.field(name).as_deref(), Some(expected), "{name}");
    is("Seccomp", "2");
    is("NoNewPrivs", "1");
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        is(set, "0000000000000000");
    }
    // The control: the worker, which makes walls, has no filter.
    assert_eq!(server.worker().field("Seccomp").as_deref(), Some("0"));
}

#[test]
fn a_policy_is_changed_live_is_suggested_and_survives_a_restart() {
    let mut internet = Internet::new();
    internet.server(&format!("{GOOD}:5432"), "good");
    internet.name("db.example.com", &[&[GOOD]]);
    let mut server = start(&internet, &[("app", Some("[]"))]);
    let what = "/tcp?host=db.example.com&port=5432";
    fails(&server, "app:a", what);
    refused(&server, "app:a", &["db.example.com"]);
    let suggested = server.cli(&["policy", "suggest", "app:a", "--json"]).ok().json();
    let rule = suggested[0]["rule"].as_str().unwrap_or_else(|| panic!("{suggested}")).to_owned();
    assert_eq!(rule, "db.example.com");
    let pid = server.app("app:a").pid;
    server.cli(&["policy", "set", "app:a", &rule]).ok();
    reaches(&server, "app:a", "/hold?key=one&host=db.example.com&port=5432", "good");
    let shown = server.cli(&["policy", "show", "app:a"]).ok().stdout;
    assert!(shown.contains("set by the operator") && shown.contains("db.example.com"), "{shown}");
    server.kill_parent();
    let options = internet.options(server.place());
    server.start_again_with(&options);
    reaches(&server, "app:a", what, "good");
    assert_eq!(ask(&server, "app:a", "/echo?key=one&word=held")["data"], "held");
    server.cli(&["policy", "set", "app:a", "--none"]).ok();
    fails(&server, "app:a", "/echo?key=one&word=cut");
    fails(&server, "app:a", what);
    assert_eq!(server.app("app:a").pid, pid, "the instance was not restarted for it");
    let audit = server.cli(&["audit", "--json"]).ok().stdout;
    assert!(audit.contains("/instances/{name}/net"), "{audit}");
    let malformed = server.cli(&["policy", "set", "app:a", "*"]);
    assert_eq!(malformed.code, 2, "{}", malformed.stderr);
    assert!(malformed.stderr.contains("`*` is not a rule of `net`"), "{}", malformed.stderr);
}

/// A program that runs another one where no rules for packets can be made, as on a kernel without `nf_tables`: sockets of
/// `NETLINK_NETFILTER` are refused to it and to everything that it starts.
const WITHOUT_NF_TABLES: &str = include_str!("without_nf_tables.py");

#[test]
fn rules_that_this_kernel_cannot_enforce_are_refused_and_doctor_says_so() {
    if cfg!(not(target_arch = "x86_64")) {
        skip!("the filter of the test is made for x86_64");
    }
    let place = Place::new();
    let script = place.path().join("without_nf_tables.py");
    std::fs::write(&script, WITHOUT_NF_TABLES).unwrap();
    let through = vec![
        insula_tests::system_program("python3").unwrap().to_str().unwrap().to_owned(),
        script.to_str().unwrap().to_owned(),
    ];
    let tables = [("asked", Some("[\"public\"]")), ("none", Some("[]")), ("usual", None)];
    let config: String = tables.iter().map(|(name, net)| service(name, *net)).collect();
    let config = format!("{config}[instances]\nasked = [\"a\"]\nnone = [\"a\"]\nusual = [\"a\"]\n");
    let home = place.home();
    let server = Server::with(place, &config, &Options { through: through.clone(), ..Options::default() });
    let refused = server.get("asked:a", "/");
    assert_eq!(refused.status, 503, "{refused:?}");
    let why = server.cli(&["why", "asked:a"]).ok().stdout;
    assert!(why.contains("`net` cannot be enforced") && why.contains("nf_tables"), "{why}");
    // Nothing outside is what `[]` asks for, and what is left where nobody asked for anything.
    for instance in ["none:a", "usual:a"] {
        fails(&server, instance, &format!("/tcp?host={GOOD}&port=5432"));
    }
    let doctor = |through: &[String]| {
        let (program, arguments) = (&through[0], &through[1..]);
        let output = std::process::Command::new(program).args(arguments).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = report["checks"].as_array().unwrap().clone();
        all.into_iter().find(|check| check["what"] == "network wall").unwrap()
    };
    let insula = insula_tests::program().to_str().unwrap().to_owned();
    let verb = ["--home", home.to_str().unwrap(), "doctor", "--json"].map(str::to_owned);
    let found = doctor(&[&through[..], std::slice::from_ref(&insula), &verb[..]].concat());
    assert!(found["verdict"] == "poor" && found["hint"].as_str().unwrap().contains("nf_tables"), "{found}");
    // The control: without the filter this host can.
    let found = doctor(&[&[insula][..], &verb[..]].concat());
    assert_eq!(found["verdict"], "good", "{found}");
}
