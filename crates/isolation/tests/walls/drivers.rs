//! Level `container` by crun and runc: the same claims as by the agent, which is the control.

use insula_isolation::{Engine, Event, Exit, LaunchError, Usage};
use insula_spec::{Driver, Launch, Level, Levels, Root, RootSource};

use crate::container::rootfs;
use crate::support::*;

/// An engine whose containers this driver makes; `None` where it is not installed, which is told.
fn by(home: &Home, driver: Driver, test: &str) -> Option<Engine> {
    let mut levels = Levels::default();
    levels.container.driver = driver;
    let engine = home.engine_with(1, levels);
    match engine.registry().backend(Level::Container) {
        Ok(_) => Some(engine),
        Err(e) => {
            skipped(&format!("{test} ({})", driver.as_str()), &e.why);
            None
        }
    }
}

const TELL: &str = "
import os
print(os.getuid(), os.getcwd(), os.uname().nodename, os.getpid() != 1)
status = dict(line.split(':\\t', 1) for line in open('/proc/self/status') if ':\\t' in line)
print({status[name].strip() for name in ('CapEff', 'CapPrm', 'CapBnd', 'CapInh')}, status['NoNewPrivs'].strip())
print(status['Seccomp'].strip(), open('/proc/keys').read() == '')
def attempt(do):
    try: do(); return 'ok'
    except OSError as e: return type(e).__name__
print(attempt(lambda: os.chroot('/tmp')), attempt(lambda: open('/proc/sys/kernel/domainname', 'w')))
print(sorted(os.listdir('/'))[:3], os.path.exists('/bundle'), os.path.exists('/state'))
";

#[tokio::test(flavor = "multi_thread")]
async fn the_walls_are_the_same_whoever_makes_the_container() {
    let home = Home::new();
    for driver in Driver::ALL {
        let Some(engine) = by(&home, driver, "the_walls_are_the_same_whoever_makes_the_container") else {
            continue;
        };
        let launch = home.launch(&engine, Level::Container, &["python3", "-c", TELL]);
        let text = run(&engine, &launch, Level::Container).await;
        let lines: Vec<_> = text.lines().collect();
        let uid = inner_uid(&launch, Level::Container);
        assert_eq!(lines[0], format!("{uid} {} alice True", launch.workdir.display()), "{driver:?}: {text}");
        assert_eq!(lines[1], "{'0000000000000000'} 1", "{driver:?}: {text}");
        assert_eq!(lines[2], "2 True", "{driver:?}: {text}");
        assert!(lines[3].starts_with("PermissionError ") && !lines[3].ends_with(" ok"), "{driver:?}: {text}");
        assert!(lines[4].ends_with("False False"), "{driver:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_are_told_as_they_were() {
    let home = Home::new();
    for driver in [Driver::Crun, Driver::Runc] {
        let Some(engine) = by(&home, driver, "ends_are_told_as_they_were") else { continue };
        for (script, expected) in [
            ("echo out; echo err >&2; exit 7", Exit::Code(7)),
            ("exit 0", Exit::Code(0)),
            ("kill -9 $$", Exit::Signal(9)),
        ] {
            let launch = home.launch(&engine, Level::Container, &["sh", "-c", script]);
            let (exit, text) = finish(start(&engine, &launch, Level::Container).await).await;
            assert_eq!(exit, expected, "{driver:?}, {script}: {text}");
        }
        let launch = home.launch(&engine, Level::Container, &["no-such-program"]);
        let (exit, text) = finish(start(&engine, &launch, Level::Container).await).await;
        assert!(
            matches!(exit, Exit::Code(_)) && text.contains("no-such-program"),
            "{driver:?}: {exit}, {text}"
        );
    }
}

/// Serves until it is asked to end, and then says so.
const SERVE: &str = "
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print('asked', flush=True), sys.exit(3)))
s = socket.socket(); s.bind(('127.0.0.1', int(os.environ['PORT']))); s.listen()
while True: s.accept()[0].sendall(b'hello')
";

