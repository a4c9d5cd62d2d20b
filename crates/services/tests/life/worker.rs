//! A worker that goes, and the next one that takes over.

use std::time::Duration;

use insula_isolation::Exit;
use insula_services::{LeaseError, Observed};
use insula_store::{EventKind, LogQuery};

use super::fake::Start;
use super::{World, alice, ask, soon, until};

const DECLARED: &str = "[service.notes]\ncommand = \"app\"\n[instances]\nnotes = [\"alice\", \"bob\"]\n";

#[tokio::test]
async fn declared_instances_are_up_after_the_start() {
    let world = World::with(DECLARED, &[]).await;
    for name in ["notes:alice", "notes:bob"] {
        until(&world.services, &name.parse().unwrap(), Observed::Running).await;
    }
    assert_eq!(world.host.launches(), 2);
}

#[tokio::test]
async fn one_that_went_to_sleep_or_was_stopped_is_left_alone_at_the_next_start() {
    let config = "[service.notes]\ncommand = \"app\"\nidle_timeout = \"60s\"\n[instances]\nnotes = [\"alice\", \"bob\"]\n";
    let mut world = World::with(config, &[]).await;
    let bob = "notes:bob".parse().unwrap();
    until(&world.services, &bob, Observed::Running).await;
    world.services.stop(&bob).await.unwrap();
    world.until(Observed::Running).await;
    world.settle().await;
    world.pass(Duration::from_secs(60)).await;
    world.until(Observed::Asleep).await;
    world.services.shutdown(Duration::ZERO).await;
    world.take_over().await;
    world.settle().await;
    assert_eq!(world.services.status(&alice()).unwrap().observed, Observed::Asleep);
    assert_eq!(world.services.status(&bob).unwrap().observed, Observed::Stopped);
    assert_eq!(world.host.launches(), 2);
    assert!(world.lease().await.is_ok());
}

#[tokio::test]
async fn the_next_worker_finds_what_runs() {
    let mut world = World::with(DECLARED, &[]).await;
    world.until(Observed::Running).await;
    until(&world.services, &"notes:bob".parse().unwrap(), Observed::Running).await;
    let lease = world.lease().await.unwrap();
    ask(&lease).await;
    world.services.detach().await;
    let workload = world.host.workload("notes:alice");
    world.take_over().await;
    world.until(Observed::Running).await;
    assert!(ask(&world.lease().await.unwrap()).await.contains("200 OK"));
    assert!(workload.is_alive());
    assert_eq!((world.host.launches(), world.host.stops(), world.host.adoptions()), (2, 0, 2));
    // It is supervised again.
    workload.end(Exit::Signal(11));
    world.relaunched(1).await;
    world.until(Observed::Running).await;
}

#[tokio::test]
async fn a_start_that_is_being_committed_outlives_the_worker() {
    let mut world = World::new("").await;
    world.host.plan([Start::Mute]);
    let services = world.services.clone();
    let request = tokio::spawn(async move { services.lease(&alice(), soon()).await });
    world.host.until(|host| host.launches() == 1 && host.standing() == 1).await;
    world.services.detach().await;
    assert!(matches!(request.await.unwrap(), Err(LeaseError::ShuttingDown)));
    assert!(world.host.is_committed("notes:alice"));
    world.take_over().await;
    world.host.workload("notes:alice").listen_now().await;
    assert!(ask(&world.lease().await.unwrap()).await.contains("200 OK"));
    assert_eq!((world.host.launches(), world.host.adoptions()), (1, 1));
}

#[tokio::test]
async fn a_frozen_one_is_adopted_frozen() {
    let mut world = World::new("idle_timeout = \"60s\"\nsleep = \"freeze\"").await;
    drop(world.lease().await.unwrap());
    world.settle().await;
    world.pass(Duration::from_secs(60)).await;
    world.until(Observed::Frozen).await;
    world.services.detach().await;
    world.take_over().await;
    world.until(Observed::Frozen).await;
    assert!(ask(&world.lease().await.unwrap()).await.contains("200 OK"));
    assert_eq!(world.host.launches(), 1);
}

