//! Spawn, stop, restart, shutdown.

use std::time::Duration;

use insula_services::{ControlError, Failure, LeaseError, Observed};

use super::fake::Start;
use super::{TICK, World, alice, ask, soon};

#[tokio::test]
async fn a_stopped_one_stays_stopped_until_spawned() {
    let mut world = World::new("").await;
    drop(world.lease().await.unwrap());
    let status = world.services.stop(&alice()).await.unwrap();
    assert_eq!(status.observed, Observed::Stopped);
    assert!(matches!(world.lease().await, Err(LeaseError::Stopped)));
    world.take_over().await;
    assert!(matches!(world.lease().await, Err(LeaseError::Stopped)), "another process remembers");
    assert_eq!(world.services.spawn(&alice()).await.unwrap().observed, Observed::Running);
    assert!(world.lease().await.is_ok());
    assert_eq!(world.host.launches(), 2);
}

#[tokio::test]
async fn a_stop_while_starting_wins_and_waiters_are_told() {
    let world = World::new("").await;
    world.host.plan([Start::Held]);
    let services = world.services.clone();
    let request = tokio::spawn(async move { services.lease(&alice(), soon()).await });
    world.launched(1).await;
    let services = world.services.clone();
    let stop = tokio::spawn(async move { services.stop(&alice()).await });
    world.until(Observed::Stopping).await;
    assert!(matches!(request.await.unwrap(), Err(LeaseError::Stopped)));
    world.host.let_start();
    assert_eq!(stop.await.unwrap().unwrap().observed, Observed::Stopped);
    assert_eq!((world.host.standing(), world.host.stops()), (0, 1));
}

#[tokio::test]
async fn a_stop_lets_those_inside_finish_but_not_for_ever() {
    let world = World::new("").await;
    let lease = world.lease().await.unwrap();
    let hog = world.lease().await.unwrap();
    let services = world.services.clone();
    let stop = tokio::spawn(async move { services.stop(&alice()).await });
    world.until(Observed::Stopping).await;
    assert!(ask(&lease).await.contains("200 OK"));
    drop(lease);
    world.settle().await;
    assert!(!stop.is_finished());
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(stop.await.unwrap().unwrap().observed, Observed::Stopped);
    drop(hog);
}

#[tokio::test]
async fn a_restart_loses_no_request() {
    let world = World::new("").await;
    let inside = world.lease().await.unwrap();
    let services = world.services.clone();
    let restart = tokio::spawn(async move { services.restart(&alice()).await });
    world.until(Observed::Stopping).await;
    let services = world.services.clone();
    let late = tokio::spawn(async move { services.lease(&alice(), soon()).await });
    assert!(ask(&inside).await.contains("200 OK"));
    drop(inside);
    assert_eq!(restart.await.unwrap().unwrap().observed, Observed::Running);
    assert!(ask(&late.await.unwrap().unwrap()).await.contains("200 OK"));
    assert_eq!((world.host.launches(), world.host.stops()), (2, 1));
}

#[tokio::test]
async fn wishes_that_cannot_be_fulfilled_are_told_apart() {
    let world = World::new("restart = \"never\"").await;
    let spawn = async |name: &str| world.services.spawn(&name.parse().unwrap()).await.unwrap_err();
    assert!(matches!(spawn("shop:alice").await, ControlError::UnknownService(_)));
    let bob = "notes:bob".parse().unwrap();
    assert!(matches!(world.services.stop(&bob).await, Err(ControlError::UnknownInstance(_))));
    assert!(matches!(world.services.restart(&bob).await, Err(ControlError::UnknownInstance(_))));
    world.host.plan([Start::NoProgram]);
    let error = spawn("notes:alice").await;
    assert!(
        matches!(&error, ControlError::Failed { why, hint: Some(_) } if why.contains("cannot execute `app`")),
        "{error:?}"
    );
    // The event log keeps it as data. It is written behind the answer.
    let mut heads = world.store.follow();
    let (history, told) = loop {
        heads.borrow_and_update();
        let history = world.services.history(&alice(), 10).await.unwrap();
        let told: Vec<_> = history.iter().filter_map(|row| Failure::of(&row.event)).collect();
        if !told.is_empty() {
            break (history, told);
        }
        heads.changed().await.unwrap();
    };
    assert!(
        matches!(&told[..], [Failure::Exec { program, errno: Some(2), .. }] if program == "app"),
        "{history:?}"
    );
}

