//! Images come from a real registry on the loopback, over a way that is cut, bent, or hostile.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod relay;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use insula_images::{AuthFiles, Bounds, Policy, PullError, PullOptions, Pulled};
use insula_spec::Reference;
use relay::{Mode, Relay};
use server::{PASSWORD, Registry, USER};
use support::{World, chain, make_layout, merged, run};

/// Bytes that cannot be compressed, so that a layer is longer than every buffer on the way.
const BIG: usize = 3 << 20;

fn pull_with(world: &World, name: &str, options: &PullOptions) -> Result<Pulled, PullError> {
    let name: Reference = name.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(world.images.pull(&name, options, &()))
}

fn pull(world: &World, name: &str) -> Result<Pulled, PullError> {
    pull_with(world, name, &PullOptions::default())
}

/// An image in a registry: both live as long as this.
struct Scene {
    world: World,
    registry: Registry,
}

impl Scene {
    fn new(auth: bool) -> Self {
        let world = World::new();
        make_layout(world.dir.path(), BIG);
        let registry = Registry::start(world.dir.path(), auth);
        registry.push(world.dir.path(), "oci:layout:two", "team/app:1");
        Self { world, registry }
    }

    /// The image, asked of this host.
    fn at(&self, port: u16) -> String {
        format!("127.0.0.1:{port}/team/app:1")
    }
}

#[test]
fn what_is_pulled_is_what_was_pushed() {
    skip_without!("umoci", "skopeo", "docker-registry", "unshare");
    let Scene { world, registry } = &Scene::new(false);
    let name = format!("127.0.0.1:{}/team/app:1", registry.port);
    let pulled = pull(world, &name).unwrap_or_else(|e| panic!("{}", chain(&e)));
    assert!(!pulled.up_to_date);
    let image = world.images.find(&name).unwrap();
    assert_eq!(merged(&image, world.dir.path()), support::listing(&world.path("bundle/rootfs")));
    assert!(pull(world, &name).unwrap().up_to_date);
    assert_eq!(fs::read_dir(world.path("images/partial")).unwrap().count(), 0);
    // By digest it is the same image, and another digest is none at all.
    let pinned = format!("127.0.0.1:{}/team/app@{}", registry.port, pulled.digest);
    assert_eq!(pull(world, &pinned).unwrap().digest, pulled.digest);
    let other = format!("127.0.0.1:{}/team/app@sha256:{}", registry.port, "0".repeat(64));
    assert!(matches!(pull(world, &other).unwrap_err(), PullError::NotFound(_)));
}

#[test]
fn of_a_list_this_architecture_is_taken() {
    skip_without!("umoci", "skopeo", "docker-registry");
    let scene = Scene::new(false);
    let (world, dir) = (&scene.world, scene.world.dir.path());
    let ours = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    run(dir, &["umoci", "config", "--image", "layout:one", "--tag", "alien", "--architecture", "s390x"]);
    let index = fs::read_to_string(dir.join("layout/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let entry = |tag: &str, architecture: &str| {
        let all = index["manifests"].as_array().unwrap();
        let mut one = all
            .iter()
            .find(|m| m["annotations"]["org.opencontainers.image.ref.name"] == tag)
            .unwrap()
            .clone();
        one["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        one
    };
    let list = |entries: &[serde_json::Value]| {
        serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                           "manifests": entries})
        .to_string()
    };
    scene.registry.push(dir, "oci:layout:alien", "team/app:alien");
    scene.registry.put_index("team/app", "both", &list(&[entry("alien", "s390x"), entry("two", ours)]));
    scene.registry.put_index("team/app", "theirs", &list(&[entry("alien", "s390x")]));
    let name = |tag: &str| format!("127.0.0.1:{}/team/app:{tag}", scene.registry.port);
    let pulled = pull(world, &name("both")).unwrap_or_else(|e| panic!("{}", chain(&e)));
    assert_eq!(pulled.digest.to_string(), entry("two", ours)["digest"].as_str().unwrap());
    for tag in ["theirs", "alien"] {
        let error = pull(world, &name(tag)).unwrap_err();
        assert!(chain(&error).contains("linux/s390x, and this host is linux/"), "{tag}: {}", chain(&error));
    }
}

