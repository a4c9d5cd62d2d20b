//! The control API over the network, as its users see it.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use insula_tests::{Answer, Options, Place, Reply, Request, Server, wait_until};
use serde_json::Value;

use crate::common::{app, escaped};

fn at_apex(server: &Server, path: &str) -> Request {
    Request::get(&format!("localhost:{}", server.address().port()), path)
}

pub(crate) fn ask(server: &Server, token: &str, path: &str) -> Reply {
    at_apex(server, path).header("Authorization", &format!("Bearer {token}")).send(server.address()).unwrap()
}

pub(crate) fn token(server: &Server, arguments: &[&str]) -> String {
    let mut words = vec!["token", "create", "--name", "test"];
    words.extend(arguments);
    server.cli(&words).ok().stdout.trim().to_owned()
}

/// Runs the command line against the public address, as the holder of a token.
pub(crate) fn remote(server: &Server, token: &str, arguments: &[&str]) -> Answer {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/debug/insula");
    let insula = std::env::var_os("INSULA_BIN").map_or_else(|| built.into(), std::path::PathBuf::from);
    let mut command = Command::new(insula);
    let nowhere = server.place().path().join("nowhere");
    command.args(arguments).env("INSULA_HOME", nowhere).env("INSULA_TOKEN", token);
    command.env("INSULA_SERVER", format!("http://localhost:{}", server.address().port()));
    command.output().unwrap().into()
}

#[test]
fn the_api_is_at_the_domain_itself_and_only_there() {
    let server = Server::start(&app("serve", "", &["a"]));
    let health = at_apex(&server, "/v1/health").send(server.address()).unwrap().expect(200).json();
    assert!(
        health["version"].is_string() && health["pid"].is_null() && health["config"].is_null(),
        "{health}"
    );
    let described = at_apex(&server, "/openapi.json").send(server.address()).unwrap().expect(200).json();
    assert_eq!(described, server.cli(&["openapi"]).ok().json());
    let refused = at_apex(&server, "/v1/instances").send(server.address()).unwrap().expect(401);
    assert_eq!(refused.json()["code"], "no_token");
    assert!(refused.header("www-authenticate").is_some_and(|v| v.starts_with("Bearer")), "{refused:?}");
    // A tenant's paths are its own, whatever they are called.
    let tenant = server.get("app:a", "/v1/health");
    assert!(!tenant.text().contains("\"version\""), "{}", tenant.text());
    at_apex(&server, "/").send(server.address()).unwrap().expect(404);
}

#[test]
fn the_command_line_works_from_elsewhere_with_a_token() {
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/log?n=3").expect(200);
    let admin = token(&server, &[]);
    assert!(remote(&server, &admin, &["ps"]).ok().stdout.contains("app:a"));
    remote(&server, &admin, &["restart", "app:a"]).ok();
    wait_until("the lines are there", || {
        remote(&server, &admin, &["logs", "app:a"]).ok().stdout.contains("line 3").then_some(())
    });
    // From a file, which must be closed to others.
    let file = server.place().path().join("token");
    std::fs::write(&file, &admin).unwrap();
    let named = |mode| {
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        remote(&server, "", &["--token-file", file.to_str().unwrap(), "ps"])
    };
    named(0o600).ok();
    assert_eq!(named(0o644).code, 2);
    // Without one, and with one that was revoked.
    let none = remote(&server, "", &["ps"]);
    assert!(none.code == 4 && none.stderr.contains("INSULA_TOKEN"), "{none:?}");
    let id = admin.split('_').nth(2).unwrap();
    server.cli(&["token", "revoke", id]).ok();
    let revoked = remote(&server, &admin, &["ps"]);
    assert_eq!(revoked.code, 4, "{revoked:?}");
    assert!(server.cli(&["token", "ls"]).ok().stdout.contains("revoked"));
    // A token typed in the place of an id is not repeated.
    let typed = server.cli(&["token", "revoke", "insula_a_x"]);
    assert_eq!(typed.code, 2, "{typed:?}");
}

