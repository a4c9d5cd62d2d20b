//! A secret that is seeded, and a token, are in nothing that Insula says or writes.

use std::path::Path;

use insula_tests::{Answer, Options, Place, Server, wait_until};

use crate::alerts;
use crate::api::{ask, remote, token};
use crate::common::app;

/// A value that is in the configuration and may be nowhere else.
const CANARY: &str = "canary-5f0c1e9b7a";

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
