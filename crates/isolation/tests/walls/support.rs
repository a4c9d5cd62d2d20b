//! A home with an engine, and programs to run in it.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use insula_isolation::{Adopted, Engine, EngineConfig, Event, Exit, Gone, LaunchError, Record, Sandbox};
use insula_spec::{IdRange, InstanceName, Launch, Level, Limits, Network};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longer than anything here takes, even on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Tells on one line that a test could not run here, and why.
#[allow(clippy::print_stdout, reason = "read by whoever runs the tests")]
pub(crate) fn skipped(test: &str, why: &str) {
    println!("SKIPPED {test}: {why}");
}

pub(crate) fn root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what).await.expect("in time")
}

/// An installation with a directory of its own.
pub(crate) struct Home {
    dir: PathBuf,
    /// Removes the directory in the end, where it is this home's to remove.
    guard: Option<TempDir>,
    id: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("walls").tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let path = dir.path().to_owned();
        for name in ["run", "work", "data"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let mut home = Self::at(path);
        home.guard = Some(dir);
        home
    }

    /// The home in this directory, which is there already.
    pub(crate) fn at(dir: PathBuf) -> Self {
        let id = dir.file_name().unwrap().to_string_lossy().to_lowercase().replace('.', "");
        Self { dir, guard: None, id }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Control groups that carry the name of this home.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let homes = hierarchies.map(|h| h.path().join("insula").join(&self.id));
        let groups = homes.filter_map(|home| std::fs::read_dir(home).ok()).flatten().flatten();
        groups.filter(|g| g.file_type().unwrap().is_dir()).map(|g| g.path()).collect()
    }

    /// Socket directories of workloads without a mount wall.
    pub(crate) fn host_sockets(&self) -> Vec<String> {
        let root = if root() { Path::new("/run/insula").join(&self.id) } else { self.path("run/sockets") };
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        entries.map(|e| e.path().display().to_string()).collect()
    }

    pub(crate) fn engine(&self, epoch: u64) -> Engine {
        self.engine_of(epoch, agent(), 0)
    }

    /// An engine with this program as its agent, and so many blank shells ready.
    pub(crate) fn engine_of(&self, epoch: u64, agent: OwnedFd, shells: usize) -> Engine {
        let hidden = vec![self.path("data"), self.path("work/insula.toml")];
        Engine::new(EngineConfig { hidden, ..self.config(epoch, agent, shells) }).unwrap()
    }

    /// An engine whose levels are set like this.
    pub(crate) fn engine_with(&self, epoch: u64, levels: insula_spec::Levels) -> Engine {
        Engine::new(EngineConfig { levels, ..self.config(epoch, agent(), 0) }).unwrap()
    }

    /// An engine that hides nothing of what is shown.
    pub(crate) fn open_engine(&self, epoch: u64) -> Engine {
        Engine::new(self.config(epoch, agent(), 0)).unwrap()
    }

    fn config(&self, epoch: u64, agent: OwnedFd, shells: usize) -> EngineConfig {
        let (home_id, run_dir) = (self.id.clone(), self.path("run"));
        EngineConfig {
            home_id,
            run_dir,
            hidden: Vec::new(),
            agent,
            epoch,
            images: None,
            levels: insula_spec::Levels::default(),
            routed_range: insula_spec::RoutedRange::DEFAULT,
            shells,
            egress: None,
        }
    }

    /// A launch of `argv` for a tenant, each with ids of its own.
    pub(crate) fn launch_for(&self, engine: &Engine, level: Level, tenant: &str, argv: &[&str]) -> Launch {
        let instance: InstanceName = format!("app:{tenant}").parse().unwrap();
        let registry = engine.registry();
        let placement = registry.backend(level).unwrap().place(&instance, Network::Isolated).unwrap();
        let ids = tenant.bytes().fold(0x2000_u32, |sum, byte| sum + u32::from(byte));
        Launch {
            argv: argv.iter().map(ToString::to_string).collect(),
            env: vec![
                ("PATH".into(), "/usr/bin:/bin".into()),
                ("PORT".into(), placement.port.to_string().into()),
                ("SOCKET_PATH".into(), placement.socket.display().to_string().into()),
            ],
            workdir: self.path("work"),
            data_dir: self.path("data/app").join(tenant),
            mounts: Vec::new(),
            root: insula_spec::Root::host(),
            seccomp: None,
            runner: Vec::new(),
            network: Network::Isolated,
            net: insula_spec::NetPolicy::none(),
            net_given: false,
            limits: Limits::default(),
            ids: root().then_some(IdRange { base: ids << 16 }),
            placement,
            instance,
        }
    }

