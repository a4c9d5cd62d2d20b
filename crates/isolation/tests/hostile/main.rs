//! An agent that has gone over to the workload: whatever it does, the host ends up with an error or a lost
//! sandbox, within a bound, and with nothing left of it.
//!
//! The single frames are tried where the link is (`src/link/tests.rs`); here is the whole way, through a
//! program in the place of the agent. Waiting for a silent one is cut short by a clock that is stopped.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![allow(missing_docs, reason = "tests name themselves")]

#[path = "../walls/support.rs"]
#[allow(dead_code, reason = "shared with the tests of honest walls")]
mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use insula_frames::VERSION;
use insula_isolation::{Engine, Event, Exit, Gone, LaunchError, Record, Sandbox};
use insula_spec::Level;
use support::*;
use tokio::sync::{Mutex, MutexGuard};

/// One at a time: descriptors are counted.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A home whose agent does this.
struct Scene {
    home: Home,
    engine: Engine,
    what: &'static str,
    fds: BTreeSet<String>,
    _alone: MutexGuard<'static, ()>,
}

impl Scene {
    async fn new(what: &'static str) -> Self {
        Self::with_shells(what, 0).await
    }

    async fn with_shells(what: &'static str, shells: usize) -> Self {
        let alone = ALONE.lock().await;
        // The first child of a process brings descriptors that stay.
        assert!(tokio::process::Command::new("true").status().await.unwrap().success());
        let fds = open_fds();
        let home = Home::new();
        let engine = home.engine_of(1, fake(&home, what), shells);
        Self { home, engine, what, fds, _alone: alone }
    }

    async fn launch(&self) -> Result<Box<dyn Sandbox>, LaunchError> {
        let launch = self.home.launch(&self.engine, Level::Process, &["true"]);
        let registry = self.engine.registry();
        registry.backend(Level::Process).unwrap().launch(&launch).await
    }

    async fn started(&self) -> Box<dyn Sandbox> {
        in_time(self.launch()).await.unwrap_or_else(|e| panic!("`{}`: {e}", self.what))
    }