#[tokio::test]
async fn what_is_gone_is_written_down_and_what_nobody_knows_is_swept() {
    let mut world = World::with(DECLARED, &[]).await;
    world.until(Observed::Running).await;
    until(&world.services, &"notes:bob".parse().unwrap(), Observed::Running).await;
    world.services.detach().await;
    world.host.refuse_adoption();
    world.take_over().await;
    world.until(Observed::Running).await;
    until(&world.services, &"notes:bob".parse().unwrap(), Observed::Running).await;
    assert_eq!(world.events(EventKind::Lost, 1).await, ["its agent does not answer: no such walls"]);
    assert_eq!((world.host.standing(), world.host.launches()), (2, 4), "the old ones were swept");
}

#[tokio::test]
async fn a_service_that_is_not_configured_any_more_is_ended() {
    let mut world = World::with(DECLARED, &[]).await;
    world.until(Observed::Running).await;
    until(&world.services, &"notes:bob".parse().unwrap(), Observed::Running).await;
    world.services.detach().await;
    let text = "[service.shop]\ncommand = \"app\"\n";
    let config = insula_spec::Config::parse(text, std::path::Path::new("/tmp/insula.toml")).unwrap();
    world.config = std::sync::Arc::new(config);
    world.take_over().await;
    world.services.shutdown(Duration::ZERO).await;
    assert_eq!((world.host.standing(), world.host.stops()), (0, 2));
    assert!(world.store.instance(&alice()).await.unwrap().unwrap().record.is_none());
}

#[tokio::test]
async fn captured_lines_are_stored_and_then_acknowledged() {
    let world = World::new("").await;
    drop(world.lease().await.unwrap());
    let workload = world.host.workload("notes:alice");
    assert!(workload.write(0..4, "hello") && workload.write(4..10, "again"));
    workload.acked().wait_for(|seq| *seq == 10).await.unwrap();
    let page = world.store.logs(LogQuery::of(alice())).await.unwrap();
    assert_eq!(page.rows.len(), 10);
    assert_eq!(page.rows[9].bytes, b"again");
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_store_refuses_and_nothing_is_lost() {
    let world = World::new("").await;
    drop(world.lease().await.unwrap());
    let workload = world.host.workload("notes:alice");
    world.store.limit_size(Some(1)).await.unwrap();
    let text = "x".repeat(16_000);
    let mut sent = 0;
    // The pump holds one batch, the channel four: the sixth finds no room while the first is not stored.
    while workload.write(sent..sent + 100, &text) {
        sent += 100;
        world.settle().await;
    }
    assert_eq!(*workload.acked().borrow(), 0);
    world.store.limit_size(None).await.unwrap();
    let acked = workload.acked();
    while *acked.borrow() < sent {
        world.pass(Duration::from_secs(1)).await;
        world.settle().await;
    }
    let query = LogQuery { tail: Some(10_000), ..LogQuery::of(alice()) };
    let newest = world.store.logs(query).await.unwrap().rows.pop().unwrap();
    assert_eq!((newest.seq + 1, newest.bytes.len()), (sent, 16_000));
}

#[tokio::test]
async fn streams_of_the_earlier_worker_keep_their_instance_awake() {
    const IDLE: Duration = Duration::from_secs(60);
    let mut world = World::new("idle_timeout = \"60s\"").await;
    let stream = world.lease().await.unwrap();
    world.services.detach().await;
    let lingering = world.services.lingering();
    assert_eq!(lingering.iter().map(|l| l.instance().clone()).collect::<Vec<_>>(), [alice()]);
    assert!(matches!(world.lease().await, Err(LeaseError::ShuttingDown)), "somebody came in behind it");
    let held = world.take_over_holding(vec![alice(), "notes:nobody".parse().unwrap()]).await;
    assert_eq!(held.len(), 1, "only what runs is held");
    let mut leases = Vec::new();
    for one in held {
        leases.extend(one.lease().await);
    }
    world.until(Observed::Running).await;
    world.settle().await;
    world.pass(IDLE * 3).await;
    world.settle().await;
    assert_eq!(world.services.status(&alice()).unwrap().observed, Observed::Running, "it slept while held");
    // The last stream ends: the old worker sees it, says so, and the hold goes.
    let ended = tokio::spawn(lingering.into_iter().next().unwrap().ended());
    world.settle().await;
    assert!(!ended.is_finished());
    drop(stream);
    ended.await.unwrap();
    drop(leases);
    world.settle().await;
    world.pass(IDLE).await;
    world.until(Observed::Asleep).await;
}

#[tokio::test]
async fn an_instance_nobody_is_inside_of_does_not_linger() {
    let world = World::new("").await;
    drop(world.lease().await.unwrap());
    world.services.detach().await;
    assert!(world.services.lingering().is_empty());
}