#[test]
fn who_may_not_is_told_so_and_who_may_pulls() {
    skip_without!("umoci", "skopeo", "docker-registry", "htpasswd");
    let scene = Scene::new(true);
    let (world, name) = (&scene.world, scene.at(scene.registry.port));
    let error = pull(world, &name).unwrap_err();
    assert!(matches!(error, PullError::Denied { known: false, .. }), "{}", chain(&error));
    assert!(error.hint().contains("--auth-file"));
    let with = |password: &str| {
        let path = world.path("auth.json");
        fs::write(&path, server::auth_file(scene.registry.port, USER, password)).unwrap();
        let auth = AuthFiles { named: Some(path), usual: Vec::new() };
        pull_with(world, &name, &PullOptions { auth, ..PullOptions::default() })
    };
    let error = with("wrong").unwrap_err();
    assert!(matches!(error, PullError::Denied { known: true, .. }), "{}", chain(&error));
    assert!(!chain(&error).contains("wrong"), "{}", chain(&error));
    with(PASSWORD).unwrap_or_else(|e| panic!("{}", chain(&e)));
}

/// A registry that wants tokens: the password goes to where tokens are given and nowhere else, the token to the
/// registry, and none of both where a redirect leads.
#[test]
fn a_token_is_had_for_the_password_and_neither_follows_a_redirect() {
    skip_without!("umoci", "skopeo", "docker-registry");
    let scene = Scene::new(false);
    let elsewhere = Relay::start(scene.registry.port, Mode::Pass);
    let front = Relay::start(scene.registry.port, Mode::Tokens { blobs_at: elsewhere.port });
    let path = scene.world.path("auth.json");
    fs::write(&path, server::auth_file(front.port, USER, PASSWORD)).unwrap();
    let auth = AuthFiles { named: Some(path), usual: Vec::new() };
    let options = PullOptions { auth, ..PullOptions::default() };
    pull_with(&scene.world, &scene.at(front.port), &options).unwrap_or_else(|e| panic!("{}", chain(&e)));
    let heads = front.heads();
    let basic = |head: &&String| head.contains("Basic ");
    assert!(heads.iter().filter(basic).all(|head| head.starts_with("GET /token?")), "{heads:#?}");
    assert_eq!(heads.iter().filter(basic).count(), 1);
    assert!(heads.iter().any(|head| head.contains("Bearer t0ken")));
    let there = elsewhere.heads();
    assert!(
        !there.is_empty() && there.iter().all(|head| !head.to_lowercase().contains("authorization")),
        "{there:#?}"
    );
    // The control: without the file there is no token.
    let error = pull(&World::new(), &scene.at(front.port)).unwrap_err();
    assert!(matches!(error, PullError::Denied { known: false, .. }), "{}", chain(&error));
}

/// The longest answer is cut once: the rest is asked for, and nothing twice.
#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_was() {
    skip_without!("umoci", "skopeo", "docker-registry", "unshare");
    let scene = Scene::new(false);
    let relay = Relay::start(scene.registry.port, Mode::CutOnce(BIG / 2));
    let name = scene.at(relay.port);
    pull(&scene.world, &name).unwrap_or_else(|e| panic!("{}", chain(&e)));
    let image = scene.world.images.find(&name).unwrap();
    assert_eq!(merged(&image, scene.world.dir.path()), support::listing(&scene.world.path("bundle/rootfs")));
    let ranges = relay.ranges();
    assert_eq!(ranges.len(), 1, "{ranges:?}");
    assert!(ranges[0] > 0 && ranges[0] <= BIG as u64 / 2, "{ranges:?}");
    assert!(relay.sent() < BIG + BIG / 4, "it was sent again: {} bytes", relay.sent());
}