    pub(crate) fn launch(&self, engine: &Engine, level: Level, argv: &[&str]) -> Launch {
        self.launch_for(engine, level, "alice", argv)
    }

    /// Every set of walls that left its directory behind.
    pub(crate) fn run_dirs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("run")).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name != "sockets").collect()
    }

    /// Nothing on this host carries the name of these walls.
    pub(crate) fn nothing_left(&self, record: &Record) {
        assert_eq!(self.run_dirs(), Vec::<String>::new(), "left in the run directory");
        for group in &record.cgroups {
            assert!(!group.exists(), "left behind: {}", group.display());
        }
        assert!(!lives(record.app_pid, record.app_start), "the workload lives");
        assert!(!lives(record.agent_pid, record.agent_start), "the agent lives");
        if record.level == Level::Process {
            let dir = record.placement.socket.parent().unwrap();
            assert!(!dir.exists(), "left behind: {}", dir.display());
        }
    }
}

impl Drop for Home {
    #[allow(clippy::print_stdout, reason = "read by whoever runs the tests")]
    /// Gives back what all walls of a home share. What a test let go of may still be on its way down.
    fn drop(&mut self) {
        if self.guard.is_none() {
            return;
        }
        let deadline = std::time::Instant::now() + LONG / 10;
        while !self.groups().is_empty() && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        let layout = insula_linux::cgroup::Layout::detect().unwrap();
        if let Err(error) = insula_linux::cgroup::leave_host(&layout, &self.id) {
            println!("left behind: {error}");
        }
        // Another user's is not there; one with something in it is told by the test that looks for it.
        drop(std::fs::remove_dir(Path::new("/run/insula").join(&self.id)));
    }
}

/// Whether the process with this pid and start time lives.
pub(crate) fn lives(pid: i32, start: u64) -> bool {
    insula_linux::identity::Identity { pid, start }.lives().unwrap()
}

/// The agent, in a memory file.
pub(crate) fn agent() -> OwnedFd {
    let fd = rustix::fs::memfd_create("insula-agent", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(fd);
    file.write_all(insula_isolation::agent_image()).unwrap();
    file.into()
}

/// Whether this is a part of another test, run as a user with a subordinate range.
pub(crate) fn has_a_range() -> bool {
    std::env::var_os("WALLS_RANGED").is_some()
}

/// The root of no container is kept for a user with a subordinate range.
pub(crate) async fn refuses_to_keep_a_root(engine: &Engine, launch: &Launch, level: Level) {
    let error = try_start(engine, launch, level).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, LaunchError::Unenforceable { what: "persistent_root", .. }), "{error:?}");
}

pub(crate) async fn try_start(
    engine: &Engine,
    launch: &Launch,
    level: Level,
) -> Result<Box<dyn Sandbox>, LaunchError> {
    in_time(engine.registry().backend(level).unwrap().launch(launch)).await
}

pub(crate) async fn start(engine: &Engine, launch: &Launch, level: Level) -> Box<dyn Sandbox> {
    try_start(engine, launch, level).await.unwrap()
}

pub(crate) async fn listening(engine: &Engine, launch: &Launch, level: Level) -> Box<dyn Sandbox> {
    let mut sandbox = start(engine, launch, level).await;
    assert_eq!(event(&mut *sandbox).await, Event::Listening);
    sandbox
}

pub(crate) async fn adopt(engine: &Engine, record: &Record, logs_from: u64) -> Result<Adopted, Gone> {
    in_time(engine.registry().backend(record.level).unwrap().adopt(record, logs_from)).await
}

pub(crate) async fn event(sandbox: &mut dyn Sandbox) -> Event {
    in_time(sandbox.event()).await
}

