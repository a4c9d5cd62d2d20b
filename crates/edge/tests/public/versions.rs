//! Requests to a service: versions that give no lease, no connection or no answer are passed over.

use std::path::Path;

use insula_edge::public::{Routes, Settings};
use insula_spec::Config;

use crate::harness::{App, Front, request, status};

fn to(service: &str, method: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    request(method, "/", &length, body).replace("alice.notes.localhost", &format!("{service}.localhost"))
}

#[tokio::test]
async fn a_version_without_lease_or_connection_is_passed_over() {
    let (app, _heads) = App::echo().await;
    for service in ["alice", "stopped-broken-full-alice", "gone-alice", "stopped-gone-broken-alice"] {
        let mut front = Front::before(&app).await;
        let (head, body) = front.ask(to(service, "POST", "once")).await;
        assert_eq!((status(&head), body.as_str()), (200, "/ once"), "{service}");
        assert_eq!(front.told.recv().await.unwrap().instance, Some(format!("{service}:alice")));
    }
}

#[tokio::test]
async fn the_last_failure_stands_where_nobody_is_left() {
    let (app, _heads) = App::echo().await;
    let front = Front::before(&app).await;
    for (service, code) in [
        ("stopped-broken", "failed"),
        ("broken-stopped", "stopped"),
        ("slow-alice", "wake_timed_out"),
        ("down-alice", "shutting_down"),
        ("notes", "needs_instance"),
    ] {
        let (_, body) = front.ask(to(service, "GET", "")).await;
        assert!(body.contains(&format!("\"code\":\"{code}\"")), "{service}: {body}");
    }
}

#[tokio::test]
async fn only_what_may_be_repeated_goes_to_another_version_after_silence() {
    let (app, mut heads) = App::echo().await;
    let front = Front::before(&app).await;
    let (head, _) = front.ask(to("mute-alice", "GET", "")).await;
    assert_eq!(status(&head), 200);
    assert!(heads.recv().await.unwrap().starts_with("GET "));
    let (head, body) = front.ask(to("mute-alice", "POST", "once")).await;
    assert_eq!(status(&head), 502, "{body}");
    assert!(body.contains("no_answer") && heads.try_recv().is_err(), "a POST was sent twice");
}

#[tokio::test]
async fn each_request_of_a_connection_goes_where_its_path_leads() {
    let text = "[service.web]\ncommand = \"./{id}\"\n[service.alice]\ncommand = \"./{id}\"\n\
                [routing]\ndefault = \"alice\"\npath = { \"/old\" = \"web:stopped\" }\n";
    let config = Config::parse(text, Path::new("/app/insula.toml")).unwrap();
    let settings = Settings { routes: Routes::of(&config), ..Settings::new("localhost") };
    let (app, _heads) = App::echo().await;
    let front = Front::with(&app, settings, std::time::Duration::from_secs(60)).await;
    let mut client = front.client().await;
    for (path, expected) in [("/", 200), ("/old", 503), ("/older", 200), ("/old/x", 503), ("/", 200)] {
        let asked = request("GET", path, "", "").replace("alice.notes.localhost", "localhost");
        client.send(asked).await;
        assert_eq!(status(&client.response().await.0), expected, "{path}");
    }
}
