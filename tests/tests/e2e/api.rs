//! The control API over the network, as its users see it.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use insula_tests::{Answer, Options, Place, Reply, Request, Server, wait_until};
use serde_json::Value;

use crate::alerts;
use crate::common::{app, escaped};

/// A value that is in the configuration and may be nowhere else.
const CANARY: &str = "canary-5f0c1e9b7a";

fn at_apex(server: &Server, path: &str) -> Request {
    Request::get(&format!("localhost:{}", server.address().port()), path)
}

fn ask(server: &Server, token: &str, path: &str) -> Reply {
    at_apex(server, path).header("Authorization", &format!("Bearer {token}")).send(server.address()).unwrap()
}

fn token(server: &Server, arguments: &[&str]) -> String {
    let mut words = vec!["token", "create", "--name", "test"];
    words.extend(arguments);
    server.cli(&words).ok().stdout.trim().to_owned()
}

/// Runs the command line against the public address, as the holder of a token.
fn remote(server: &Server, token: &str, arguments: &[&str]) -> Answer {
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
    assert!(ask(&server, &admin, "/v1/instances").expect(429).header("retry-after").is_some());
    // The owner's own way in, and the tenants, notice nothing.
    server.cli(&["ps"]).ok();
    server.get("app:a", "/").expect(200);
    wait_until("the address has cooled down", || {
        (ask(&server, &admin, "/v1/instances").status == 200).then_some(())
    });
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

/// A value that an app prints, so that it has to be in its log: what looks for the other one can find something.
const PRINTED: &str = "printed-91c3d07e52";

/// What is asked of the daemon on this host and from elsewhere, as text and as JSON. `REQUEST` is a request's id.
const ASKED: [&[&str]; 27] = [
    &["ps"],
    &["inspect", "app:a"],
    &["inspect", "broken:a"],
    &["inspect", "loud:a"],
    &["why", "app:a"],
    &["why", "broken:a"],
    &["why", "loud:a"],
    &["why", "REQUEST"],
    &["requests"],
    &["requests", "app"],
    &["logs"],
    &["logs", "app:a"],
    &["events"],
    &["events", "broken:a"],
    &["health"],
    &["audit"],
    &["token", "ls"],
    &["openapi"],
    &["metrics"],
    &["usage"],
    &["usage", "app"],
    &["top", "--once"],
    &["alerts", "ls"],
    &["policy", "show", "app:a"],
    &["policy", "suggest", "app:a"],
    &["pool", "status"],
    &["version"],
];

/// What is asked of the daemon on its own host alone.
const HERE: [&[&str]; 2] = [&["config", "apply", "--dry-run"], &["config", "apply"]];

/// What reads the configuration by itself.
const READ: [&[&str]; 4] = [
    &["config", "show"],
    &["config", "show", "--defaults"],
    &["config", "check"],
    &["explain", "isolation", "app"],
];

/// What is asked over the network with a token.
const PATHS: [&str; 16] = [
    "/v1/health?token=x",
    "/v1/nothing",
    "/v1/instances",
    "/v1/instances/app:a",
    "/v1/instances/app:a/net",
    "/v1/instances/app:a/logs?tail=x",
    "/v1/instances/broken:a/why",
    "/v1/services/app/route",
    "/v1/audit",
    "/v1/events",
    "/v1/usage",
    "/v1/alerts",
    "/v1/requests",
    "/v1/tokens",
    "/v1/logs",
    "/metrics",
];

/// Everything that a daemon says, each with what was asked.
fn everything(server: &Server, admin: &str, request: &str) -> Vec<(String, String)> {
    let mut outputs = vec![("the daemon's own log".to_owned(), server.said())];
    let mut keep = |how: &str, words: &[&str], answer: Answer| {
        assert_eq!(answer.code, 0, "{how} {words:?}: {answer:?}");
        outputs.push((format!("{how} {words:?}"), format!("{}\n{}", answer.stdout, answer.stderr)));
    };
    for words in ASKED {
        let words: Vec<_> =
            words.iter().map(|word| if *word == "REQUEST" { request } else { word }).collect();
        let json = [&words[..], &["--json"]].concat();
        keep("here", &words, server.cli(&words));
        keep("here", &json, server.cli(&json));
        keep("elsewhere", &words, remote(server, admin, &words));
        keep("elsewhere", &json, remote(server, admin, &json));
    }
    let config = server.place().path().join("insula.toml");
    let read = READ.map(|words| [words, &["--config", config.to_str().unwrap()]].concat());
    for words in HERE.map(<[&str]>::to_vec).into_iter().chain(read) {
        let json = [&words[..], &["--json"]].concat();
        keep("here", &words, server.cli(&words));
        keep("here", &json, server.cli(&json));
    }
    outputs.extend(PATHS.map(|path| (path.to_owned(), ask(server, admin, path).text())));
    let processes = [server.parent(), server.worker(), server.agent("app:a"), server.app("app:a")];
    outputs.extend(processes.map(|process| ("a command line".to_owned(), process.command)));
    outputs.extend([server.parent(), server.worker()].map(|process| {
        let environ = std::fs::read(format!("/proc/{}/environ", process.pid)).unwrap();
        assert!(!environ.is_empty(), "nothing was looked at");
        (format!("the environment of {}", process.pid), String::from_utf8_lossy(&environ).into_owned())
    }));
    outputs
}

/// Those that hold these words.
fn holding<'a>(outputs: &'a [(String, String)], words: &str) -> Vec<&'a str> {
    outputs.iter().filter(|(_, text)| text.contains(words)).map(|(what, _)| what.as_str()).collect()
}