/// A registry that goes away in the middle is given up; another process goes on with what there is.
#[test]
fn another_attempt_goes_on_where_an_earlier_one_gave_up() {
    skip_without!("umoci", "skopeo", "docker-registry");
    let scene = Scene::new(false);
    let relay = Relay::start(scene.registry.port, Mode::CutAll(BIG / 2));
    let name = scene.at(relay.port);
    let error = pull(&scene.world, &name).unwrap_err();
    assert!(error.hint().contains("is kept"), "{}", chain(&error));
    assert!(scene.world.images.list().unwrap().is_empty());
    let partial: Vec<_> =
        fs::read_dir(scene.world.path("images/partial")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(partial.len(), 1);
    let had = fs::metadata(&partial[0]).unwrap().len();
    assert!(had > 0);
    relay.set(Mode::Pass);
    let before = relay.ranges().len();
    pull(&scene.world, &name).unwrap_or_else(|e| panic!("{}", chain(&e)));
    assert_eq!(relay.ranges()[before..], [had]);
    assert!(!partial[0].exists());
}

/// A fake beside the real one: what is not what its digest says is never taken, and not kept for a later attempt.
#[test]
fn what_is_not_what_its_digest_says_is_refused() {
    skip_without!("umoci", "skopeo", "docker-registry");
    let scene = Scene::new(false);
    let relay = Relay::start(scene.registry.port, Mode::Pass);
    let name = scene.at(relay.port);
    for (what, words) in [("/blobs/", "is `sha256:"), ("/manifests/", "its manifest is `sha256:")] {
        relay.set(Mode::Bend(what));
        let error = pull(&scene.world, &name).unwrap_err();
        let said = chain(&error);
        assert!(said.contains(words) || said.contains("its configuration is `sha256:"), "{what}: {said}");
        assert!(error.hint().contains("trust"), "{}", error.hint());
        assert!(scene.world.images.list().unwrap().is_empty());
    }
    relay.set(Mode::BendBig(BIG / 2));
    let error = pull(&scene.world, &name).unwrap_err();
    assert!(matches!(error, PullError::Blob { .. }), "{}", chain(&error));
    assert_eq!(fs::read_dir(scene.world.path("images/partial")).unwrap().count(), 0, "bent bytes were kept");
    // The control: the same relay, honest, gives the image.
    relay.set(Mode::Pass);
    pull(&scene.world, &name).unwrap();
}

#[test]
fn nothing_without_end_is_taken() {
    skip_without!("umoci", "skopeo", "docker-registry");
    let scene = Scene::new(false);
    let relay = Relay::start(scene.registry.port, Mode::Endless("/manifests/"));
    let name = scene.at(relay.port);
    assert!(chain(&pull(&scene.world, &name).unwrap_err()).contains("its manifest has more than"));
    relay.set(Mode::Endless("/blobs/"));
    let said = chain(&pull(&scene.world, &name).unwrap_err());
    assert!(said.contains("its configuration has more than"), "{said}");
    let bounds = Bounds { blob: 1000, ..Bounds::default() };
    let policy = Policy { bounds, ..Policy::default() };
    relay.set(Mode::Pass);
    let options = PullOptions { policy, ..PullOptions::default() };
    let said = chain(&pull_with(&scene.world, &name, &options).unwrap_err());
    assert!(said.contains("more than 1000 bytes as it is sent"), "{said}");
    relay.set(Mode::Silent);
    let options = PullOptions { timeout: Duration::from_secs(1), ..PullOptions::default() };
    let error = pull_with(&scene.world, &name, &options).unwrap_err();
    assert!(matches!(error, PullError::Deadline { .. }), "{}", chain(&error));
    relay.set(Mode::Redirects);
    let said = chain(&pull(&scene.world, &name).unwrap_err());
    assert!(said.contains("redirects again and again"), "{said}");
}

#[test]
fn nobody_but_this_machine_is_asked_in_the_clear() {
    // An address of the documentation (RFC 5737): nobody is there, and nobody must be asked.
    let scene = Scene::new_without_registry();
    let relay = Relay::start(1, Mode::RedirectTo("http://192.0.2.1/v2/x"));
    let error = pull(&scene, &format!("127.0.0.1:{}/team/app:1", relay.port)).unwrap_err();
    assert!(matches!(&error, PullError::Insecure { host } if host == "192.0.2.1"), "{}", chain(&error));
}

impl Scene {
    fn new_without_registry() -> World {
        World::new()
    }
}

/// Two processes pull the same image at once: both have it, and it was sent once.
#[test]
fn two_at_once_share_what_comes() {
    skip_without!("umoci", "skopeo", "docker-registry");
    let scene = Scene::new(false);
    let relay = Relay::start(scene.registry.port, Mode::Pass);
    let name = scene.at(relay.port);
    std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| pull(&scene.world, &name))).collect();
        for one in both {
            one.join().unwrap().unwrap_or_else(|e| panic!("{}", chain(&e)));
        }
    });
    assert!(relay.sent() < BIG + BIG / 4, "it was sent twice: {} bytes", relay.sent());
    assert!(Path::new(&scene.world.images.find(&name).unwrap().layers[0].path).exists());
}
