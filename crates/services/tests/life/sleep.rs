//! Idle instances, and what keeps them awake.

use std::time::Duration;

use insula_services::Observed;
use insula_store::EventKind;
use tokio::task::JoinSet;

use super::{TICK, World, alice, ask, soon};

const IDLE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn it_sleeps_when_nobody_was_inside_for_the_idle_timeout_and_not_before() {
    let world = World::new("idle_timeout = \"60s\"").await;
    let lease = world.lease().await.unwrap();
    world.pass(IDLE * 10).await;
    ask(&lease).await;
    assert_eq!(
        world.services.status(&alice()).unwrap().observed,
        Observed::Running,
        "an open lease keeps it awake"
    );
    drop(lease);
    world.settle().await;
    world.pass(IDLE - TICK * 3).await;
    world.settle().await;
    assert_eq!(world.services.status(&alice()).unwrap().observed, Observed::Running);
    world.pass(TICK * 2).await;
    world.until(Observed::Asleep).await;
    assert_eq!((world.host.stops(), world.host.standing()), (1, 0));
    assert_eq!(world.events(EventKind::Slept, 1).await, ["idle"]);
}

#[tokio::test]
async fn one_that_waits_for_the_end_of_a_run_does_not_keep_it_awake() {
    let world = World::new("idle_timeout = \"60s\"").await;
    let held = world.lease().await.unwrap();
    let ended = world.lease().await.unwrap().ended();
    world.settle().await;
    world.pass(IDLE * 2).await;
    world.settle().await;
    assert_eq!(world.services.status(&alice()).unwrap().observed, Observed::Running, "a lease is held");
    drop(held);
    world.settle().await;
    world.pass(IDLE).await;
    ended.await;
    world.until(Observed::Asleep).await;
}

#[tokio::test]
async fn without_an_idle_timeout_it_never_sleeps() {
    let world = World::new("").await;
    drop(world.lease().await.unwrap());
    world.settle().await;
    world.pass(IDLE * 10_000).await;
    world.settle().await;
    assert_eq!(world.services.status(&alice()).unwrap().observed, Observed::Running);
}

#[tokio::test]
async fn requests_exactly_at_the_idle_limit_all_succeed() {
    let world = World::new("idle_timeout = \"60s\"").await;
    drop(world.lease().await.unwrap());
    for round in 0..200_u32 {
        world.settle().await;
        let mut requests = JoinSet::new();
        for _ in 0..8 {
            let services = world.services.clone();
            requests.spawn(async move {
                tokio::time::sleep(IDLE).await;
                let lease = services.lease(&alice(), soon()).await.unwrap();
                ask(&lease).await.contains("200 OK")
            });
        }
        world.settle().await;
        // Sometimes the requests' timers fire first, sometimes the keeper's.
        world.pass(IDLE - TICK * (round % 4)).await;
        world.pass(TICK * 4).await;
        assert!(requests.join_all().await.into_iter().all(|ok| ok), "a request was lost in round {round}");
    }
    assert!(world.host.launches() > 1, "it never slept: the race was not run");
}

#[tokio::test]
async fn a_frozen_one_keeps_its_memory_and_is_thawed_by_a_request() {
    let world = World::new("idle_timeout = \"60s\"\nsleep = \"freeze\"").await;
    ask(&world.lease().await.unwrap()).await;
    let workload = world.host.workload("notes:alice");
    for wakes in 2..5 {
        world.settle().await;
        world.pass(IDLE).await;
        world.until(Observed::Frozen).await;
        assert!(workload.is_frozen());
        let lease = world.lease().await.unwrap();
        assert!(lease.woke() && !workload.is_frozen());
        ask(&lease).await;
        assert_eq!(world.services.list()[0].wakes, wakes);
    }
    assert_eq!((world.host.launches(), world.host.stops()), (1, 0));
    world.settle().await;
    world.pass(IDLE).await;
    world.until(Observed::Frozen).await;
    // The fake asserts that nothing frozen is asked to end.
    world.services.stop(&alice()).await.unwrap();
    assert_eq!(world.host.standing(), 0);
}

#[tokio::test]
async fn health_checks_do_not_keep_it_awake() {
    let service = "idle_timeout = \"60s\"\nhealth = { path = \"/health\", interval = \"7s\", timeout = \"1s\", failures = 2 }";
    let world = World::new(service).await;
    drop(world.lease().await.unwrap());
    let asked = world.host.workload("notes:alice").asked();
    for _ in 0..8 {
        world.check(Duration::from_secs(7)).await;
        world.until(Observed::Healthy).await;
    }
    world.pass(Duration::from_secs(4)).await;
    world.until(Observed::Asleep).await;
    world.pass(IDLE * 10).await;
    assert_eq!(*asked.borrow(), 8, "asleep it is left alone");
}

#[tokio::test]
async fn two_thousand_cycles_leave_nothing_behind() {
    let world = World::new("idle_timeout = \"60s\"").await;
    for _ in 0..2_000 {
        drop(world.lease().await.unwrap());
        world.settle().await;
        world.pass(IDLE).await;
        world.until(Observed::Asleep).await;
    }
    world.tasks_at_most(0).await;
    assert_eq!((world.host.launches(), world.host.stops(), world.host.standing()), (2_000, 2_000, 0));
    assert_eq!(world.services.list()[0].wakes, 2_000);
}