#[test]
fn a_seeded_secret_and_a_token_are_nowhere() {
    let (place, port) = (Place::new(), insula_tests::free_port());
    drop(alerts::key(&place));
    let receiver = alerts::receiver(&place, port);
    let loud = "echo $PASSWORD; exec python3 $APPS/app.py serve";
    let others = format!(
        "\n[service.broken]\ncommand = \"no-such-program\"\nworkdir = \"$APPS\"\nrestart = \"never\"\n\
         [service.broken.env]\nPASSWORD = \"{CANARY}\"\n\
         [service.loud]\ncommand = [\"sh\", \"-c\", \"{loud}\"]\nworkdir = \"$APPS\"\n\
         [service.loud.env]\nPASSWORD = \"{PRINTED}\"\n"
    );
    let hook = alerts::hook(port, "200", "\"failed\", \"start_failed\"");
    let services =
        "[observability]\ninstance_metrics = true\n".to_owned() + &app("serve", "", &["a"]) + &others + &hook;
    let config =
        services.replacen("[service.app.env]", &format!("[service.app.env]\nPASSWORD = \"{CANARY}\""), 1);
    let options = Options { env: vec![("INSULA_LOG".to_owned(), "debug".to_owned())], ..Options::default() };
    let server = Server::with(place, &config, &options);
    let about = server.get("app:a", "/about");
    assert!(about.text().contains(CANARY), "the app has no secret");
    server.cli(&["spawn", "loud:a"]).ok();
    let about_loud = server.get("loud:a", "/about").expect(200).text();
    assert!(about_loud.contains(PRINTED), "the control has none: {about_loud}");
    let admin = token(&server, &[]);
    let secret = admin.split('_').nth(3).unwrap();
    remote(&server, &admin, &["restart", "app:a"]).ok();
    assert_ne!(remote(&server, &admin, &["spawn", "broken:a"]).code, 0);
    wait_until("the control is printed", || {
        server.cli(&["logs", "loud:a"]).ok().stdout.contains(PRINTED).then_some(())
    });
    let bodies = wait_until("alerts are posted", || {
        let text = std::fs::read_to_string(server.place().path().join("taken")).ok()?;
        (text.contains("broken:a") && text.contains("start_failed")).then_some(text)
    });
    let mut outputs = everything(&server, &admin, about.header("insula-request-id").unwrap());
    outputs.push(("alerts that were posted".to_owned(), bodies));
    let wrong = admin.replacen(secret, &secret.replace('0', "1"), 1);
    outputs.push(("a wrong token".to_owned(), ask(&server, &wrong, "/v1/instances").text()));
    assert_eq!(holding(&outputs, CANARY), [""; 0], "the secret is there");
    assert_eq!(holding(&outputs, secret), [""; 0], "the token is there");
    // The same look finds what is there: in the log of who prints it, and nowhere else.
    let found = holding(&outputs, PRINTED);
    for what in ["here [\"logs\"]", "here [\"logs\", \"--json\"]", "elsewhere [\"logs\"]", "/v1/logs"] {
        assert!(found.contains(&what), "{what} does not hold what was printed; but {found:?} do");
    }
    assert!(found.iter().all(|what| what.contains("logs")), "what was printed is elsewhere, too: {found:?}");
    let home = server.place().home();
    assert!(holds(&home, PRINTED.as_bytes()), "nothing was looked at");
    assert!(!holds(&home, secret.as_bytes()), "the token is in a file of the home");
    assert!(!holds(&home, CANARY.as_bytes()), "the secret is in a file of the home");
    drop(receiver);
}

/// Whether any file below a folder holds these bytes.
fn holds(folder: &Path, words: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => holds(&entry.path(), words),
            kind if kind.is_file() => {
                std::fs::read(entry.path()).unwrap().windows(words.len()).any(|window| window == words)
            }
            _ => false,
        }
    })
}
