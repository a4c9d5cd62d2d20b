//! Instances that reach each other by name: both sides must allow it. Each refusal has its negative control.

use insula_tests::{Internet, Place, Server};

use super::{ask, fails, reaches, refused};

/// A server with services of these names, programs and further keys, each with tenants `a` and `b`.
fn start(services: &[(&str, &str, &str)]) -> Server {
    let table = |(name, program, keys): &(&str, &str, &str)| {
        format!("[service.{name}]\ncommand = \"python3 $APPS/{program}\"\nworkdir = \"$APPS\"\n{keys}\n")
    };
    let tables: String = services.iter().map(table).collect();
    let instances: String = services.iter().map(|(name, ..)| format!("{name} = [\"a\", \"b\"]\n")).collect();
    let place = Place::new();
    let options = Internet::new().options(&place);
    Server::with(place, &format!("{tables}[instances]\n{instances}"), &options)
}

#[test]
fn a_sleeping_sibling_is_woken_by_name_where_both_sides_allow_it() {
    let server = start(&[
        ("web", "reach.py", "net = [\"self:db\", \"self:db:b\"]"),
        ("shy", "reach.py", "net = [\"public\"]"),
        ("www", "reach.py", "net = [\"self:db\"]"),
        ("db", "echo.py", "reachable_from = [\"web\", \"shy\"]\nidle_timeout = \"1s\""),
    ]);
    let wakes = |instance: &str| server.inspect(instance)["wakes"].as_u64().unwrap();
    server.wait_observed("db:a", "asleep");
    server.wait_observed("db:b", "asleep");
    let before = (wakes("db:a"), wakes("db:b"));
    reaches(&server, "web:a", "/tcp?host=db.internal&port=5432", "db:a");
    assert!(wakes("db:a") > before.0, "it was not asleep");
    // Whatever the port, and by the longer name.
    reaches(&server, "web:a", "/tcp?host=db.internal&port=80", "db:a");
    reaches(&server, "web:a", "/tcp?host=a.db.internal&port=1", "db:a");
    let found = ask(&server, "web:a", "/resolve?name=db.internal");
    assert!(found["data"][0].as_str().unwrap().starts_with("198."), "{found}");
    // A tenant reaches its own, and no other one: `web` in `reachable_from` is the one with the same id.
    fails(&server, "web:a", "/tcp?host=b.db.internal&port=5432");
    refused(&server, "web:a", &["b.db.internal", "reachable_from"]);
    assert_eq!(wakes("db:b"), before.1, "a refusal wakes nobody");
    reaches(&server, "web:b", "/tcp?host=db.internal&port=5432", "db:b");
    // One side alone is not enough: neither the caller's...
    fails(&server, "www:a", "/tcp?host=db.internal&port=5432");
    refused(&server, "www:a", &["db.internal", "reachable_from"]);
    // ... nor that of the one who is called.
    fails(&server, "shy:a", "/tcp?host=db.internal&port=5432");
    refused(&server, "shy:a", &["db.internal", "no rule of `net` names it"]);
    let suggested = server.cli(&["policy", "suggest", "shy:a", "--json"]).ok().json();
    assert_eq!(suggested[0]["rule"], "self:db", "{suggested}");
    server.cli(&["policy", "set", "shy:a", "self:db"]).ok();
    reaches(&server, "shy:a", "/tcp?host=db.internal&port=5432", "db:a");
}

