//! Versions: deployed, weighed, swapped, put away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use insula_isolation::Exit;
use insula_services::{
    ControlError, DeployError, Deployed, Lease, LeaseError, NoVersion, Observed, Order, Share, Steps,
};
use insula_spec::{InstanceId, InstanceName, ServiceName};
use insula_store::{EventKind, EventQuery};
use tokio::task::JoinHandle;

use super::fake::Start;
use super::{World, soon, until};

type Outcome = Result<Deployed, DeployError>;

fn name(id: &str) -> InstanceName {
    format!("api:{id}").parse().unwrap()
}

fn id(text: &str) -> InstanceId {
    text.parse().unwrap()
}

fn api() -> ServiceName {
    "api".parse().unwrap()
}

/// Versions without health checks, which would need real time; none is known.
async fn world(more: &str) -> World {
    World::with(&format!("[service.api]\ncommand = \"./api-{{id}}\"\n{more}\n"), &[]).await
}

impl World {
    fn begin(&self, version: &str, share: Share) -> JoinHandle<Outcome> {
        let (services, name) = (self.services.clone(), name(version));
        tokio::spawn(async move { services.deploy(&name, Order { share, ..Order::default() }).await })
    }

    async fn deploy(&self, version: &str, share: Share) -> Outcome {
        self.end(self.begin(version, share)).await
    }

    /// Lets time pass until it is done: who failed is given a moment for its last lines.
    async fn end(&self, task: JoinHandle<Outcome>) -> Outcome {
        while !task.is_finished() {
            self.settle().await;
            self.pass(Duration::from_millis(10)).await;
        }
        task.await.unwrap()
    }

    async fn weights(&self) -> Vec<(String, u8)> {
        let versions = self.services.versions(&api()).await.unwrap();
        versions.into_iter().map(|version| (version.name.id.to_string(), version.weight)).collect()
    }

    fn picks(&self, n: usize) -> Vec<String> {
        (0..n).map(|_| self.services.pick(&api(), &[]).unwrap().id.to_string()).collect()
    }

    async fn history(&self, kind: EventKind) -> Vec<serde_json::Value> {
        let query = EventQuery { kinds: vec![kind], ..EventQuery::default() };
        self.store.events(query).await.unwrap().into_iter().map(|row| row.event.detail).collect()
    }
}

/// Steps of a quarter each, watched for so many seconds.
fn steps(pause: u64) -> Steps {
    Steps::new(Steps::SHARES.to_vec(), Duration::from_secs(pause)).unwrap()
}

fn of(all: &[(&str, u8)]) -> Vec<(String, u8)> {
    all.iter().map(|(id, weight)| ((*id).to_owned(), *weight)).collect()
}

#[tokio::test]
async fn a_first_version_takes_all_requests_and_a_second_one_none() {
    let mut world = world("").await;
    assert_eq!(world.services.pick(&api(), &[]), Err(NoVersion::NoneWeighed(api())));
    world.deploy("v1", Share::First).await.unwrap();
    world.deploy("v2", Share::First).await.unwrap();
    assert_eq!(world.weights().await, of(&[("v1", 100), ("v2", 0)]));
    assert_eq!(world.picks(3), ["v1", "v1", "v1"]);
    let weights: Vec<_> = world.history(EventKind::Deployed).await;
    assert_eq!(weights[1]["weights"], serde_json::json!({ "v1": 100 }));
    world.take_over().await;
    assert_eq!(world.picks(2), ["v1", "v1"], "another process has other weights");
}

