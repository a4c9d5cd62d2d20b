//! The API as its client sees it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use insula_api::{Client, ClientError, DeployRequest, LogsQuery, Problem, Routes};
use insula_spec::{InstanceId, InstanceName, ServiceName};
use insula_store::Store;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fake::Fake;
use crate::control::{Action, Admission, Control, Keys, Limits};

pub(super) struct Server {
    pub(super) dir: TempDir,
    pub(super) fake: Arc<Fake>,
    pub(super) stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(super) fn start(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
        let (fake, stop) = (Arc::new(Fake::new()), CancellationToken::new());
        let database = dir.path().join("state.db");
        let (rooms, end) = (Arc::clone(&fake), stop.clone());
        let task = tokio::spawn(async move {
            let store = Store::open(&database).await.unwrap();
            let control = Control::new(rooms, Keys::new(store, Admission::Token));
            control.serve(listener, limits, end).await
        });
        Self { dir, fake, stop, task }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    pub(super) fn client(&self) -> Client {
        Client::unix(self.socket())
    }

    /// Sends bytes, gives back everything that comes.
    pub(super) async fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    pub(super) async fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n");
        self.raw(&format!("{head}Connection: close\r\n\r\n{body}")).await
    }
}

pub(super) fn own() -> Limits {
    use std::os::unix::fs::MetadataExt;
    // Who owns a directory that this test made is who runs it.
    let dir = tempfile::tempdir().unwrap();
    Limits::of_owner(dir.path().metadata().unwrap().uid())
}

fn alice() -> InstanceName {
    "notes:alice".parse().unwrap()
}

fn problem(error: ClientError) -> Problem {
    let ClientError::Problem(problem) = error else { panic!("{error:?}") };
    *problem
}

#[tokio::test]
async fn every_call_is_answered() {
    let server = Server::start(own());
    let client = server.client();
    let health = client.health().await.unwrap();
    assert_eq!((health.instances.up, health.footprint.shells), (1, 2));
    let memory = (health.footprint.shells_memory_bytes, health.footprint.daemon_memory_bytes);
    assert_eq!(memory, (Some(4096), None), "what is not known must not come as a number");
    assert_eq!(client.instances().await.unwrap().instances.len(), 1);
    assert_eq!(client.inspect(&alice()).await.unwrap().command, ["app"]);
    assert_eq!(client.why(&alice()).await.unwrap().finding.code, "running");
    let timeout = Some(Duration::from_secs(3));
    client.spawn(&alice(), timeout).await.unwrap();
    client.stop(&alice(), None).await.unwrap();
    client.restart(&alice(), None).await.unwrap();
    let expected = [(Action::Spawn, timeout), (Action::Stop, None), (Action::Restart, None)];
    assert_eq!(server.fake.acted(), expected);
}

#[tokio::test]
async fn versions_are_deployed_and_weighed() {
    let server = Server::start(own());
    let client = server.client();
    let request = DeployRequest { weight: Some(10), timeout_ms: Some(5), ..DeployRequest::default() };
    assert!(client.deploy(&alice(), &request).await.unwrap().tenant);
    assert_eq!(server.fake.deployed(), [request]);
    let (api, notes): (ServiceName, ServiceName) = ("api".parse().unwrap(), "notes".parse().unwrap());
    let id = |text: &str| text.parse::<InstanceId>().unwrap();
    let weights =
        |routes: Routes| routes.versions.iter().map(|v| (v.id.to_string(), v.weight)).collect::<Vec<_>>();
    let set = client.weight(&api, [(id("v1"), 90), (id("v2"), 10)].into()).await.unwrap();
    assert_eq!(weights(set), [("v1".to_owned(), 90), ("v2".to_owned(), 10)]);
    let swapped = client.route(&api, (id("v1"), id("v2")), None).await.unwrap();
    assert_eq!(weights(swapped), [("v1".to_owned(), 0), ("v2".to_owned(), 100)]);
    assert_eq!(client.routes(&api).await.unwrap().versions.len(), 2);
    let refused = problem(client.routes(&notes).await.unwrap_err());
    assert_eq!((refused.status, &*refused.code), (409, "has_tenants"));
}

#[tokio::test]
async fn who_is_not_known_is_told_so_everywhere() {
    let server = Server::start(own());
    let client = server.client();
    let eve: InstanceName = "notes:eve".parse().unwrap();
    let logs = client.logs(&eve, LogsQuery::default()).await.map(|_| ());
    let why = client.why(&eve).await.map(|_| ());
    let spawn = client.spawn(&eve, None).await.map(|_| ());
    let inspect = client.inspect(&eve).await.map(|_| ());
    for result in [logs, why, spawn, inspect] {
        let problem = problem(result.unwrap_err());
        assert_eq!((problem.status, &*problem.code), (404, "unknown_instance"));
        assert!(problem.remediation.contains("insula spawn notes:eve"), "{}", problem.remediation);
    }
}