#[test]
fn http_is_answered_by_the_sibling_or_with_the_reason() {
    let server = start(&[
        ("web", "reach.py", "net = [\"self:api\", \"self:shut\", \"self:api:nobody\"]"),
        ("api", "reach.py", "reachable_from = [\"web:*\"]"),
        ("shut", "reach.py", ""),
    ]);
    let say = |host: &str| {
        let text = format!("GET /who HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let text: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
        ask(&server, "web:a", &format!("/all?host={host}&port=80&say={text}")).to_string()
    };
    assert!(say("api.internal").contains("api:a"), "{}", say("api.internal"));
    assert!(say("b.api.internal").contains("\"error\""), "no rule names `api:b`");
    let denied = say("shut.internal");
    assert!(denied.contains("403 Forbidden") && denied.contains("reachable_from"), "{denied}");
    let nobody = say("nobody.api.internal");
    assert!(nobody.contains("403 Forbidden") && nobody.contains("no such instance"), "{nobody}");
    // The proxy inside knows the names, too.
    let text: String =
        "GET http://api.internal/who HTTP/1.1\r\n\r\n".bytes().map(|b| format!("%{b:02X}")).collect();
    let found = ask(&server, "web:b", &format!("/all?host=127.0.0.1&port=64053&say={text}")).to_string();
    assert!(found.contains("api:b"), "{found}");
}

#[test]
fn an_open_stream_keeps_its_sibling_awake_across_workers_and_ends_with_the_rule() {
    let server = start(&[
        ("web", "reach.py", "net = [\"self:db\"]"),
        ("db", "echo.py", "reachable_from = [\"web\"]\nidle_timeout = \"1s\""),
    ]);
    let held = |key: &str, word: &str| ask(&server, "web:a", &format!("/echo?key={key}&word={word}"));
    reaches(&server, "web:a", "/hold?key=one&host=db.internal&port=5432", "db:a");
    // The sibling of `b` was used after it and sleeps before: only the stream keeps the first one awake.
    let outlasts = |word: &str| {
        reaches(&server, "web:b", "/tcp?host=db.internal&port=5432", "db:b");
        server.wait_observed("db:b", "asleep");
        assert_eq!(server.observed("db:a"), "running", "{word}");
        assert_eq!(held("one", word)["data"], word);
    };
    outlasts("before");
    let worker = server.worker();
    worker.kill();
    server.wait_worker_after(&worker);
    outlasts("killed");
    server.take_over().ok();
    outlasts("taken-over");
    server.cli(&["policy", "set", "web:a", "--none"]).ok();
    assert_eq!(held("one", "cut")["ok"], false);
    server.wait_observed("db:a", "asleep");
}

#[test]
fn taking_back_reachable_from_ends_what_is_open() {
    let server =
        start(&[("web", "reach.py", "net = [\"self:db\"]"), ("db", "echo.py", "reachable_from = [\"web\"]")]);
    reaches(&server, "web:a", "/hold?key=one&host=db.internal&port=5432", "db:a");
    let text = std::fs::read_to_string(server.place().path().join("insula.toml")).unwrap();
    let without = text.replace("reachable_from = [\"web\"]", "");
    assert_ne!(text, without);
    std::fs::write(server.place().path().join("insula.toml"), without).unwrap();
    server.cli(&["config", "apply"]).ok();
    fails(&server, "web:a", "/echo?key=one&word=cut");
    fails(&server, "web:a", "/tcp?host=db.internal&port=5432");
    refused(&server, "web:a", &["reachable_from"]);
}

#[test]
fn of_versions_the_weights_choose_one() {
    let place = Place::new();
    let options = Internet::new().options(&place);
    let config = "[service.web]\ncommand = \"python3 $APPS/reach.py\"\nworkdir = \"$APPS\"\nnet = [\"self:api\"]\n\
                  [service.api]\ncommand = \"python3 $APPS/echo.py\"\nworkdir = \"$APPS\"\nversions = true\n\
                  reachable_from = [\"web\"]\n[instances]\nweb = [\"alice\"]\napi = [\"v1\", \"v2\"]\n";
    let server = Server::with(place, config, &options);
    let only = |version: &str| {
        let other = if version == "v1" { "v2" } else { "v1" };
        server.cli(&["weight", "api", &format!("{version}=100"), &format!("{other}=0")]).ok();
        reaches(&server, "web:alice", "/tcp?host=api.internal&port=80", &format!("api:{version}"));
    };
    only("v1");
    only("v2");
}