#[test]
fn a_tenant_sees_its_own_and_nothing_of_the_host() {
    let server = Server::start(&app("serve", "", &["a", "b"]));
    server.get("app:a", "/").expect(200);
    let tenant = token(&server, &["--tenant", "app:a"]);
    for path in ["/v1/instances/app:a", "/v1/instances/app:a/why", "/v1/instances/app:a/logs"] {
        let text = ask(&server, &tenant, path).expect(200).text();
        let root = server.place().path().to_str().unwrap().to_owned();
        let pid = server.app("app:a").pid.to_string();
        assert!(!text.contains(&root) && !text.contains(&format!("pid {pid}")), "{path}: {text}");
    }
    for path in
        ["/v1/instances", "/v1/instances/app:b", "/v1/instances/app:nobody", "/v1/tokens", "/v1/audit"]
    {
        assert_eq!(ask(&server, &tenant, path).expect(403).json()["code"], "out_of_scope", "{path}");
    }
    remote(&server, &tenant, &["inspect", "app:a"]).ok();
    remote(&server, &tenant, &["restart", "app:a"]).ok();
    assert_eq!(remote(&server, &tenant, &["stop", "app:a"]).code, 4);
    assert_eq!(remote(&server, &tenant, &["restart", "app:b"]).code, 4);
}

#[test]
fn every_change_is_in_the_audit_log_and_survives_the_daemon() {
    let mut server = Server::start(&app("serve", "", &["a"]));
    let admin = token(&server, &[]);
    server.cli(&["stop", "app:a"]).ok();
    remote(&server, &admin, &["spawn", "app:a"]).ok();
    assert_eq!(remote(&server, &admin, &["stop", "app:nobody"]).code, 3);
    let told = |server: &Server| {
        let audit = server.cli(&["audit", "--after", "0", "--json"]).ok().json();
        let word = |r: &Value, name: &str| r[name].as_str().unwrap_or("-").to_owned();
        let line =
            |r: &Value| format!("{} {} {}", word(&r["who"], "kind"), word(r, "target"), word(r, "code"));
        audit["records"].as_array().unwrap().iter().map(line).collect::<Vec<_>>()
    };
    let expected = ["unix - ok", "unix app:a ok", "token app:a ok", "token app:nobody unknown_instance"];
    assert_eq!(told(&server), expected);
    server.kill_parent();
    server.start_again();
    assert_eq!(told(&server), expected);
    assert!(server.cli(&["audit"]).ok().stdout.contains("/v1/instances/{name}/stop"));
    let found = |words: &[&str]| {
        let audit = server.cli(&[&["audit", "--after", "0", "--json"], words].concat()).ok().json();
        audit["records"].as_array().unwrap().len()
    };
    for (words, count) in [
        (&["--who", "anonymous"][..], 0),
        (&["--target", "app"], 3),
        (&["--target", "app:a"], 2),
        (&["--target", "app:a", "--who", "signal"], 0),
        (&["--action", "create_token"], 1),
        (&["--result", "failed"], 1),
        (&["--result", "unknown_instance", "--target", "app:nobody"], 1),
        (&["--result", "open"], 0),
        (&["--since", "1h"], 4),
        (&["--until", "1h"], 0),
    ] {
        assert_eq!(found(words), count, "{words:?}");
    }
    let refused = server.cli(&["audit", "--action", "stopp", "--json"]);
    assert!(refused.code == 1 && refused.stderr.contains("unknown_action"), "{refused:?}");
    assert!(refused.stderr.contains("`stop`"), "{refused:?}");
    remote(&server, &admin, &["ps"]).ok();
}

#[test]
fn who_guesses_waits_whatever_address_it_claims() {
    let server = Server::start(&app("serve", "", &["a"]));
    let admin = token(&server, &[]);
    let guess = |i: usize| {
        let address = format!("192.0.2.{i}");
        at_apex(&server, "/v1/instances")
            .header("Authorization", "Bearer insula_guess")
            .header("Insula-Client", &address)
            .header("Insula_Client", &address)
            .header("X-Forwarded-For", &address)
            .header("Connection", "insula-client")
            .send(server.address())
            .unwrap()
            .status
    };
    assert_eq!((0..10).map(guess).collect::<Vec<_>>(), [401; 10]);
    assert_eq!(guess(11), 429, "a claimed address was believed");
    // Who holds a token, the owner's own way in, and the tenants notice nothing.
    assert_eq!(ask(&server, &admin, "/v1/instances").status, 200);
    server.cli(&["ps"]).ok();
    server.get("app:a", "/").expect(200);
    wait_until("the address has cooled down", || (guess(12) == 401).then_some(()));
}

