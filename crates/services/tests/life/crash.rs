//! Workloads that end by themselves, or fall ill.

use std::time::Duration;

use insula_isolation::Exit;
use insula_services::{LeaseError, Observed};
use insula_store::EventKind;

use super::fake::Start;
use super::{World, alice, ask, each, soon};

#[tokio::test]
async fn a_crashed_one_is_started_again_at_once_in_its_own_walls() {
    let world = World::new("").await;
    drop(world.lease().await.unwrap());
    world.host.plan([Start::Mute]);
    world.host.workload("notes:alice").end(Exit::Signal(9));
    world.until(Observed::Starting).await;
    let services = world.services.clone();
    let request = tokio::spawn(async move { services.lease(&alice(), soon()).await });
    world.relaunched(1).await;
    world.settle().await;
    world.host.workload("notes:alice").listen_now().await;
    let lease = request.await.unwrap().unwrap();
    assert!(lease.woke() && ask(&lease).await.contains("200 OK"));
    assert_eq!((world.host.launches(), world.host.relaunches()), (1, 1));
    assert_eq!(world.events(EventKind::Exited, 1).await, ["killed by signal 9"]);
    assert_eq!(world.events(EventKind::Restarted, 1).await, ["started again: killed by signal 9"]);
    assert_eq!(world.services.list()[0].restarts, 1);
}

#[tokio::test]
async fn a_refused_connection_tells_of_an_end_before_the_keeper_knows() {
    let world = World::new("").await;
    let early = world.lease().await.unwrap();
    let ended = tokio::spawn(early.again().unwrap().ended());
    world.settle().await;
    assert!(!ended.is_finished(), "it runs");
    world.host.workload("notes:alice").end(Exit::Signal(9));
    // The event is on its way; until it arrives the gate is open.
    let lease = world.lease().await.unwrap();
    assert!(!lease.woke());
    let refused = lease.connect().await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    lease.ended().await;
    ended.await.unwrap();
    let lease = world.lease().await.unwrap();
    assert!(ask(&lease).await.contains("200 OK"));
    assert_eq!(world.host.relaunches(), 1);
    drop(early);
}

#[test]
fn walls_that_cannot_be_used_again_are_replaced() {
    each([Exit::Signal(9), Exit::Lost], async |exit| {
        let world = World::new("").await;
        drop(world.lease().await.unwrap());
        world.host.refuse_relaunch();
        world.host.workload("notes:alice").end(exit);
        world.launched(2).await;
        world.until(Observed::Running).await;
        assert_eq!((world.host.stops(), world.host.standing()), (1, 1));
        assert!(ask(&world.lease().await.unwrap()).await.contains("200 OK"));
    });
}

#[tokio::test]
async fn restarts_back_off_and_requests_wait_for_a_near_one() {
    let world = World::new("restart_backoff = \"2s\"\nmax_restarts = 5").await;
    drop(world.lease().await.unwrap());
    world.host.workload("notes:alice").end(Exit::Code(1));
    world.relaunched(1).await;
    world.until(Observed::Running).await;
    world.host.workload("notes:alice").end(Exit::Code(1));
    world.until(Observed::BackingOff).await;
    let services = world.services.clone();
    let request = tokio::spawn(async move { services.lease(&alice(), soon()).await });
    world.settle().await;
    assert!(!request.is_finished());
    world.pass(Duration::from_secs(2)).await;
    assert!(ask(&request.await.unwrap().unwrap()).await.contains("200 OK"));
    assert_eq!(world.host.relaunches(), 2);
}