#[tokio::test]
async fn weights_are_set_together_or_not_at_all() {
    let world = world("").await;
    for version in ["v1", "v2"] {
        world.deploy(version, Share::First).await.unwrap();
    }
    let set = async |weights: &[(&str, u8)]| {
        let weights = weights.iter().map(|(text, weight)| (id(text), *weight)).collect();
        world.services.set_weights(&api(), weights).await
    };
    set(&[("v1", 50), ("v2", 50)]).await.unwrap();
    assert_eq!(world.picks(4), ["v1", "v2", "v1", "v2"]);
    assert!(matches!(set(&[("v1", 0), ("v2", 0)]).await, Err(DeployError::NobodyLeft(_))));
    assert!(matches!(set(&[("v1", 0), ("v9", 1)]).await, Err(DeployError::UnknownVersion(_))));
    assert!(matches!(set(&[("v1", 0), ("v2", 101)]).await, Err(DeployError::Weight { weight: 101, .. })));
    assert_eq!(world.weights().await, of(&[("v1", 50), ("v2", 50)]));
    assert_eq!(world.history(EventKind::Routed).await.len(), 1);
    // A store that takes no more: the table does not run ahead of it.
    world.store.clone().close().await.unwrap();
    assert!(matches!(set(&[("v1", 0), ("v2", 1)]).await, Err(DeployError::Change(_))));
    assert_eq!(world.picks(4), ["v1", "v2", "v1", "v2"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_swap_is_never_seen_half_done() {
    let world = world("").await;
    for version in ["v1", "v2"] {
        world.deploy(version, Share::First).await.unwrap();
    }
    let (over, services) = (Arc::new(AtomicBool::new(false)), world.services.clone());
    let watcher = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let mut seen = 0_usize;
            while !over.load(Ordering::Relaxed) {
                services.pick(&api(), &[]).unwrap();
                seen += 1;
            }
            seen
        }
    });
    for _ in 0..20 {
        for (from, to) in [("v1", "v2"), ("v2", "v1")] {
            world.services.reroute(&api(), (id(from), id(to)), Order::TIMEOUT).await.unwrap();
            assert_eq!(world.picks(2), [to, to]);
        }
    }
    over.store(true, Ordering::Relaxed);
    assert!(watcher.join().unwrap() > 0);
    let reroute = async |from: &str, to: &str| {
        world.services.reroute(&api(), (id(from), id(to)), Order::TIMEOUT).await.unwrap_err()
    };
    assert!(matches!(reroute("v2", "v1").await, DeployError::NoWeight(_)));
    assert!(matches!(reroute("v1", "v1").await, DeployError::Same(_)));
    assert!(matches!(reroute("v1", "v9").await, DeployError::UnknownVersion(_)));
}

#[tokio::test]
async fn a_version_that_fails_is_forgotten_and_changes_nothing() {
    let world = world("").await;
    world.deploy("v1", Share::First).await.unwrap();
    for (start, words) in
        [(Start::Exits(Exit::Code(3)), "exited with status 3"), (Start::NoProgram, "cannot execute `app`")]
    {
        world.host.plan([start]);
        let error = world.deploy("v2", Share::Replace).await.unwrap_err();
        assert!(matches!(&error, DeployError::NotHealthy { why, .. } if why.contains(words)), "{error}");
        assert_eq!(world.weights().await, of(&[("v1", 100)]));
        assert_eq!((world.services.status(&name("v2")), world.host.standing()), (None, 1));
    }
    assert!(world.store.instance(&name("v2")).await.unwrap().is_none());
    assert_eq!(world.history(EventKind::DeployFailed).await.len(), 2);
    // One that was known stays so, stopped.
    world.deploy("v2", Share::First).await.unwrap();
    world.host.plan([Start::NoProgram]);
    world.deploy("v2", Share::Replace).await.unwrap_err();
    assert_eq!(world.services.status(&name("v2")).unwrap().observed, Observed::Stopped);
    assert_eq!(world.weights().await, of(&[("v1", 100), ("v2", 0)]));
}

#[tokio::test]
async fn a_rolling_deploy_puts_old_versions_away() {
    let world = world("").await;
    for version in ["v1", "v2", "v3"] {
        world.deploy(version, Share::Replace).await.unwrap();
    }
    assert_eq!(world.host.standing(), 3);
    let done = world.deploy("v4", Share::Rolling { keep: 1, steps: steps(0) }).await.unwrap();
    assert_eq!((done.slept, done.forgotten), (vec![name("v3")], vec![name("v2"), name("v1")]));
    until(&world.services, &name("v3"), Observed::Asleep).await;
    assert_eq!(world.weights().await, of(&[("v3", 0), ("v4", 100)]));
    assert_eq!(world.host.standing(), 1);
    // The kept one is woken for a rollback.
    world.services.reroute(&api(), (id("v4"), id("v3")), Order::TIMEOUT).await.unwrap();
    assert_eq!(world.picks(1), ["v3"]);
    assert!(world.services.lease(&name("v3"), soon()).await.is_ok());
}

impl World {
    /// Waits until a rolling deploy of `v2` has come to this share.
    async fn share(&self, share: u8) {
        while self.weights().await.iter().all(|(id, weight)| id != "v2" || *weight != share) {
            self.settle().await;
        }
    }
}