#[tokio::test]
async fn a_shutdown_drains_and_ends_everything() {
    let mut world = World::new("").await;
    let inside = world.lease().await.unwrap();
    let services = world.services.clone();
    let shutdown = tokio::spawn(async move { services.shutdown(Duration::from_secs(5)).await });
    world.until(Observed::Stopping).await;
    assert!(matches!(world.lease().await, Err(LeaseError::ShuttingDown)));
    assert!(matches!(world.services.spawn(&alice()).await, Err(ControlError::ShuttingDown)));
    assert!(ask(&inside).await.contains("200 OK"));
    assert!(!shutdown.is_finished());
    drop(inside);
    shutdown.await.unwrap();
    assert_eq!(world.host.standing(), 0);
    world.take_over().await;
    assert!(world.lease().await.is_ok(), "a shutdown is not a stop by the operator");
}

#[tokio::test]
async fn a_second_shutdown_hurries_the_first() {
    let world = World::new("").await;
    let hog = world.lease().await.unwrap();
    let services = world.services.clone();
    let patient = tokio::spawn(async move { services.shutdown(Duration::from_secs(5)).await });
    world.until(Observed::Stopping).await;
    world.settle().await;
    assert!(!patient.is_finished());
    let services = world.services.clone();
    let hurried = tokio::spawn(async move { services.shutdown(Duration::ZERO).await });
    world.settle().await;
    world.pass(TICK).await;
    world.host.until(|host| host.stops() == 1).await;
    drop(hog);
    hurried.await.unwrap();
    patient.await.unwrap();
    assert_eq!(world.host.standing(), 0);
}

#[tokio::test]
async fn inspection_tells_what_it_uses_while_it_runs() {
    let world = World::new("").await;
    let before = world.services.inspect(&alice()).await.unwrap();
    assert!(before.usage.is_none() && before.overview.record.is_none());
    let lease = world.lease().await.unwrap();
    let now = world.services.inspect(&alice()).await.unwrap();
    assert_eq!(now.usage.unwrap().memory_bytes, Some(4096));
    assert_eq!(now.overview.record.unwrap().instance, alice());
    assert_eq!((now.overview.leases, now.overview.wakes), (1, 1));
    drop(lease);
}

#[tokio::test]
async fn host_ids_belong_to_one_instance_for_ever() {
    let mut world = World::new("").await;
    assert_eq!(world.services.inspect(&alice()).await.unwrap().ids, None);
    world.host.own_ids();
    drop(world.lease().await.unwrap());
    let (alice, bob) = (alice(), "notes:bob".parse().unwrap());
    world.services.spawn(&bob).await.unwrap();
    let ids = async |world: &World, name| world.services.inspect(name).await.unwrap().ids.unwrap();
    let (of_alice, of_bob) = (ids(&world, &alice).await, ids(&world, &bob).await);
    assert_ne!(of_alice, of_bob);
    world.services.shutdown(Duration::ZERO).await;
    world.take_over().await;
    assert_eq!((ids(&world, &alice).await, ids(&world, &bob).await), (of_alice, of_bob));
}

#[tokio::test]
async fn values_of_the_environment_are_told_to_nobody() {
    const CANARY: &str = "hunter2-canary";
    let config = format!("restart = \"never\"\nenv = {{ PASSWORD = \"{CANARY}\" }}");
    let world = World::new(&config).await;
    world.host.plan([Start::NoProgram]);
    let refused = world.services.spawn(&alice()).await.unwrap_err();
    let failed = world.lease().await.unwrap_err();
    world.pass(Duration::from_secs(60)).await;
    world.services.spawn(&alice()).await.unwrap();
    let inspect = world.services.inspect(&alice()).await.unwrap();
    let history = world.services.history(&alice(), 100).await.unwrap();
    assert!(history.len() > 2, "{history:?}");
    let told = format!(
        "{refused:?} {failed:?} {inspect:?} {history:?} {:?} {:?}",
        world.services,
        world.services.list()
    );
    assert!(told.contains("PASSWORD") && !told.contains("hunter2"), "{told}");
    // The workload itself is given it.
    assert!(world.host.launched_with("PASSWORD", CANARY));
}