#[tokio::test]
async fn a_crash_loop_ends_in_failed_with_the_reason() {
    let world = World::new("restart_backoff = \"1s\"\nmax_restarts = 3\nrestart_window = \"60s\"").await;
    world.host.always(Start::Exits(Exit::Code(7)));
    let error = world.lease().await.unwrap_err();
    assert!(matches!(error, LeaseError::Failed { .. }), "{error:?}");
    for restarts in 1..3 {
        world.relaunched(restarts).await;
        world.until(Observed::BackingOff).await;
        world.pass(Duration::from_secs(4)).await;
    }
    world.until(Observed::Failed).await;
    let why = world.services.status(&alice()).unwrap().why.unwrap();
    assert!(why.contains("exited with status 7") && why.contains("restarted 3 times within 60s"), "{why}");
    assert_eq!(world.host.launches() + world.host.relaunches(), 4);
    assert!(matches!(world.lease().await, Err(LeaseError::Failed { .. })));
    world.tasks_at_most(0).await;
    assert_eq!(world.host.standing(), 0);
    let row = world.store.instance(&alice()).await.unwrap().unwrap();
    assert_eq!((row.failed.as_deref(), row.record, row.restarts), (Some(&*why), None, 3));
    // The operator is not bound by the limit.
    world.host.always(Start::Well);
    world.services.spawn(&alice()).await.unwrap();
    assert_eq!(world.store.instance(&alice()).await.unwrap().unwrap().failed, None);
}

#[test]
fn the_policy_decides_what_follows_an_end() {
    let cases = [
        ("on-failure", Exit::Code(0), Observed::Asleep),
        ("on-failure", Exit::Oom, Observed::Running),
        ("always", Exit::Code(0), Observed::Running),
        ("never", Exit::Code(0), Observed::Asleep),
        ("never", Exit::Code(1), Observed::Failed),
    ];
    each(cases, async |(policy, exit, expected)| {
        let world = World::new(&format!("restart = \"{policy}\"")).await;
        drop(world.lease().await.unwrap());
        world.host.workload("notes:alice").end(exit);
        if expected == Observed::Running {
            world.relaunched(1).await;
        }
        world.until(expected).await;
    });
}

#[tokio::test]
async fn an_ill_one_is_degraded_and_then_restarted() {
    let service = "health = { path = \"/health\", interval = \"5s\", timeout = \"1s\", failures = 3 }";
    let world = World::new(service).await;
    drop(world.lease().await.unwrap());
    let check = async |observed| {
        world.check(Duration::from_secs(5)).await;
        world.until(observed).await;
    };
    check(Observed::Healthy).await;
    world.host.workload("notes:alice").fall_ill(true);
    check(Observed::Degraded).await;
    let why = world.services.status(&alice()).unwrap().why.unwrap();
    assert!(why.contains("`GET /health` answered 500"), "{why}");
    // One good check in between begins the count anew.
    world.host.workload("notes:alice").fall_ill(false);
    check(Observed::Healthy).await;
    world.host.workload("notes:alice").fall_ill(true);
    check(Observed::Degraded).await;
    world.check(Duration::from_secs(5)).await;
    assert_eq!(world.services.status(&alice()).unwrap().observed, Observed::Degraded);
    world.pass(Duration::from_secs(5)).await;
    world.launched(2).await;
    world.until(Observed::Running).await;
    assert_eq!(world.host.stops(), 1);
    assert!(ask(&world.lease().await.unwrap()).await.contains("200 OK"));
}

#[tokio::test]
async fn a_check_without_an_answer_fails_at_its_timeout() {
    let service = "health = { path = \"/health\", interval = \"5s\", timeout = \"1s\", failures = 2 }\nrestart = \"never\"";
    let world = World::new(service).await;
    drop(world.lease().await.unwrap());
    world.host.workload("notes:alice").hang();
    let mut asked = world.host.workload("notes:alice").asked();
    for (n, expected) in [(1, Observed::Degraded), (2, Observed::Unhealthy)] {
        world.pass(Duration::from_secs(5)).await;
        asked.wait_for(|seen| *seen == n).await.unwrap();
        world.pass(Duration::from_secs(1)).await;
        world.until(expected).await;
    }
    assert_eq!(world.host.stops(), 0, "the policy says never");
}