#[tokio::test]
async fn what_is_not_understood_is_refused_as_a_problem() {
    let server = Server::start(own());
    for (method, path, body, status, code) in [
        ("GET", "/", "", 404, "no_route"),
        ("GET", "/v1/nothing", "", 404, "no_route"),
        ("GET", "/v2/health", "", 404, "no_route"),
        ("POST", "/v1/health", "", 405, "method_not_allowed"),
        ("GET", "/v1/instances/notes:alice/stop", "", 405, "method_not_allowed"),
        ("GET", "/v1/instances/notes", "", 400, "invalid_name"),
        ("GET", "/v1/instances/notes:..%2f..", "", 400, "invalid_name"),
        ("POST", "/v1/instances/notes:alice/stop", "{\"force\":true}", 400, "malformed"),
        ("POST", "/v1/instances/notes:alice/stop", "[", 400, "malformed"),
        ("POST", "/v1/instances/notes:alice/deploy", "{\"weight\":300}", 400, "malformed"),
        ("POST", "/v1/services/API/weight", "{\"weights\":{}}", 400, "invalid_name"),
        ("POST", "/v1/services/api/weight", "", 400, "malformed"),
        ("POST", "/v1/services/api/route", "{\"from\":\"v1\"}", 400, "malformed"),
        ("PUT", "/v1/services/api/route", "", 405, "method_not_allowed"),
        ("GET", "/v1/instances/notes:alice/logs?tail=-1", "", 400, "malformed"),
        ("GET", "/v1/instances/notes:alice/logs?grep=x", "", 400, "malformed"),
        ("GET", "/v1/instances/notes:alice/logs?tail=1&after=1", "", 400, "malformed"),
    ] {
        let answer = server.ask(method, path, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{method} {path}: {answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{method} {path}: {answer}");
    }
    assert_eq!(server.fake.acted(), [], "a refused request did something");
    // The nearest valid requests pass.
    for (method, path, body) in [
        ("GET", "/v1/health", ""),
        ("POST", "/v1/instances/notes:alice/stop", "{}"),
        ("POST", "/v1/instances/notes:alice/stop", ""),
        ("GET", "/v1/instances/notes:alice/logs?tail=1", ""),
    ] {
        let answer = server.ask(method, path, body).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn logs_begin_where_asked_and_end_without_follow() {
    let server = Server::start(own());
    for text in ["one", "two", "three"] {
        server.fake.write(text);
    }
    let client = server.client();
    for (query, expected) in [
        (LogsQuery::default(), vec!["one", "two", "three"]),
        (LogsQuery { tail: Some(2), ..LogsQuery::default() }, vec!["two", "three"]),
        (LogsQuery { after: Some(2), ..LogsQuery::default() }, vec!["three"]),
        (LogsQuery { after: Some(9), ..LogsQuery::default() }, vec![]),
    ] {
        let mut stream = client.logs(&alice(), query).await.unwrap();
        let mut got = vec![];
        while let Some(line) = stream.next().await.unwrap() {
            got.push(line.text);
        }
        assert_eq!(got, expected, "{query:?}");
    }
}

#[tokio::test]
async fn a_followed_log_goes_on_as_lines_come_and_ends_with_the_server() {
    let server = Server::start(own());
    server.fake.write("before");
    let query = LogsQuery { follow: true, ..LogsQuery::default() };
    let mut stream = server.client().logs(&alice(), query).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().text, "before");
    for i in 0..100 {
        server.fake.write(&i.to_string());
        assert_eq!(stream.next().await.unwrap().unwrap().text, i.to_string());
    }
    server.stop.cancel();
    server.task.await.unwrap().unwrap();
    assert!(stream.next().await.is_err(), "a server that is gone must be told");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let server = Server::start(Limits { connections: 1, ..own() });
    let holder = UnixStream::connect(server.socket()).await.unwrap();
    let waiting = tokio::spawn({
        let client = server.client();
        async move { client.health().await }
    });
    // The holder is served: its request is answered although another waits.
    let mut holder = holder;
    holder.write_all(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut byte = [0];
    holder.read_exact(&mut byte).await.unwrap();
    assert!(!waiting.is_finished(), "it was served beside the only connection");
    drop(holder);
    waiting.await.unwrap().unwrap();
}
