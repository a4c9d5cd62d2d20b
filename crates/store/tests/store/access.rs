//! Tokens and the audit log.

use std::time::{Duration, SystemTime};

use insula_spec::Scope;
use insula_store::{Actor, AuditEntry, AuditQuery, Ending, NewToken, Outcome, Store, Whom};

use crate::Home;

fn token(id: &str, scope: Scope) -> NewToken {
    let name = format!("token {id}");
    NewToken { id: id.to_owned(), name, scope, hash: [7; 32], expires: None }
}

fn entry(actor: Actor, request: &str) -> AuditEntry {
    AuditEntry {
        actor,
        address: None,
        method: "POST".to_owned(),
        path: "/v1/instances/{name}/stop".to_owned(),
        target: Some("notes:alice".to_owned()),
        request: request.to_owned(),
    }
}

async fn requests(store: &Store, query: AuditQuery) -> Vec<String> {
    store.audit(query).await.unwrap().into_iter().map(|row| row.entry.request).collect()
}

#[tokio::test]
async fn tokens_come_back_as_they_were_after_a_restart() {
    let home = Home::new();
    let store = home.open().await;
    let expires = Some(SystemTime::now() + Duration::from_secs(3600));
    let tenant = Scope::Tenant("notes:alice".parse().unwrap());
    store.add_token(token("a", Scope::Admin)).await.unwrap();
    let made = store.add_token(NewToken { expires, ..token("b", tenant.clone()) }).await.unwrap();
    assert_eq!((&made.scope, made.last_used, made.revoked), (&tenant, None, None));
    assert!(made.expires.is_some());
    store.close().await.unwrap();
    let store = home.open().await;
    assert_eq!(store.token("b").await.unwrap(), Some(made));
    assert_eq!(store.tokens().await.unwrap().len(), 2);
    assert_eq!(store.token("c").await.unwrap(), None);
}

#[tokio::test]
async fn an_id_is_given_once_and_a_revocation_lasts() {
    let home = Home::new();
    let store = home.open().await;
    store.add_token(token("a", Scope::Admin)).await.unwrap();
    store.add_token(token("a", Scope::Admin)).await.unwrap_err();
    store.touch_token("a").await.unwrap();
    let first = store.revoke_token("a").await.unwrap().unwrap();
    assert!(first.revoked.is_some() && first.last_used.is_some());
    assert_eq!(store.revoke_token("a").await.unwrap(), Some(first), "the first revocation counts");
    assert_eq!(store.revoke_token("b").await.unwrap(), None);
}

#[tokio::test]
async fn the_table_takes_no_scope_that_could_be_misread() {
    let home = Home::new();
    let store = home.open().await;
    let stranger = home.stranger();
    let insert = |scope: &str, tenant: &str, hash: &str| {
        let values = format!("('x', 'x', {scope}, {tenant}, {hash}, 1)");
        stranger.execute(
            &format!("INSERT INTO token (id, name, scope, tenant, hash, created) VALUES {values}"),
            [],
        )
    };
    for (scope, tenant, hash) in [
        ("'tenant'", "NULL", "zeroblob(32)"),
        ("'admin'", "'notes'", "zeroblob(32)"),
        ("'root'", "NULL", "zeroblob(32)"),
        ("NULL", "NULL", "zeroblob(32)"),
        ("'admin'", "NULL", "zeroblob(31)"),
    ] {
        assert!(insert(scope, tenant, hash).is_err(), "{scope} {tenant} {hash} was let in");
    }
    insert("'tenant'", "'a:b:c'", "zeroblob(32)").unwrap();
    store.token("x").await.unwrap_err();
}

#[tokio::test]
async fn a_change_is_there_before_its_outcome() {
    let home = Home::new();
    let store = home.open().await;
    let actor = Actor::Token { id: "a".to_owned(), name: "ci".to_owned() };
    let id = store.audit_begin(entry(actor.clone(), "r1")).await.unwrap();
    let row = store.audit(AuditQuery::default()).await.unwrap().remove(0);
    assert_eq!((row.id, &row.entry, row.outcome), (id, &entry(actor, "r1"), None));
    let outcome = Outcome { status: 404, code: "unknown_instance".to_owned() };
    store.audit_finish(id, outcome.clone()).await.unwrap();
    assert_eq!(store.audit(AuditQuery::default()).await.unwrap().remove(0).outcome, Some(outcome));
    for actor in [Actor::Unix { uid: 0 }, Actor::Anonymous, Actor::Signal] {
        let id = store.audit_begin(entry(actor.clone(), "r2")).await.unwrap();
        let query = AuditQuery { after: Some(id - 1), ..AuditQuery::default() };
        assert_eq!(store.audit(query).await.unwrap().remove(0).entry.actor, actor);
    }
}