    /// Nothing is left: no process, no directory, no control group, no descriptor.
    async fn over(self) {
        let Self { home, engine, what, fds, _alone } = self;
        in_time(engine.close()).await;
        drop(engine);
        let left = || {
            let mut left = home.run_dirs();
            left.extend(processes_with(&marker(&home)).iter().map(|pid| format!("process {pid}")));
            left.extend(home.groups().iter().map(|g| g.display().to_string()));
            left.extend(home.host_sockets());
            left
        };
        let deadline = tokio::time::Instant::now() + LONG;
        while !left().is_empty() || !open_fds().is_subset(&fds) {
            let late = tokio::time::Instant::now() > deadline;
            let leaked: Vec<_> = open_fds().difference(&fds).cloned().collect();
            assert!(!late, "`{what}`: {:?}, descriptors {leaked:?}", left());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// What is in the command line of the fake: the path of its script.
fn marker(home: &Home) -> String {
    home.path("fake-agent").display().to_string()
}

fn fake(home: &Home, what: &str) -> OwnedFd {
    let path = home.path("fake-agent");
    let exec = format!(
        "#!/usr/bin/python3\nimport os, sys\nos.execv('/usr/bin/python3', ['python3', '{0}.py', *sys.argv[1:]])\n",
        path.display()
    );
    write(&path, &exec);
    write(
        &home.path("fake-agent.py"),
        &format!("VERSION = {VERSION}\n{}\n{what}\n", include_str!("fake_agent.py")),
    );
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let file = File::open(path).unwrap();
    // An interpreter must be able to open what it was given.
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    file.into()
}

#[tokio::test]
async fn the_fake_can_be_honest() {
    let what = "started()\nsay(listening())\nwait_for(COMMIT)\nsay(COMMITTED)\nwait_for(SIGNAL)\nsay(exited(3))\nwait_for(BYE)";
    let scene = Scene::new(what).await;
    let mut sandbox = scene.started().await;
    assert_eq!(event(&mut *sandbox).await, Event::Listening);
    in_time(sandbox.commit()).await.unwrap();
    assert_eq!(in_time(sandbox.stop(LONG)).await, Exit::Code(3));
    scene.over().await;
}

#[tokio::test]
async fn a_launch_with_a_broken_agent_fails_and_leaves_nothing() {
    let cases = [
        "sys.exit(0)",
        "wait_for(SETUP)",
        "wait_for(SETUP); say(frame(200)); stay()",
        "wait_for(SETUP); say(STARTED); stay()",
        "wait_for(SETUP); say(frame(1)); stay()",
        "wait_for(SETUP); say(b'\\xff' * 100); stay()",
        "wait_for(SETUP); say(failed(errno=-1, detail='x' * 100000)); stay()",
        "wait_for(SETUP); say(failed(errno=2**31 - 1)); stay()",
        "wait_for(SETUP); say(ready(0)); stay()",
        "wait_for(SETUP); say(ready(-1)); stay()",
        "wait_for(SETUP); say(ready(-2**31)); stay()",
        "wait_for(SETUP); say(ready(2**31 - 1)); stay()",
        "shell(); sys.exit(0)",
        "shell(); wait_for(LAUNCH)",
        "shell(); wait_for(LAUNCH); say(frame(2, b'more')); stay()",
        "shell(); wait_for(LAUNCH); say(COMMITTED); stay()",
        "shell(); wait_for(LAUNCH); say(welcome()); stay()",
        "shell(); wait_for(LAUNCH); say(STARTED[:-1]); sys.exit(0)",
        "shell(); wait_for(LAUNCH); say(frame(3, b'\\xff' * 9)); stay()",
    ];
    for what in cases {
        let scene = Scene::new(what).await;
        let error = in_time(scene.launch()).await.expect_err(what);
        assert!(!error.hint().is_empty() && !error.to_string().is_empty());
        scene.over().await;
    }
}

#[tokio::test]
async fn an_agent_that_breaks_the_protocol_is_lost() {
    let cases = [
        "started(); sys.exit(0)",
        "shell(); wait_for(LAUNCH); say(STARTED, range(3)); stay()",
        "started(); say(frame(200)); stay()",
        "started(); say(b'\\0' * 4); stay()",
        "started(); say(struct.pack('<I', 2**32 - 1)); stay()",
        "started(); say(listening()[:-1]); sys.exit(0)",
        "started(); say(STARTED); stay()",
        "started(); say(welcome()); stay()",
        "started(); say(sockets(0)); stay()",
        "started(); say(log(*[(n, 'x' * 16385) for n in range(1)])); stay()",
        "started(); [say(log((n, 'x'))) for n in range(40)]; stay()",
        "started(); say(listening(passed=1)); stay()",
        "started(); say(listening(passed=1), [os.open('/dev/null', 0)]); stay()",
        "started(); say(frame(5, b'\\7\\7\\7')); stay()",
        "started(); say(sockets(64), [1] * 64); stay()",
        "started(); say(sockets(3), [0]); stay()",
        "started(); [say(byte, [1] * 64) for byte in (b'\\1', b'\\0', b'\\0', b'\\0')]; stay()",
    ];
    for what in cases {
        let scene = Scene::new(what).await;
        let mut sandbox = scene.started().await;
        assert_eq!(event(&mut *sandbox).await, Event::Exited(Exit::Lost), "{what}");
        // What a caller does next must not hang either.
        in_time(sandbox.connector().connect()).await.expect_err(what);
        in_time(sandbox.commit()).await.expect_err(what);
        let launch = scene.home.launch(&scene.engine, Level::Process, &["true"]);
        in_time(sandbox.relaunch(&launch)).await.expect_err(what);
        assert_eq!(in_time(sandbox.stop(LONG)).await, Exit::Lost);
        scene.over().await;
    }
}

#[tokio::test]
async fn a_flood_of_events_ends_as_lost() {
    let what = "started(); [say(listening(v6=n % 2, unix=n % 3 == 0)) for n in range(100)]; stay()";
    let scene = Scene::new(what).await;
    let mut sandbox = scene.started().await;
    assert_eq!(event(&mut *sandbox).await, Event::Listening);
    assert_eq!(event(&mut *sandbox).await, Event::Exited(Exit::Lost), "a second one was taken");
    in_time(sandbox.stop(LONG)).await;
    scene.over().await;
}

#[tokio::test]
async fn an_end_that_is_told_twice_is_one_end() {
    let scene = Scene::new("started(); say(exited(1) + exited(2, 2**64 - 1)); stay()").await;
    let mut sandbox = scene.started().await;
    assert_eq!(event(&mut *sandbox).await, Event::Exited(Exit::Code(1)));
    assert_eq!(in_time(sandbox.stop(LONG)).await, Exit::Code(1));
    scene.over().await;
}

/// Lines that can never have been written are not waited for at the end.
#[tokio::test]
async fn a_count_of_lines_that_lies_does_not_hold_up_the_end() {
    let scene = Scene::new("started(); say(exited(1, 2**64 - 1)); stay()").await;
    let mut sandbox = scene.started().await;
    let _logs = sandbox.logs();
    assert_eq!(event(&mut *sandbox).await, Event::Exited(Exit::Code(1)));
    assert_eq!(in_time(sandbox.stop(LONG)).await, Exit::Code(1));
    scene.over().await;
}

#[tokio::test]
async fn a_silent_agent_is_given_up() {
    // At its first words, at the launch: the clock is stopped, so every bound passes at once.
    let scene = Scene::new("stay()").await;
    tokio::time::pause();
    let error = scene.launch().await.unwrap_err();
    assert!(matches!(error, LaunchError::Walls { .. }), "{error:?}");
    tokio::time::resume();
    scene.over().await;
    // At its commit.
    let scene = Scene::new("started(); say(listening()); stay()").await;
    let mut sandbox = scene.started().await;
    tokio::time::pause();
    let gone = sandbox.commit().await.unwrap_err();
    assert!(matches!(gone, Gone::NoAnswer(_)), "{gone:?}");
    tokio::time::resume();
    drop(sandbox);
    scene.over().await;
    // At its end: it hears nothing and ends all the same.
    let scene = Scene::new("started(); stay()").await;
    let sandbox = scene.started().await;
    tokio::time::pause();
    assert_eq!(sandbox.stop(Duration::from_secs(3600)).await, Exit::Lost);
    tokio::time::resume();
    scene.over().await;
}

#[tokio::test]
async fn what_is_not_the_recorded_agent_is_not_adopted() {
    let cases = [
        "visited(); sys.exit(0)",
        "visited(); say(welcome(version=VERSION + 1)); stay()",
        "visited(); say(welcome(version=VERSION - 1)); stay()",
        "visited(); say(welcome(version=0)); stay()",
        "visited(); say(welcome(key='another')); stay()",
        "visited(); say(welcome(key='x' * 100000)); stay()",
        "visited(); say(welcome(phase=b'\\0')); stay()",
        "visited(); say(welcome(phase=b'\\7')); stay()",
        "visited(); say(welcome(phase=b'\\1\\1')); sys.exit(0)",
        "visited(); say(welcome(phase=b'\\1\\1') + exited()); stay()",
        "visited(); say(STARTED); stay()",
        "visited(); say(frame(200)); stay()",
    ];
    for what in cases {
        let scene = Scene::new(what).await;
        let record = committed(&scene).await;
        let gone = adopt(&scene.home.engine(2), &record, 0).await.map(|a| a.listening).expect_err(what);
        assert_ne!(gone, Gone::Rebooted, "{what}");
        scene.over().await;
    }
    // The control: an honest one passes.
    let scene = Scene::new("visited(); say(welcome(phase=b'\\1\\1') + listening()); stay()").await;
    let record = committed(&scene).await;
    let adopted = adopt(&scene.home.engine(2), &record, 0).await.unwrap();
    assert!(adopted.listening);
    tokio::time::pause();
    adopted.sandbox.stop(Duration::ZERO).await;
    tokio::time::resume();
    scene.over().await;
}

#[tokio::test]
async fn a_recorded_agent_that_is_silent_is_given_up() {
    for what in ["visited(); stay()", "visited(); say(welcome(phase=b'\\1\\1')); stay()"] {
        let scene = Scene::new(what).await;
        let record = committed(&scene).await;
        let engine = scene.home.engine(2);
        tokio::time::pause();
        let registry = engine.registry();
        let gone = registry.backend(record.level).unwrap().adopt(&record, 0).await;
        assert!(matches!(gone.map(|a| a.listening), Err(Gone::NoAnswer(_))), "{what}");
        tokio::time::resume();
        drop((registry, engine));
        scene.over().await;
    }
}

async fn committed(scene: &Scene) -> Record {
    let mut sandbox = scene.started().await;
    in_time(sandbox.commit()).await.unwrap();
    sandbox.record()
}