#[tokio::test]
async fn a_rolling_deploy_takes_its_time_for_each_step() {
    let world = world("").await;
    world.deploy("v1", Share::First).await.unwrap();
    let rolling = world.begin("v2", Share::Rolling { keep: 1, steps: steps(60) });
    for share in Steps::SHARES {
        world.share(share).await;
        assert_eq!(world.weights().await, of(&[("v1", 100 - share), ("v2", share)]));
        world.pass(Duration::from_secs(59)).await;
        world.settle().await;
        assert_eq!(world.weights().await[1].1, share, "it went on too early");
        assert!(!rolling.is_finished());
        world.pass(Duration::from_secs(1)).await;
    }
    assert_eq!(world.end(rolling).await.unwrap().slept, [name("v1")]);
    assert_eq!(world.weights().await, of(&[("v1", 0), ("v2", 100)]));
    assert_eq!(world.history(EventKind::Routed).await.len(), Steps::SHARES.len());
}

#[test]
fn a_rolling_deploy_goes_back_where_the_new_version_fails() {
    super::each(["always", "never"], async |policy| {
        let world = world(&format!("restart = \"{policy}\"")).await;
        world.deploy("v0", Share::First).await.unwrap();
        world.deploy("v1", Share::Weight(50)).await.unwrap();
        let before = world.weights().await;
        let rolling = world.begin("v2", Share::Rolling { keep: 0, steps: steps(60) });
        world.share(25).await;
        world.settle().await;
        world.pass(Duration::from_secs(61)).await;
        world.share(50).await;
        world.host.workload("api:v2").end(Exit::Code(4));
        // Restarted at once it looks well again before the step is over.
        world.settle().await;
        world.pass(Duration::from_secs(60)).await;
        let error = world.end(rolling).await.unwrap_err();
        let told = error.to_string();
        assert!(told.contains("with 50 % of the requests") && told.contains("status 4"), "{policy}: {told}");
        assert_eq!(world.weights().await, before, "{policy}");
        assert_eq!(world.services.status(&name("v2")), None, "{policy}: it was not known before");
        assert_eq!(world.history(EventKind::DeployFailed).await.len(), 1);
    });
}

#[tokio::test]
async fn one_service_has_one_deploy_and_it_goes_on_without_its_caller() {
    let world = world("").await;
    world.host.plan([Start::Held]);
    let first = world.begin("v1", Share::First);
    world.launched(1).await;
    assert!(matches!(world.deploy("v2", Share::First).await, Err(DeployError::Busy(what)) if what == "api"));
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    world.host.let_start();
    // Its end has no event for others: the next one is let in then.
    let second = loop {
        match world.deploy("v2", Share::First).await {
            Err(DeployError::Busy(_)) => world.settle().await,
            done => break done,
        }
    };
    second.unwrap();
    assert_eq!(world.weights().await, of(&[("v1", 100), ("v2", 0)]));
}

#[tokio::test]
async fn who_cannot_take_requests_is_passed_over() {
    let world = world("restart = \"never\"").await;
    for version in ["v1", "v2", "v3"] {
        world.deploy(version, Share::Weight(10)).await.unwrap();
    }
    world.services.stop(&name("v2")).await.unwrap();
    world.host.workload("api:v3").end(Exit::Code(1));
    until(&world.services, &name("v3"), Observed::Failed).await;
    assert!(world.picks(30).iter().all(|version| version == "v1"));
    let first = world.services.pick(&api(), &[]).unwrap();
    // Better one of them than nobody.
    assert_ne!(*world.services.pick(&api(), &[first]).unwrap(), name("v1"));
    let all: Vec<_> = ["v1", "v2", "v3"].map(|id| Arc::new(name(id))).into();
    assert!(world.services.pick(&api(), &all).is_err());
}

