//! Finding a workload again, and refusing what is not it.

use std::os::unix::net::UnixListener;
use std::process::{Child, Command};
use std::time::Duration;

use insula_isolation::{Event, Exit, Gone, Record};
use insula_spec::{ByteSize, Level, Limits};

use crate::support::*;

struct Left {
    home: Home,
    record: Record,
    launch: insula_spec::Launch,
}

/// A committed workload whose worker is gone.
async fn left(level: Level, program: &[&str], ready: bool) -> Left {
    let home = Home::new();
    let engine = home.engine(1);
    let launch = home.launch(&engine, level, program);
    let mut sandbox = start(&engine, &launch, level).await;
    if ready {
        assert_eq!(event(&mut *sandbox).await, Event::Listening);
    }
    sandbox.commit().await.unwrap();
    let record = sandbox.record();
    drop((sandbox, engine));
    Left { home, record, launch }
}

fn alive(record: &Record) -> bool {
    lives(record.app_pid, record.app_start)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_before_the_last_boot_is_not_looked_for() {
    for level in BOTH {
        let left = left(level, &["sleep", "1000"], false).await;
        let engine = left.home.engine(2);
        let record = Record { boot_id: "another".into(), ..left.record.clone() };
        assert_eq!(adopt(&engine, &record, 0).await.unwrap_err(), Gone::Rebooted);
        assert!(alive(&left.record), "the pids of another boot were taken for ours");
        in_time(adopt(&engine, &left.record, 0).await.unwrap().sandbox.stop(Duration::ZERO)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_agent_is_not_adopted_and_nothing_of_it_stays() {
    for level in BOTH {
        let left = left(level, &["sleep", "1000"], false).await;
        kill(left.record.agent_pid);
        let engine = left.home.engine(2);
        let gone = adopt(&engine, &left.record, 0).await.unwrap_err();
        assert!(matches!(gone, Gone::NoAnswer(_)), "{gone:?}");
        left.home.nothing_left(&left.record);
    }
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

struct Bystander(Child);

impl Bystander {
    /// One that has another start time, which is told in ticks of 10 ms.
    fn born_after(start: u64) -> Self {
        loop {
            let one = Self(Command::new("sleep").arg("1000").spawn().unwrap());
            if insula_linux::identity::start_time(one.pid()).unwrap() > Some(start) {
                return one;
            }
        }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The kernel gives a pid to the next process: whoever has it now is neither adopted nor harmed.
#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_pid_that_another_process_has_now_is_left_alone() {
    for level in BOTH {
        let left = left(level, &["sleep", "1000"], false).await;
        let mut stranger = Bystander::born_after(left.record.agent_start);
        let engine = left.home.engine(2);
        let record = Record { agent_pid: stranger.pid(), cgroups: Vec::new(), ..left.record.clone() };
        let gone = adopt(&engine, &record, 0).await.unwrap_err();
        assert!(matches!(gone, Gone::NoAnswer(_)), "{gone:?}");
        assert!(stranger.lives(), "a stranger was killed for having a pid");
        drop(engine);
        kill(left.record.agent_pid);
        let engine = left.home.engine(3);
        adopt(&engine, &left.record, 0).await.unwrap_err();
    }
}

/// The pid and start time are right, but it is not the one who listens on the socket of these walls.
#[tokio::test(flavor = "multi_thread")]
async fn another_listener_on_the_socket_is_refused() {
    let left = left(Level::Namespace, &["sleep", "1000"], false).await;
    let socket = left.home.path("run").join(&left.record.key).join("agent.sock");
    std::fs::remove_file(&socket).unwrap();
    let _impostor = UnixListener::bind(&socket).unwrap();
    let engine = left.home.engine(2);
    let gone = adopt(&engine, &left.record, 0).await.unwrap_err();
    assert!(matches!(gone, Gone::NotTheSame(_)), "{gone:?}");
    left.home.nothing_left(&left.record);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_another_key_is_refused() {
    let left = left(Level::Namespace, &["sleep", "1000"], false).await;
    let run = left.home.path("run");
    let other = format!("n{}", "0".repeat(15));
    std::fs::rename(run.join(&left.record.key), run.join(&other)).unwrap();
    let engine = left.home.engine(2);
    let record = Record { key: other, ..left.record.clone() };
    let gone = adopt(&engine, &record, 0).await.unwrap_err();
    assert!(matches!(&gone, Gone::NotTheSame(why) if why.contains(&left.record.key)), "{gone:?}");
    left.home.nothing_left(&left.record);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_worker_does_not_take_a_workload_from_a_newer_one() {
    let left = left(Level::Namespace, &["python3", "-c", SERVER], true).await;
    let newer = left.home.engine(3);
    let held = adopt(&newer, &left.record, 0).await.unwrap();
    assert!(held.listening);
    // The same generation may come again, and a later one may take over.
    let later = left.home.engine(4);
    let mut held_later = adopt(&later, &left.record, 0).await.unwrap();
    assert_eq!(ask(&*held_later.sandbox, "hi").await, "1 1000 hi");
    let socket = left.home.path("run").join(&left.record.key).join("agent.sock");
    assert!(old_hello(&socket).await, "an older generation was obeyed");
    assert_eq!(ask(&*held_later.sandbox, "hi").await, "2 1000 hi", "the newer one lost its connection");
    held.sandbox.detach();
    ask(&*held_later.sandbox, "die").await;
    assert_eq!(event(&mut *held_later.sandbox).await, Event::Exited(Exit::Code(7)));
    in_time(held_later.sandbox.stop(Duration::ZERO)).await;
}

/// Says hello as generation 1 and asks for the end of the workload. Whether it was turned away.
async fn old_hello(socket: &std::path::Path) -> bool {
    use insula_frames::{ToAgent, VERSION};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let hello = ToAgent::Hello { version: VERSION, epoch: 1, logs_from: 0 }.encode();
    stream.write_all(&[hello, ToAgent::KillAll.encode()].concat()).await.unwrap();
    let mut answer = Vec::new();
    // A welcome that says why, then the end; unread frames make it a reset.
    match in_time(stream.read_to_end(&mut answer)).await {
        Ok(_) => !answer.is_empty(),
        Err(e) => e.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_while_nobody_watched_is_told_after_the_adoption() {
    for level in BOTH {
        let (left, go) = waiting(level, "read x <$GO; echo last words; exit 5", Limits::default()).await;
        open_gate(go).await;
        end_alone(&left).await;
        let engine = left.home.engine(2);
        let adopted = adopt(&engine, &left.record, 0).await.unwrap();
        assert!(!adopted.listening);
        let (exit, text) = finish(adopted.sandbox).await;
        assert_eq!((exit, text.as_str()), (Exit::Code(5), "last words\n"), "level {level}");
        left.home.nothing_left(&left.record);
    }
}

/// A committed shell script whose worker is gone, and the gate `$GO` at which it waits.
async fn waiting(level: Level, script: &str, limits: Limits) -> (Left, std::path::PathBuf) {
    let home = Home::new();
    let engine = home.engine(1);
    let mut launch = home.launch(&engine, level, &["sh", "-c", script]);
    let go = fifo(&launch);
    launch.env.push(("GO".into(), go.display().to_string().into()));
    launch.limits = limits;
    let mut sandbox = start(&engine, &launch, level).await;
    sandbox.commit().await.unwrap();
    let record = sandbox.record();
    drop((sandbox, engine));
    (Left { home, record, launch }, go)
}

async fn end_alone(left: &Left) {
    let pid = rustix::process::Pid::from_raw(left.record.app_pid).unwrap();
    let Ok(fd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK) else { return };
    in_time(insula_linux::watched::Watched::new(fd).unwrap().readable()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_kill_while_nobody_watched_is_told_as_one() {
    if !has_groups(&Home::new().engine(1)) {
        let name = "adoption::a_memory_kill_while_nobody_watched_is_told_as_one";
        return skipped(name, "no writable control group");
    }
    for level in BOTH {
        let limits = Limits { memory: Some(ByteSize(64 << 20)), ..Limits::default() };
        let eat = "read x <$GO; exec python3 -c 'bytearray(200 << 20)'";
        let (left, go) = waiting(level, eat, limits).await;
        open_gate(go).await;
        end_alone(&left).await;
        let engine = left.home.engine(2);
        let adopted = adopt(&engine, &left.record, 0).await.unwrap();
        assert_eq!(finish(adopted.sandbox).await.0, Exit::Oom, "level {level}");
    }
}

/// A gate in the data directory of a launch: whoever opens it for reading waits.
pub(crate) fn fifo(launch: &insula_spec::Launch) -> std::path::PathBuf {
    std::fs::create_dir_all(&launch.data_dir).unwrap();
    let path = launch.data_dir.join("gate");
    drop(std::fs::remove_file(&path));
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    path
}

/// Lets the one that waits at the gate through.
pub(crate) async fn open_gate(path: std::path::PathBuf) {
    in_time(tokio::task::spawn_blocking(move || std::fs::write(path, "x"))).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_starts_is_adopted_and_its_readiness_is_told() {
    for level in BOTH {
        let home = Home::new();
        let engine = home.engine(1);
        let program = format!("import os\nos.read(os.open(os.environ['GO'], os.O_RDONLY), 1)\n{SERVER}");
        let mut launch = home.launch(&engine, level, &["python3", "-c", &program]);
        let go = fifo(&launch);
        launch.env.push(("GO".into(), go.display().to_string().into()));
        let mut sandbox = start(&engine, &launch, level).await;
        sandbox.commit().await.unwrap();
        let record = sandbox.record();
        drop((sandbox, engine));
        let engine = home.engine(2);
        let mut adopted = adopt(&engine, &record, 0).await.unwrap();
        assert!(!adopted.listening && !adopted.paused);
        open_gate(go).await;
        assert_eq!(event(&mut *adopted.sandbox).await, Event::Listening, "level {level}");
        let uid = inner_uid(&launch, level);
        assert_eq!(ask(&*adopted.sandbox, "hi").await, format!("1 {uid} hi"));
        in_time(adopted.sandbox.stop(Duration::ZERO)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_one_is_adopted_frozen() {
    for level in BOTH {
        let home = Home::new();
        let engine = home.engine(1);
        let launch = home.launch(&engine, level, &["python3", "-c", SERVER]);
        let mut sandbox = listening(&engine, &launch, level).await;
        sandbox.commit().await.unwrap();
        in_time(sandbox.pause()).await.unwrap();
        let record = sandbox.record();
        drop((sandbox, engine));
        let engine = home.engine(2);
        let mut adopted = adopt(&engine, &record, 0).await.unwrap();
        assert!(adopted.paused && adopted.listening);
        in_time(adopted.sandbox.resume()).await.unwrap();
        let uid = inner_uid(&launch, level);
        assert_eq!(ask(&*adopted.sandbox, "hi").await, format!("1 {uid} hi"));
        in_time(adopted.sandbox.pause()).await.unwrap();
        assert_eq!(in_time(adopted.sandbox.stop(Duration::ZERO)).await, Exit::Signal(9));
        home.nothing_left(&record);
    }
}

/// Walls show what they were built around; asked for something else, they are not used again.
#[tokio::test(flavor = "multi_thread")]
async fn walls_built_around_something_else_are_not_used_again() {
    let left = left(Level::Namespace, &["python3", "-c", SERVER], true).await;
    let engine = left.home.engine(2);
    let mut adopted = adopt(&engine, &left.record, 0).await.unwrap();
    ask(&*adopted.sandbox, "die").await;
    assert_eq!(event(&mut *adopted.sandbox).await, Event::Exited(Exit::Code(7)));
    let mount =
        insula_spec::Mount { source: left.home.path("work"), target: "/more".into(), read_only: true };
    let other = insula_spec::Launch { mounts: vec![mount], ..left.launch.clone() };
    in_time(adopted.sandbox.relaunch(&other)).await.expect_err("a mount was left out");
    in_time(adopted.sandbox.relaunch(&left.launch)).await.unwrap();
    assert_eq!(event(&mut *adopted.sandbox).await, Event::Listening);
    in_time(adopted.sandbox.stop(Duration::ZERO)).await;
}