#[test]
fn an_open_api_is_refused_where_others_come_and_works_on_the_loopback() {
    let config = app("serve", "", &["a"]);
    let place = Place::new();
    let path = place.configure(&config);
    let path = path.to_str().unwrap();
    let refused = Answer::of(
        &place.home(),
        &["serve", "--insecure-api", "--domain", "apps.example.org", "--config", path],
    );
    assert!(refused.code == 4 && refused.stderr.contains("insula token create"), "{refused:?}");
    let options = Options { arguments: vec!["--insecure-api".to_owned()], ..Options::default() };
    let server = Server::with(Place::new(), &config, &options);
    at_apex(&server, "/v1/instances").send(server.address()).unwrap().expect(200);
    let stop = |fields: &[(&str, &str)]| {
        let host = format!("localhost:{}", server.address().port());
        let request = Request::post(&host, "/v1/instances/app:a/stop", "{}");
        fields
            .iter()
            .fold(request, |r, (name, value)| r.header(name, value))
            .send(server.address())
            .unwrap()
            .status
    };
    assert_eq!(stop(&[("Origin", "http://evil.example")]), 403, "a web page stopped an instance");
    assert_eq!(stop(&[("Content-Type", "text/plain")]), 415);
    assert_eq!(stop(&[]), 200);
    assert!(server.cli(&["audit"]).ok().stdout.contains("anonymous"));
}

/// A generator of numbers, the same in every run (xorshift; Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides).unwrap()).unwrap()
    }
}

/// Pieces of which searches are made: words, operators of ours and of SQLite, quotes, bytes that are no text.
const PIECES: [&str; 40] = [
    "line", "LINE", "1", "zebra", "ü", "日本", "😀", "OR", "AND", "NOT", "NEAR", "NEAR/2", "or", " ", " ",
    "  ", "\"", "\"", "'", "*", "-", "--", "+", "^", ":", "(", ")", "{", "}", ";", "\\", "%", "_", ",",
    "\u{0}", "\t", "\n", "\u{fffd}", "text:", "a*b",
];

#[test]
fn whatever_is_searched_for_is_answered_or_refused() {
    let server = Server::start(&app("serve", "", &["a"]));
    server.get("app:a", "/log?n=3").expect(200);
    let admin = token(&server, &[]);
    let mut stream = std::io::BufReader::new(server.connect());
    let mut search = |query: &str| {
        let host = format!("localhost:{}", server.address().port());
        let request = Request::get(&host, &format!("/v1/logs?{query}"))
            .header("Authorization", &format!("Bearer {admin}"))
            .bytes();
        stream.get_mut().write_all(&request).unwrap();
        insula_tests::read_reply(&mut stream, "GET").unwrap()
    };
    let lines = |reply: &Reply| reply.json()["lines"].as_array().unwrap().len();
    wait_until("a good search finds a line", || {
        (lines(&search("search=line+2").expect(200)) == 1).then_some(())
    });
    let mut dice = Dice(0x5f0c_1e9b_7a31_4d27);
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..500 {
        let text: String = (0..1 + dice.roll(8)).map(|_| PIECES[dice.roll(PIECES.len())]).collect();
        // One in eight is not even text once it is decoded.
        let query = match dice.roll(8) {
            0 => format!("search={}%{:02X}", escaped(&text), 0x80 + dice.roll(0x80)),
            _ => format!("search={}", escaped(&text)),
        };
        let reply = search(&query);
        match reply.status {
            200 => answered += 1,
            400 => {
                refused += 1;
                let problem = reply.json();
                assert!(!problem["code"].as_str().unwrap().is_empty(), "{query}: {problem}");
            }
            status => panic!("{query} ({text:?}) is answered with {status}: {}", reply.text()),
        }
    }
    assert!(
        answered > 50 && refused > 50,
        "{answered} answered, {refused} refused: one of them was hardly tried"
    );
    // It still works, and a search that fits nothing finds nothing.
    assert_eq!(lines(&search("search=line+2").expect(200)), 1);
    assert_eq!(lines(&search("search=zebra").expect(200)), 0);
}