#[tokio::test]
async fn tenants_take_no_weight_and_are_replaced_in_place() {
    let world = World::new("").await;
    let alice = super::alice();
    drop(world.lease().await.unwrap());
    let refused = world.services.deploy(&alice, Order { share: Share::Weight(1), ..Order::default() }).await;
    assert!(matches!(refused, Err(DeployError::Tenants(_))));
    assert!(matches!(world.services.versions(&alice.service).await, Err(DeployError::Tenants(_))));
    let inside = world.lease().await.unwrap();
    let services = world.services.clone();
    let deploy = tokio::spawn(async move { services.deploy(&super::alice(), Order::default()).await });
    world.until(Observed::Stopping).await;
    let services = world.services.clone();
    let late = tokio::spawn(async move { services.lease(&super::alice(), soon()).await });
    assert!(super::ask(&inside).await.contains("200 OK"));
    drop(inside);
    assert!(deploy.await.unwrap().unwrap().tenant);
    assert!(super::ask(&late.await.unwrap().unwrap()).await.contains("200 OK"));
    assert_eq!((world.host.launches(), world.host.stops()), (2, 1));
    assert!(matches!(world.services.pick(&alice.service, &[]), Err(NoVersion::Tenants(_))));
}

/// Tenants with a health check that is made again and again.
const CHECKED: &str = "health = { path = \"/health\", interval = \"1s\" }";

/// A deploy of `notes:alice` that comes to an ill program, and a request that waits.
async fn ill(
    world: &World,
    timeout: Duration,
) -> (JoinHandle<Outcome>, JoinHandle<Result<Lease, LeaseError>>) {
    drop(world.lease().await.unwrap());
    world.host.plan([Start::Ill]);
    let services = world.services.clone();
    let deploy =
        tokio::spawn(
            async move { services.deploy(&super::alice(), Order { timeout, ..Order::default() }).await },
        );
    world.launched(2).await;
    let services = world.services.clone();
    let waiting = tokio::spawn(async move { services.lease(&super::alice(), soon()).await });
    let mut asked = world.host.workload("notes:alice").asked();
    for check in 1..=3 {
        asked.wait_for(|asked| *asked >= check).await.unwrap();
        world.settle().await;
        world.pass(Duration::from_millis(200)).await;
    }
    (deploy, waiting)
}

#[tokio::test]
async fn a_tenant_takes_requests_again_when_it_is_healthy() {
    let world = World::new(CHECKED).await;
    let (deploy, waiting) = ill(&world, Order::TIMEOUT).await;
    let status = world.services.status(&super::alice()).unwrap();
    assert_eq!(status.observed, Observed::Starting);
    assert!(!waiting.is_finished(), "a request was let in to an ill program");
    world.host.workload("notes:alice").fall_ill(false);
    assert!(world.end(deploy).await.unwrap().tenant);
    assert!(super::ask(&waiting.await.unwrap().unwrap()).await.contains("200 OK"));
    assert_eq!(world.services.status(&super::alice()).unwrap().observed, Observed::Healthy);
}

#[tokio::test]
async fn a_tenant_that_stays_ill_is_told_and_nobody_waits_for_ever() {
    let world = World::new(CHECKED).await;
    let (deploy, waiting) = ill(&world, Duration::from_secs(5)).await;
    let error = world.end(deploy).await.unwrap_err();
    assert!(matches!(&error, DeployError::TimedOut { why, .. } if why.contains("500")), "{error}");
    let refused = waiting.await.unwrap();
    assert!(matches!(&refused, Err(LeaseError::Failed { why, .. }) if why.contains("500")), "{refused:?}");
    // Its restart policy goes on with it.
    assert!(world.lease().await.is_ok());
}

#[tokio::test]
async fn no_more_are_up_than_may_be() {
    let world = world("max_instances = 1").await;
    world.deploy("v1", Share::First).await.unwrap();
    let refused = world.deploy("v2", Share::First).await;
    assert!(
        matches!(refused, Err(DeployError::Control(ControlError::TooMany { limit: 1, .. }))),
        "{refused:?}"
    );
    world.services.stop(&name("v1")).await.unwrap();
    world.deploy("v2", Share::First).await.unwrap();
    world.services.stop(&name("v2")).await.unwrap();
    world.services.spawn(&name("v1")).await.unwrap();
    let second = world.services.lease(&name("v2"), soon()).await;
    assert!(matches!(second, Err(LeaseError::Stopped)), "{second:?}");
    assert!(world.services.lease(&name("v1"), soon()).await.is_ok(), "who is up is not counted twice");
    assert_eq!(world.services.refused_by_limit(), 1);
}

#[tokio::test]
async fn declared_versions_share_from_the_beginning() {
    let config = "[service.api]\ncommand = \"./api-{id}\"\n[instances]\napi = [\"v1\", \"v2\"]\n";
    let world = World::with(config, &[]).await;
    assert_eq!(world.picks(4), ["v1", "v2", "v1", "v2"]);
}