/// Runs to its end; its exit, and what it wrote.
pub(crate) async fn finish(mut sandbox: Box<dyn Sandbox>) -> (Exit, String) {
    let mut logs = sandbox.logs().unwrap();
    let reader = tokio::spawn(async move {
        let mut text = String::new();
        while let Some(batch) = logs.next().await {
            for line in batch.lines {
                text.push_str(&String::from_utf8_lossy(&line.bytes));
                text.push('\n');
                logs.ack(line.seq + 1);
            }
        }
        text
    });
    let exit = loop {
        if let Event::Exited(exit) = event(&mut *sandbox).await {
            break exit;
        }
    };
    in_time(sandbox.stop(Duration::ZERO)).await;
    (exit, in_time(reader).await.unwrap())
}

/// Runs a Python program behind walls; what it wrote.
pub(crate) async fn python(home: &Home, engine: &Engine, level: Level, program: &str) -> String {
    let launch = home.launch(engine, level, &["python3", "-c", program]);
    run(engine, &launch, level).await
}

/// Runs a launch to its good end; what it wrote.
pub(crate) async fn run(engine: &Engine, launch: &Launch, level: Level) -> String {
    let (exit, text) = finish(start(engine, launch, level).await).await;
    assert_eq!(exit, Exit::Code(0), "at level {level}: {text}");
    text
}

/// The next line that a workload writes.
pub(crate) struct Lines {
    logs: insula_isolation::LogStream,
    waiting: std::collections::VecDeque<String>,
}

impl Lines {
    pub(crate) fn of(sandbox: &mut dyn Sandbox) -> Self {
        Self { logs: sandbox.logs().unwrap(), waiting: std::collections::VecDeque::new() }
    }

    pub(crate) async fn next(&mut self) -> String {
        loop {
            if let Some(line) = self.waiting.pop_front() {
                return line;
            }
            let batch = in_time(self.logs.next()).await.expect("another line");
            self.waiting.extend(batch.lines.iter().map(|l| String::from_utf8_lossy(&l.bytes).into_owned()));
            self.logs.ack(batch.lines.last().unwrap().seq + 1);
        }
    }
}

/// Answers each message with its number, the uid, and the message; `die` ends it with status 7.
pub(crate) const SERVER: &str = r#"
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

pub(crate) async fn try_ask(sandbox: &dyn Sandbox, text: &str) -> std::io::Result<String> {
    let mut stream = in_time(sandbox.connector().connect()).await?;
    in_time(stream.write_all(text.as_bytes())).await?;
    let mut buffer = [0; 100];
    let n = in_time(stream.read(&mut buffer)).await?;
    Ok(String::from_utf8_lossy(&buffer[..n]).into_owned())
}

pub(crate) async fn ask(sandbox: &dyn Sandbox, text: &str) -> String {
    try_ask(sandbox, text).await.unwrap()
}

/// The uid that the workload of this launch sees as its own.
pub(crate) fn inner_uid(launch: &Launch, level: Level) -> u32 {
    match level {
        Level::Process => launch.ids.map_or(rustix::process::getuid().as_raw(), IdRange::workload),
        _ => IdRange::WORKLOAD,
    }
}

/// What this process has open, but for what the runtimes of other tests bring along.
pub(crate) fn open_fds() -> std::collections::BTreeSet<String> {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap();
    let names =
        fds.filter_map(|fd| fd.unwrap().path().read_link().ok()).map(|path| path.display().to_string());
    names.filter(|name| !name.starts_with("anon_inode:[event") && !name.contains("/proc/")).collect()
}

/// Every process whose control group or ancestry belongs to these walls, by the marker in its command line.
pub(crate) fn processes_with(marker: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_string_lossy().parse::<i32>().ok() else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(marker) {
            found.push(pid);
        }
    }
    found
}

/// Whether control groups can be used here.
pub(crate) fn has_groups(engine: &Engine) -> bool {
    engine.registry().backend(Level::Namespace).unwrap().probe().unwrap().cgroups.is_some()
}

pub(crate) const BOTH: [Level; 2] = [Level::Process, Level::Namespace];

pub(crate) fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}
