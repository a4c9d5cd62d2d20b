//! The API as it is over the network: tokens, scopes, the audit log, the form of every refusal.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use insula_api::{Audit, Problem, TokenMade, Tokens, Who};
use insula_store::Store;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::fake::Fake;
use crate::control::{Admission, Control, Inside, Keys};

/// What came back.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// The problem, in the form that every refusal has.
    fn problem(&self, status: u16, code: &str) -> Problem {
        assert!(self.head.contains("content-type: application/problem+json"), "{}\n{}", self.head, self.body);
        let problem: Problem = self.json();
        assert_eq!((self.status, problem.status, &*problem.code), (status, status, code), "{}", self.body);
        assert!(!problem.cause.is_empty() && !problem.remediation.is_empty(), "{}", self.body);
        assert!(self.head.contains("insula-request-id: "), "{}", self.head);
        problem
    }
}

pub(super) struct Net {
    _dir: TempDir,
    fake: Arc<Fake>,
    keys: Arc<Keys>,
    inside: Inside,
}

impl Net {
    pub(super) async fn start(admission: Admission) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db")).await.unwrap();
        let fake = Arc::new(Fake::new());
        let control = Control::new(Arc::clone(&fake), Keys::new(store, admission));
        let keys = Arc::clone(control.keys());
        Self { _dir: dir, fake, keys, inside: control.inside(CancellationToken::new()) }
    }

    /// A token for this tenant, or for everything.
    async fn token(&self, tenant: Option<&str>) -> TokenMade {
        let tenant = tenant.map(|t| t.parse().unwrap());
        let request = insula_api::TokenRequest { name: "a test".into(), tenant, expires_in_ms: None };
        self.keys.create(request).await.unwrap()
    }

    pub(super) async fn raw(&self, request: String) -> Reply {
        let mut stream = self.inside.connect().unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {request:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    async fn ask_from(&self, from: &str, bearer: Option<&str>, what: &str, body: &str) -> Reply {
        let bearer = bearer.map(|b| format!("Authorization: Bearer {b}\r\n")).unwrap_or_default();
        let length = body.len();
        let fields =
            format!("insula-client: {from}\r\n{bearer}Content-Length: {length}\r\nConnection: close\r\n");
        self.raw(format!("{what} HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}")).await
    }

    async fn ask(&self, bearer: Option<&str>, what: &str, body: &str) -> Reply {
        self.ask_from("192.0.2.1", bearer, what, body).await
    }
}

const CHANGES: [&str; 3] = ["spawn", "stop", "restart"];

#[tokio::test]
async fn without_a_token_only_what_is_public_is_told() {
    let net = Net::start(Admission::Token).await;
    let health = net.ask(None, "GET /v1/health", "").await;
    assert_eq!(health.status, 200);
    for hidden in ["pid", "config", "epoch", "insula.toml", "instances", "memory"] {
        assert!(!health.body.contains(hidden), "{hidden}: {}", health.body);
    }
    assert_eq!(net.ask(None, "GET /openapi.json", "").await.status, 200);
    for endpoint in super::super::endpoints::all() {
        if ["health", "openapi"].contains(&endpoint.id) {
            continue;
        }
        let path = endpoint.path.replace("{name}", "notes:alice").replace("{id}", "0123456789ab");
        let reply = net.ask(None, &format!("{} {path}", endpoint.method), "").await;
        reply.problem(401, "no_token");
        assert!(reply.head.contains("www-authenticate: Bearer"), "{}", reply.head);
    }
    assert_eq!(net.fake.acted(), []);
}

#[tokio::test]
async fn an_admin_may_everything_and_a_tenant_its_own() {
    let net = Net::start(Admission::Token).await;
    let admin = net.token(None).await.token;
    let admin = Some(admin.expose());
    for path in ["instances", "instances/notes:alice", "instances/notes:alice/why", "tokens", "audit"] {
        assert_eq!(net.ask(admin, &format!("GET /v1/{path}"), "").await.status, 200, "{path}");
    }
    let full = net.ask(admin, "GET /v1/instances/notes:alice", "").await.body;
    assert!(full.contains("\"workdir\":\"/w\"") && full.contains("\"app_pid\":1"), "{full}");
    for tenant in ["notes", "notes:alice"] {
        let token = net.token(Some(tenant)).await.token;
        let token = Some(token.expose());
        for path in ["", "/why", "/logs"] {
            let reply = net.ask(token, &format!("GET /v1/instances/notes:alice{path}"), "").await;
            assert_eq!(reply.status, 200, "{tenant} {path}: {}", reply.body);
            assert!(!reply.body.contains("/w\"") && !reply.body.contains("\"app_pid\":1"), "{}", reply.body);
        }
        assert_eq!(net.ask(token, "POST /v1/instances/notes:alice/restart", "").await.status, 200);
        for what in ["GET /v1/instances", "GET /v1/tokens", "GET /v1/audit", "POST /v1/tokens"] {
            net.ask(token, what, "").await.problem(403, "out_of_scope");
        }
        for verb in ["spawn", "stop"] {
            let what = format!("POST /v1/instances/notes:alice/{verb}");
            net.ask(token, &what, "").await.problem(403, "out_of_scope");
        }
        net.ask(token, "POST /v1/instances/chat:alice/restart", "").await.problem(403, "out_of_scope");
        assert!(!net.ask(token, "GET /v1/health", "").await.body.contains("pid"));
    }
    // Whether another instance exists is not told either.
    let bob = net.token(Some("notes:bob")).await.token;
    for name in ["notes:alice", "notes:nobody", "chat:bob"] {
        let reply = net.ask(Some(bob.expose()), &format!("GET /v1/instances/{name}"), "").await;
        reply.problem(403, "out_of_scope");
    }
    net.ask(Some(bob.expose()), "GET /v1/instances/notes:bob", "").await.problem(404, "unknown_instance");
}

#[tokio::test]
async fn what_is_not_a_live_token_lets_nobody_in() {
    let net = Net::start(Admission::Token).await;
    let made = net.token(None).await;
    let good = made.token.expose();
    assert_eq!(net.ask(Some(good), "GET /v1/instances", "").await.status, 200);
    let other = net.token(None).await.token;
    let (id, secret) = (good.split('_').nth(2).unwrap(), other.expose().rsplit_once('_').unwrap().0);
    let mixed = secret.replace(secret.split('_').nth(2).unwrap(), id);
    let address: IpAddr = "192.0.2.77".parse().unwrap();
    for (i, bad) in
        ["", "x", &good[..good.len() - 1], &mixed, &good.to_uppercase(), "insula_a_0_0_0"].iter().enumerate()
    {
        let reply = net.ask_from(&format!("192.0.2.{}", 100 + i), Some(bad), "GET /v1/health", "").await;
        reply.problem(401, "wrong_token");
        assert!(reply.head.contains("error=\"invalid_token\""), "{}", reply.head);
        assert!(bad.is_empty() || !reply.body.contains(bad), "a token was echoed: {}", reply.body);
    }
    for field in ["Basic eDp4", "Bearer", good] {
        let head = format!(
            "GET /v1/instances HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {field}\r\n\r\n"
        );
        net.raw(head).await.problem(401, "wrong_token");
    }
    let revoked = net.ask(Some(other.expose()), &format!("DELETE /v1/tokens/{}", made.info.id), "").await;
    assert_eq!(revoked.status, 200, "{}", revoked.body);
    net.ask(Some(good), "GET /v1/instances", "").await.problem(401, "wrong_token");
    assert!(net.keys.check(good, address).await.is_err());
    // One that ended by itself.
    let request = insula_api::TokenRequest { name: "brief".into(), tenant: None, expires_in_ms: Some(1) };
    let brief = net.keys.create(request).await.unwrap();
    let over = || insula_api::Timestamp::now() > brief.info.expires.unwrap();
    while !over() {
        tokio::task::yield_now().await;
    }
    net.ask(Some(brief.token.expose()), "GET /v1/instances", "").await.problem(401, "wrong_token");
}

#[tokio::test]
async fn who_guesses_has_to_wait_and_others_do_not() {
    let net = Net::start(Admission::Token).await;
    let good = net.token(None).await.token;
    for _ in 0..10 {
        net.ask(Some("insula_guess"), "GET /v1/instances", "").await.problem(401, "wrong_token");
    }
    // Whatever is wrong, also what has the form of a token, or was one.
    let mut forged = good.expose().to_owned();
    forged.replace_range(60..61, if &forged[60..61] == "0" { "1" } else { "0" });
    let gone = net.token(None).await;
    net.keys.revoke(&gone.info.id).await.unwrap();
    for wrong in ["insula_guess", &forged, gone.token.expose()] {
        let told = net.ask(Some(wrong), "GET /v1/instances", "").await;
        told.problem(429, "cooling_down");
        assert!(told.head.contains("retry-after: "), "{}", told.head);
        // Who holds a token notices nothing, and ends no wait of others.
        assert_eq!(net.ask(Some(good.expose()), "GET /v1/instances", "").await.status, 200);
    }
    assert_eq!(net.ask_from("192.0.2.2", Some(good.expose()), "GET /v1/instances", "").await.status, 200);
    assert_eq!(net.ask(None, "GET /v1/health", "").await.status, 200, "what is public stays so");
}

#[tokio::test]
async fn a_token_is_shown_once_and_its_use_is_noted() {
    let net = Net::start(Admission::Token).await;
    let admin = net.token(None).await.token;
    let made = net.ask(Some(admin.expose()), "POST /v1/tokens", r#"{"name":"ci","tenant":"notes"}"#).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let made: TokenMade = made.json();
    assert!(made.token.expose().starts_with(&format!("insula_t_{}_", made.info.id)));
    let list = net.ask(Some(admin.expose()), "GET /v1/tokens", "").await;
    for token in [&admin, &made.token] {
        let secret = token.expose().split('_').nth(3).unwrap();
        assert!(!list.body.contains(secret), "a list shows a token: {}", list.body);
    }
    let used: Vec<_> = list.json::<Tokens>().tokens.iter().map(|t| t.last_used.is_some()).collect();
    assert_eq!(used, [true, false]);
    for bad in [
        "",
        "{}",
        r#"{"name":""}"#,
        r#"{"name":"a\nb"}"#,
        r#"{"name":"a","expires_in_ms":0}"#,
        r#"{"name":"a","expires_in_ms":99999999999999}"#,
        r#"{"name":"a","tenant":"notes:"}"#,
        "[",
    ] {
        net.ask(Some(admin.expose()), "POST /v1/tokens", bad).await.problem(400, "malformed");
    }
    net.ask(Some(admin.expose()), "DELETE /v1/tokens/0123456789ab", "").await.problem(404, "unknown_token");
}

#[tokio::test]
async fn every_change_is_written_down_with_its_result() {
    let net = Net::start(Admission::Token).await;
    let (admin, tenant) = (net.token(None).await, net.token(Some("notes:alice")).await);
    for verb in CHANGES {
        net.ask(Some(admin.token.expose()), &format!("POST /v1/instances/notes:alice/{verb}"), "").await;
    }
    net.ask(Some(admin.token.expose()), "POST /v1/instances/notes:eve/stop", r#"{"timeout_ms":5}"#).await;
    net.ask(Some(tenant.token.expose()), "POST /v1/instances/notes:alice/stop", "").await;
    net.ask(Some(admin.token.expose()), "POST /v1/tokens", r#"{"name":"words of a body"}"#).await;
    // Looking is no change, and who is not known fills no log.
    net.ask(Some(admin.token.expose()), "GET /v1/instances", "").await;
    net.ask(None, "POST /v1/instances/notes:alice/stop", "").await;
    let reply = net.ask(Some(admin.token.expose()), "GET /v1/audit?after=0", "").await;
    let audit: Audit = reply.json();
    let told: Vec<_> = audit
        .records
        .iter()
        .map(|r| {
            (
                r.path.rsplit('/').next().unwrap(),
                r.target.as_deref().unwrap_or("-"),
                r.status,
                r.code.as_deref(),
            )
        })
        .collect();
    let ok = Some("ok");
    assert_eq!(
        told,
        [
            ("spawn", "notes:alice", Some(200), ok),
            ("stop", "notes:alice", Some(200), ok),
            ("restart", "notes:alice", Some(200), ok),
            ("stop", "notes:eve", Some(404), Some("unknown_instance")),
            ("stop", "notes:alice", Some(403), Some("out_of_scope")),
            ("tokens", "-", Some(201), ok),
        ]
    );
    assert_eq!(audit.records[0].who, Who::Token { id: admin.info.id, name: "a test".into() });
    assert_eq!(audit.records[0].address.as_deref(), Some("192.0.2.1"));
    assert!(audit.records.iter().all(|r| r.request_id.len() == 16), "{audit:?}");
    assert!(!reply.body.contains("words of a body"), "{}", reply.body);
    for query in ["limit=0", "limit=1001", "limit=x", "before=1"] {
        let what = format!("GET /v1/audit?{query}");
        net.ask(Some(admin.token.expose()), &what, "").await.problem(400, "malformed");
    }
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_done() {
    let net = Net::start(Admission::Token).await;
    let admin = net.token(None).await.token;
    net.ask(Some(admin.expose()), "GET /v1/health", "").await;
    net.keys.store.limit_size(Some(1)).await.unwrap();
    let mut refused = false;
    for _ in 0..2000 {
        let reply = net.ask(Some(admin.expose()), "POST /v1/instances/notes:alice/stop", "").await;
        let acted = net.fake.acted().len();
        if reply.status == 500 {
            reply.problem(500, "store_unwritable");
            let again = net.ask(Some(admin.expose()), "POST /v1/instances/notes:alice/stop", "").await;
            refused = again.status == 500 && net.fake.acted().len() == acted;
            break;
        }
    }
    assert!(refused, "a full store refused nothing");
}

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let net = Net::start(Admission::Token).await;
    let admin = net.token(None).await.token;
    let ask = |what: &'static str, fields: String, body: String| {
        let (net, bearer) = (&net, admin.expose().to_owned());
        async move {
            let length = body.len();
            let fields = format!("Authorization: Bearer {bearer}\r\n{fields}Content-Length: {length}\r\n");
            net.raw(format!("{what} HTTP/1.1\r\nHost: x\r\n{fields}Connection: close\r\n\r\n{body}")).await
        }
    };
    let none = String::new;
    ask("GET /v1/nothing", none(), none()).await.problem(404, "no_route");
    let wrong = ask("PATCH /v1/tokens", none(), none()).await;
    wrong.problem(405, "method_not_allowed");
    assert!(wrong.head.to_lowercase().contains("allow: "), "{}", wrong.head);
    ask("GET /v1/instances/%ff", none(), none()).await.problem(400, "malformed");
    ask("GET /v1/instances/a%0ab", none(), none()).await.problem(400, "invalid_name");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n".to_owned();
    ask("POST /v1/tokens", form, "name=x".into()).await.problem(415, "media_type");
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(70_000));
    ask("POST /v1/tokens", none(), long).await.problem(413, "too_large");
    let json = "Content-Type: application/JSON; charset=utf-8\r\n".to_owned();
    assert_eq!(ask("POST /v1/tokens", json, "{\"name\":\"x\"}".into()).await.status, 201);
}

#[tokio::test]
async fn an_open_daemon_lets_the_loopback_in_but_no_web_page() {
    let net = Net::start(Admission::Anybody).await;
    assert_eq!(net.ask(None, "GET /v1/instances", "").await.status, 200);
    assert_eq!(net.ask(None, "POST /v1/instances/notes:alice/stop", "").await.status, 200);
    let page = "POST /v1/instances/notes:alice/stop HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\n\
                Content-Length: 0\r\nConnection: close\r\n\r\n";
    net.raw(page.to_owned()).await.problem(403, "cross_site");
    assert_eq!(net.fake.acted().len(), 1);
    let audit: Audit = net.ask(None, "GET /v1/audit", "").await.json();
    assert_eq!((audit.records.len(), &audit.records[0].who), (1, &Who::Anonymous));
}

#[tokio::test]
async fn a_client_that_leaves_is_written_down_too() {
    let net = Net::start(Admission::Token).await;
    let admin = net.token(None).await.token;
    let mut stream = net.inside.connect().unwrap();
    let bearer = admin.expose();
    let head = format!(
        "POST /v1/instances/notes:slow/stop HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\n"
    );
    stream.write_all(format!("{head}Content-Length: 0\r\n\r\n").as_bytes()).await.unwrap();
    let record = || async {
        net.keys.store.audit(insula_store::AuditQuery::default()).await.unwrap().into_iter().next()
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let mut stream = Some(stream);
    loop {
        assert!(tokio::time::Instant::now() < deadline, "the test hangs");
        match record().await {
            Some(row) if row.outcome.is_some() => {
                let outcome = row.outcome.unwrap();
                assert_eq!((outcome.status, &*outcome.code), (499, "client_gone"));
                return;
            }
            Some(_) => drop(stream.take()),
            None => {}
        }
        tokio::task::yield_now().await;
    }
}
