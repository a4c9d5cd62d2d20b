//! Walls as they really stand: launched, reached, adopted, killed.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use insula_isolation::{Engine, EngineConfig, Event, Exit, LaunchError, Record, Sandbox};
use insula_spec::{IdRange, InstanceName, Launch, Level, Limits, Network};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Home {
    dir: TempDir,
    id: String,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("walls").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let id = dir.path().file_name().unwrap().to_string_lossy().to_lowercase().replace('.', "");
        Self { dir, id }
    }

    fn engine(&self, epoch: u64) -> Engine {
        let agent =
            std::env::var_os("INSULA_AGENT").map(PathBuf::from).expect("INSULA_AGENT names the agent");
        Engine::new(EngineConfig {
            home_id: self.id.clone(),
            run_dir: self.dir.path().join("run"),
            hidden: vec![self.dir.path().join("data")],
            agent: OwnedFd::from(File::open(agent).unwrap()),
            epoch,
            shells: 1,
        })
        .unwrap()
    }

    fn launch(&self, engine: &Engine, level: Level, argv: &[&str]) -> Launch {
        let instance: InstanceName = "app:alice".parse().unwrap();
        let backend = engine.registry();
        let backend = backend.backend(level).unwrap();
        let placement = backend.place(&instance, Network::Isolated).unwrap();
        let root = rustix::process::geteuid().is_root();
        Launch {
            argv: argv.iter().map(ToString::to_string).collect(),
            env: vec![
                ("PATH".into(), "/usr/bin:/bin".into()),
                ("PORT".into(), placement.port.to_string()),
                ("SOCKET_PATH".into(), placement.socket.display().to_string()),
            ],
            workdir: self.dir.path().to_owned(),
            data_dir: self.dir.path().join("data/app/alice"),
            mounts: Vec::new(),
            network: Network::Isolated,
            limits: Limits::default(),
            ids: root.then_some(IdRange { base: 0x2000_0000 }),
            placement,
            instance,
        }
    }
}

const SERVER: &str = r#"
import os, socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(os.environ["PORT"])))
s.listen()
print("ready", flush=True)
n = 0
while True:
    c, _ = s.accept()
    while True:
        data = c.recv(100)
        if not data: break
        n += 1
        c.sendall(b"%d %d %s" % (n, os.getuid(), data))
        if data == b"die": os._exit(7)
"#;

async fn ask(sandbox: &dyn Sandbox, text: &str) -> String {
    let mut stream = sandbox.connector().connect().await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut buffer = [0; 100];
    let n = stream.read(&mut buffer).await.unwrap();
    String::from_utf8_lossy(&buffer[..n]).into_owned()
}

async fn event(sandbox: &mut dyn Sandbox) -> Event {
    tokio::time::timeout(Duration::from_secs(20), sandbox.event()).await.expect("an event in time")
}

async fn started(engine: &Engine, launch: &Launch, level: Level) -> Box<dyn Sandbox> {
    let registry = engine.registry();
    let mut sandbox = registry.backend(level).unwrap().launch(launch).await.unwrap();
    assert_eq!(event(&mut *sandbox).await, Event::Listening);
    sandbox
}

async fn life(level: Level) {
    let home = Home::new();
    let engine = home.engine(1);
    let launch = home.launch(&engine, level, &["python3", "-c", SERVER]);
    let mut sandbox = started(&engine, &launch, level).await;
    let uid = if level == Level::Process { launch.ids.map_or(own_uid(), IdRange::workload) } else { 1000 };
    assert_eq!(ask(&*sandbox, "hello").await, format!("1 {uid} hello"));
    sandbox.commit().await.unwrap();
    let record = sandbox.record();
    let mut logs = sandbox.logs().unwrap();
    let batch = logs.next().await.unwrap();
    assert_eq!(batch.lines[0].bytes, b"ready");
    logs.ack(1);
    // A new worker finds it, and its memory with it.
    drop((sandbox, logs, engine));
    let engine = home.engine(2);
    let registry = engine.registry();
    let mut adopted = registry.backend(level).unwrap().adopt(&record, 1).await.unwrap();
    assert!(adopted.listening);
    assert_eq!(ask(&*adopted.sandbox, "again").await, format!("2 {uid} again"));
    adopted.sandbox.pause().await.unwrap();
    adopted.sandbox.resume().await.unwrap();
    assert_eq!(ask(&*adopted.sandbox, "thawed").await, format!("3 {uid} thawed"));
    ask(&*adopted.sandbox, "die").await;
    assert_eq!(event(&mut *adopted.sandbox).await, Event::Exited(Exit::Code(7)));
    let kept = launch.data_dir.join("kept");
    std::fs::write(&kept, "of the tenant").unwrap();
    adopted.sandbox.relaunch(&launch).await.unwrap();
    assert_eq!(event(&mut *adopted.sandbox).await, Event::Listening);
    assert_eq!(ask(&*adopted.sandbox, "anew").await, format!("1 {uid} anew"));
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "of the tenant", "a relaunch must not empty data");
    assert_eq!(adopted.sandbox.stop(Duration::from_secs(5)).await, Exit::Signal(15));
    nothing_left(&home, &record);
}

fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

fn nothing_left(home: &Home, record: &Record) {
    let run: Vec<_> = std::fs::read_dir(home.dir.path().join("run")).unwrap().collect();
    assert!(
        run.iter().all(|e| e.as_ref().unwrap().file_name() == "sockets"),
        "left in the run directory: {run:?}"
    );
    for group in &record.cgroups {
        assert!(!group.exists(), "left behind: {}", group.display());
    }
    assert!(!Path::new(&format!("/proc/{}", record.app_pid)).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_sandbox_lives_through_all_of_it() {
    life(Level::Namespace).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_sandbox_lives_through_all_of_it() {
    life(Level::Process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_is_named() {
    let home = Home::new();
    let engine = home.engine(1);
    for level in [Level::Process, Level::Namespace] {
        let launch = home.launch(&engine, level, &["no-such-program"]);
        let error = engine.registry().backend(level).unwrap().launch(&launch).await.unwrap_err();
        assert!(
            matches!(&error, LaunchError::Exec { program, .. } if program == "no-such-program"),
            "{error:?}"
        );
    }
}

/// What a workload inherits beyond its standard streams would be a hole in every wall.
#[tokio::test(flavor = "multi_thread")]
async fn no_descriptor_of_the_host_reaches_a_workload() {
    let home = Home::new();
    let engine = home.engine(1);
    let leak = File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let list = "import os; print(sorted(os.listdir('/proc/self/fd')))";
    for level in [Level::Process, Level::Namespace] {
        let launch = home.launch(&engine, level, &["python3", "-c", list]);
        let registry = engine.registry();
        let mut sandbox = registry.backend(level).unwrap().launch(&launch).await.unwrap();
        let line = sandbox.logs().unwrap().next().await.unwrap().lines.remove(0);
        // 3 is the directory that is being listed.
        assert_eq!(String::from_utf8_lossy(&line.bytes), "['0', '1', '2', '3']", "level {level}");
        assert_eq!(event(&mut *sandbox).await, Event::Exited(Exit::Code(0)));
        sandbox.stop(Duration::ZERO).await;
    }
}

/// Not a test of speed: prints what a launch costs here, from a blank shell and without one.
#[tokio::test(flavor = "multi_thread")]
async fn launches_are_timed_for_the_reader() {
    let home = Home::new();
    let engine = home.engine(1);
    let launch = home.launch(&engine, Level::Namespace, &["/bin/true"]);
    let registry = engine.registry();
    let backend = registry.backend(Level::Namespace).unwrap();
    for pooled in [false, true] {
        let mut times = Vec::new();
        for _ in 0..20 {
            if pooled {
                while engine.shells() == 0 {
                    engine.warm();
                    tokio::task::yield_now().await;
                }
            }
            let start = std::time::Instant::now();
            let mut sandbox = backend.launch(&launch).await.unwrap();
            times.push(start.elapsed());
            assert_eq!(event(&mut *sandbox).await, Event::Exited(Exit::Code(0)));
            sandbox.stop(Duration::ZERO).await;
        }
        times.sort();
        println!("launch to executed, pooled {pooled}: p50 {:?} p90 {:?}", times[10], times[18]);
    }
}