#[tokio::test(flavor = "multi_thread")]
async fn it_is_reached_frozen_adopted_and_stopped() {
    let home = Home::new();
    for driver in [Driver::Crun, Driver::Runc] {
        let Some(engine) = by(&home, driver, "it_is_reached_frozen_adopted_and_stopped") else { continue };
        let launch = home.launch(&engine, Level::Container, &["python3", "-c", SERVE]);
        let mut sandbox = listening(&engine, &launch, Level::Container).await;
        in_time(sandbox.connector().connect()).await.unwrap();
        in_time(sandbox.pause()).await.unwrap();
        in_time(sandbox.resume()).await.unwrap();
        sandbox.commit().await.unwrap();
        let record = sandbox.record();
        assert_eq!(record.driver, Some(driver));
        sandbox.detach();
        drop(engine);
        // A later daemon with another driver in its configuration adopts it all the same.
        let engine = home.engine(2);
        let adopted = adopt(&engine, &record, 0).await.unwrap();
        assert!(adopted.listening);
        // An ordinary user may have no control groups to count with.
        assert!(!root() || adopted.sandbox.usage() != Usage::default());
        let exit = in_time(adopted.sandbox.stop(std::time::Duration::from_secs(10))).await;
        assert_eq!(exit, Exit::Code(3), "{driver:?}");
        home.nothing_left(&record);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_of_its_own_is_not_written_and_may_be_kept() {
    let home = Home::new();
    let Some(root) = rootfs(&home) else {
        return skipped("a_root_of_its_own_is_not_written_and_may_be_kept", "no /bin/busybox");
    };
    for driver in [Driver::Crun, Driver::Runc] {
        let Some(engine) = by(&home, driver, "a_root_of_its_own_is_not_written_and_may_be_kept") else {
            continue;
        };
        let script =
            "cat /opt/app/note; echo changed >/opt/app/note; touch \"$DATA/x\" && echo data; cat /etc/hosts";
        let tenant = driver.as_str();
        for (persistent, first) in [(false, "of the layer"), (true, "of the layer"), (true, "changed")] {
            let launch = home.launch_for(&engine, Level::Container, tenant, &["/bin/sh", "-c", script]);
            let source = RootSource::Directory(root.clone());
            let mut launch = Launch { root: Root { source, persistent, ..Root::default() }, ..launch };
            launch.env.push(("DATA".into(), launch.data_dir.display().to_string().into()));
            if persistent && has_a_range() {
                refuses_to_keep_a_root(&engine, &launch, Level::Container).await;
                continue;
            }
            let text = run(&engine, &launch, Level::Container).await;
            assert_eq!(text.lines().next(), Some(first), "{driver:?}, {persistent}: {text}");
            assert!(text.contains("data\n127.0.0.1 localhost"), "{driver:?}: {text}");
        }
        assert_eq!(std::fs::read_to_string(root.join("opt/app/note")).unwrap(), "of the layer\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_driver_cannot_do_is_refused() {
    let home = Home::new();
    let Some(engine) = by(&home, Driver::Crun, "what_a_driver_cannot_do_is_refused") else { return };
    let file = home.path("filter.json");
    std::fs::write(&file, r#"{ "defaultAction": "SCMP_ACT_ALLOW" }"#).unwrap();
    let launch = home.launch(&engine, Level::Container, &["true"]);
    let launch = Launch { seccomp: Some(file), ..launch };
    let error = try_start(&engine, &launch, Level::Container).await.unwrap_err();
    assert!(matches!(error, LaunchError::Unenforceable { what: "seccomp", .. }), "{error:?}");
    // Its container is described once: another run needs new walls.
    let launch = home.launch(&engine, Level::Container, &["true"]);
    let mut sandbox = start(&engine, &launch, Level::Container).await;
    while !matches!(event(&mut *sandbox).await, Event::Exited(_)) {}
    assert!(in_time(sandbox.relaunch(&launch)).await.is_err());
    in_time(sandbox.stop(std::time::Duration::ZERO)).await;
}

#[test]
fn a_program_that_is_not_the_driver_is_not_used() {
    let home = Home::new();
    let mut levels = Levels::default();
    levels.container.driver = Driver::Crun;
    levels.container.path = Some("/bin/true".into());
    let engine = home.engine_with(1, levels);
    let error = engine.registry().backend(Level::Container).map(|_| ()).unwrap_err();
    // Where there is one id only, that is said first.
    assert!(error.why.contains("is not crun") || error.why.contains("one id"), "{error:?}");
    assert!(!error.hint.is_empty());
}
