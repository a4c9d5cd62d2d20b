//! Sleeping instances, and requests that wake them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use insula_isolation::Exit;
use insula_services::{LeaseError, Observed};
use insula_store::EventKind;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fake::Start;
use super::{World, alice, ask, each, soon};

#[tokio::test]
async fn five_hundred_first_requests_start_one_workload_and_are_all_answered() {
    let world = World::new("").await;
    let mut requests = JoinSet::new();
    for _ in 0..500 {
        let services = world.services.clone();
        requests.spawn(async move {
            let lease = services.lease(&alice(), soon()).await.unwrap();
            ask(&lease).await.contains("200 OK")
        });
    }
    assert_eq!(requests.join_all().await.into_iter().filter(|ok| *ok).count(), 500);
    assert_eq!(world.host.launches(), 1);
    assert_eq!(world.events(EventKind::Woken, 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_on_many_threads_start_one_workload() {
    // Time cannot be stopped on several threads; nothing here needs it.
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let store = insula_store::Store::open(&dir.path().join("insula.db")).await.unwrap();
        let event = insula_store::Event::new(EventKind::Remembered, "the test begins");
        store.remember(&alice(), event).await.unwrap();
        let text = "[service.notes]\ncommand = \"app\"\n";
        let config = insula_spec::Config::parse(text, Path::new("/tmp/insula.toml")).unwrap();
        let host = super::Host::new();
        let services = super::start(&Arc::new(config), &host, &store).await;
        let mut requests = JoinSet::new();
        for _ in 0..100 {
            let services = services.clone();
            requests.spawn(async move { services.lease(&alice(), soon()).await.map(drop) });
        }
        assert!(requests.join_all().await.into_iter().all(|r| r.is_ok()));
        assert_eq!(host.launches(), 1);
    }
}

#[tokio::test]
async fn a_lease_tells_whether_it_had_to_wake_the_instance() {
    let world = World::new("").await;
    assert!(world.lease().await.unwrap().woke());
    assert!(!world.lease().await.unwrap().woke());
}

#[test]
fn a_failed_wake_answers_every_waiter_and_tells_when_to_try_again() {
    let cases = [
        (Start::NoProgram, "cannot execute `app`"),
        (Start::Exits(Exit::Code(3)), "exited with status 3 before it accepted connections"),
        (Start::NoWalls, "the agent failed: no luck"),
    ];
    each(cases, async |(start, word)| {
        let world = World::new("restart = \"never\"").await;
        world.host.plan([start]);
        let mut requests = JoinSet::new();
        for _ in 0..50 {
            let services = world.services.clone();
            requests.spawn(async move { services.lease(&alice(), soon()).await.unwrap_err() });
        }
        for error in requests.join_all().await {
            let LeaseError::Failed { why, retry_after } = error else { panic!("{error:?}") };
            assert!(why.contains(word), "{why}");
            assert!(retry_after >= Duration::from_secs(1));
        }
        world.until(Observed::Failed).await;
        assert_eq!((world.host.launches(), world.host.standing()), (1, 0));
        // Told when to come back, one that comes too early is refused without a start, a later one is not.
        assert!(matches!(world.lease().await, Err(LeaseError::Failed { .. })));
        assert_eq!(world.host.launches(), 1);
        world.pass(Duration::from_secs(60)).await;
        assert!(world.lease().await.is_ok());
    });
}

#[tokio::test]
async fn one_that_never_listens_fails_its_waiters_at_the_startup_timeout() {
    let world = World::new("restart = \"never\"\nstartup_timeout = \"5s\"").await;
    world.host.plan([Start::Mute]);
    let services = world.services.clone();
    let request = tokio::spawn(async move { services.lease(&alice(), soon()).await });
    world.until(Observed::Starting).await;
    world.host.until(|host| host.is_committed("notes:alice")).await;
    world.settle().await;
    world.pass(Duration::from_secs(5)).await;
    let error = request.await.unwrap().unwrap_err();
    let LeaseError::Failed { why, .. } = error else { panic!("{error:?}") };
    assert!(why.contains("did not accept connections within 5s"), "{why}");
    world.until(Observed::Failed).await;
    assert_eq!((world.host.stops(), world.host.standing()), (1, 0));
}

#[tokio::test]
async fn a_request_waits_no_longer_than_its_deadline() {
    let world = World::new("").await;
    world.host.plan([Start::Held]);
    let services = world.services.clone();
    let deadline = Instant::now() + Duration::from_secs(2);
    let request = tokio::spawn(async move { services.lease(&alice(), deadline).await });
    world.until(Observed::Starting).await;
    world.pass(Duration::from_secs(2)).await;
    assert!(matches!(request.await.unwrap(), Err(LeaseError::TimedOut { .. })));
    // The start goes on, and the next request finds it done.
    world.host.let_start();
    assert!(world.lease().await.is_ok());
    assert_eq!(world.host.launches(), 1);
}

#[tokio::test]
async fn a_request_waits_no_longer_than_its_service_may_take_to_answer() {
    let world = World::new("request_timeout = \"2s\"").await;
    world.host.plan([Start::Held]);
    let services = world.services.clone();
    let mut request =
        tokio::spawn(async move { services.lease(&alice(), Instant::now() + Duration::from_secs(60)).await });
    world.until(Observed::Starting).await;
    world.pass(Duration::from_millis(1900)).await;
    assert!(!request.is_finished(), "it gave up before its time");
    world.pass(Duration::from_millis(100)).await;
    assert!(matches!((&mut request).await.unwrap(), Err(LeaseError::TimedOut { .. })));
    // The start goes on, and the next request finds it done.
    world.host.let_start();
    assert!(world.lease().await.is_ok());
    assert_eq!(world.host.launches(), 1);
}

#[tokio::test]
async fn no_more_requests_wait_than_the_hold_queue_takes() {
    let world = World::new("hold_queue = 3").await;
    world.host.plan([Start::Held]);
    let mut requests = JoinSet::new();
    for _ in 0..3 {
        let services = world.services.clone();
        requests.spawn(async move { services.lease(&alice(), soon()).await });
    }
    world.settle().await;
    assert!(matches!(world.lease().await, Err(LeaseError::QueueFull { .. })));
    world.host.let_start();
    assert!(requests.join_all().await.into_iter().all(|r| r.is_ok()));
    assert!(world.lease().await.is_ok());
}

#[tokio::test]
async fn strangers_cannot_create_tenants() {
    let world = World::new("").await;
    let lease = async |name: &str| world.services.lease(&name.parse().unwrap(), soon()).await.unwrap_err();
    assert_eq!(lease("notes:mallory").await, LeaseError::UnknownInstance);
    assert_eq!(lease("shop:alice").await, LeaseError::UnknownService);
    assert_eq!(world.host.launches(), 0);
    // Spawned once by the operator, it is known.
    world.services.spawn(&"notes:mallory".parse().unwrap()).await.unwrap();
    assert!(world.services.lease(&"notes:mallory".parse().unwrap(), soon()).await.is_ok());
}