#[tokio::test]
async fn rows_are_read_newest_first_or_from_a_place_on() {
    let home = Home::new();
    let store = home.open().await;
    for i in 1..=5 {
        store.audit_begin(entry(Actor::Anonymous, &format!("r{i}"))).await.unwrap();
    }
    let newest = AuditQuery { limit: Some(2), ..AuditQuery::default() };
    assert_eq!(requests(&store, newest).await, ["r5", "r4"]);
    let on = AuditQuery { after: Some(2), limit: Some(2), ..AuditQuery::default() };
    assert_eq!(requests(&store, on).await, ["r3", "r4"]);
    assert!(requests(&store, AuditQuery { after: Some(u64::MAX), ..AuditQuery::default() }).await.is_empty());
}

#[tokio::test]
async fn only_what_fits_everything_that_is_asked_is_read() {
    let home = Home::new();
    let store = home.open().await;
    let token = Actor::Token { id: "aa".to_owned(), name: "ci".to_owned() };
    let rows = [
        ("r1", Actor::Unix { uid: 0 }, "/stop", Some("notes:alice"), Some((200, "ok"))),
        ("r2", token.clone(), "/stop", Some("notes:bob"), Some((404, "unknown_instance"))),
        ("r3", token, "/spawn", Some("notes"), Some((200, "ok"))),
        ("r4", Actor::Anonymous, "/spawn", Some("notes2:alice"), None),
        ("r5", Actor::Signal, "/spawn", None, Some((403, "out_of_scope"))),
    ];
    for (request, actor, path, target, outcome) in rows {
        let row =
            AuditEntry { path: path.to_owned(), target: target.map(str::to_owned), ..entry(actor, request) };
        let id = store.audit_begin(row).await.unwrap();
        if let Some((status, code)) = outcome {
            store.audit_finish(id, Outcome { status, code: code.to_owned() }).await.unwrap();
        }
    }
    let all = AuditQuery { after: Some(0), ..AuditQuery::default() };
    let who = |who| AuditQuery { who: Some(who), ..all.clone() };
    let target = |text: &str| AuditQuery { target: Some(text.to_owned()), ..all.clone() };
    let action = |path: Option<&str>| AuditQuery {
        action: Some(("POST".to_owned(), path.map(str::to_owned))),
        ..all.clone()
    };
    let ended = |ending| AuditQuery { result: Some(ending), ..all.clone() };
    let both = AuditQuery { result: Some(Ending::Failed), ..who(Whom::Token("aa".to_owned())) };
    let none = AuditQuery { result: Some(Ending::Open), ..who(Whom::Signal) };
    for (query, expected) in [
        (all.clone(), &["r1", "r2", "r3", "r4", "r5"][..]),
        (who(Whom::Unix(0)), &["r1"]),
        (who(Whom::Unix(1)), &[]),
        (who(Whom::Token("aa".to_owned())), &["r2", "r3"]),
        (who(Whom::Token("a".to_owned())), &[]),
        (who(Whom::Anonymous), &["r4"]),
        (who(Whom::Signal), &["r5"]),
        (target("notes"), &["r1", "r2", "r3"]),
        (target("notes:bob"), &["r2"]),
        (target("note"), &[]),
        (target("%"), &[]),
        (action(Some("/stop")), &["r1", "r2"]),
        (action(None), &["r1", "r2", "r3", "r4", "r5"]),
        (ended(Ending::Failed), &["r2", "r5"]),
        (ended(Ending::Open), &["r4"]),
        (ended(Ending::Code("ok".to_owned())), &["r1", "r3"]),
        (both, &["r2"]),
        (none, &[]),
        (AuditQuery { limit: Some(1), ..ended(Ending::Failed) }, &["r2"]),
        (AuditQuery { after: None, limit: Some(1), ..ended(Ending::Failed) }, &["r5"]),
    ] {
        assert_eq!(requests(&store, query.clone()).await, expected, "{query:?}");
    }
    let times: Vec<_> = store.audit(all.clone()).await.unwrap().into_iter().map(|row| row.time).collect();
    let between = AuditQuery { since: Some(times[1]), until: Some(times[4]), ..all };
    let within = (0..5).filter(|i| (times[1]..times[4]).contains(&times[*i]));
    let expected: Vec<_> = within.map(|i| format!("r{}", i + 1)).collect();
    assert_eq!(requests(&store, between).await, expected);
    assert!(times[1] < times[4], "the clock stood still");
}

#[tokio::test]
async fn nobody_pushes_out_what_others_did() {
    let home = Home::new();
    let store = home.open().await;
    store.audit_begin(entry(Actor::Unix { uid: 1 }, "mine")).await.unwrap();
    // As if somebody had been busy for a long time.
    let stranger = home.stranger();
    let busy = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10100)
        INSERT INTO audit (time, actor, method, path, request) SELECT i, 'anonymous', 'POST', '/', 'old' FROM n";
    stranger.execute(busy, []).unwrap();
    for _ in 0..64 {
        store.audit_begin(entry(Actor::Anonymous, "new")).await.unwrap();
    }
    let count = |actor: &str| {
        let sql = "SELECT count(*) FROM audit WHERE actor = ?1";
        stranger.query_row(sql, [actor], |row| row.get::<_, u32>(0)).unwrap()
    };
    assert!((10_000..10_064).contains(&count("anonymous")), "{}", count("anonymous"));
    assert_eq!(count("unix:1"), 1);
}
