//! Insula itself, as an operator would start it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use crate::http::PATIENCE;

/// Services that are measured, each at the level that its table names: what `auto` chooses depends on what is
/// installed. `hot` is on the host's network, as the application behind nginx is.
const CONFIG: &str = r#"
[settings]
data_dir = "./data"
port = 0

[logs]
max_size_per_instance = "1G"

[service.chatter]
command = "./insula-bench chatter"
isolation = "namespace"

[service.hot]
command = "./insula-bench app"
isolation = "namespace"
network = "host"

# The same behind walls, with the network of its own that services have unless they say otherwise.
[service.walled]
command = "./insula-bench app"
isolation = "namespace"

# The same on a Unix socket.
[service.unix]
command = "./insula-bench app {socket}"
isolation = "namespace"

[service.cold]
command = "./insula-bench app"
isolation = "namespace"
idle_timeout = "50ms"

[service.ice]
command = "./insula-bench app"
isolation = "namespace"
idle_timeout = "50ms"
sleep = "freeze"

[service.python]
command = "python3 -m http.server --bind 127.0.0.1 {port}"
isolation = "namespace"
idle_timeout = "50ms"

[service.node]
command = "node server.js"
isolation = "namespace"
idle_timeout = "50ms"

[service.bare]
command = "./insula-bench app"
isolation = "process"
idle_timeout = "50ms"

# Each restart shall be the first in a row, and none the last.
[service.crash]
command = "./insula-bench app"
isolation = "namespace"
restart_window = "100ms"

[service.crashbare]
command = "./insula-bench app"
isolation = "process"
restart_window = "100ms"

[service.many]
command = "./insula-bench app"
isolation = "namespace"

[service.checked]
command = "./insula-bench app"
isolation = "namespace"
health = { path = "/", interval = "100ms", timeout = "90ms", failures = 100 }

[instances]
chatter = ["a"]
hot = ["a"]
walled = ["a"]
unix = ["a"]
cold = ["a"]
bare = ["a"]
crash = ["a"]
crashbare = ["a"]
ice = ["a"]
python = ["a"]
node = ["a"]
"#;

/// A server of the same size as `python3 -m http.server`.
pub(crate) const NODE: &str =
    "require('http').createServer((q, a) => a.end('hello')).listen(process.env.PORT, '127.0.0.1')\n";

/// A daemon with its own home, in a folder that goes with it.
#[derive(Debug)]
pub(crate) struct Cloud {
    insula: PathBuf,
    dir: tempfile::TempDir,
    daemon: Child,
    pub(crate) port: u16,
}

impl Cloud {
    /// Starts it with the services that most parts share.
    pub(crate) fn start(insula: &Path) -> anyhow::Result<Self> {
        Self::with(insula, CONFIG, &[])
    }

    /// Starts it with services of its own, and images made of directories, each under a name.
    pub(crate) fn with(insula: &Path, config: &str, images: &[(&str, PathBuf)]) -> anyhow::Result<Self> {
        Self::over(insula, (config, images), Self::command)
    }

    /// Starts it with services of its own on a host that forwards packets, whatever this one does: a network namespace
    /// that ends with it. What is asked of it comes over its control socket.
    pub(crate) fn forwarding(insula: &Path, config: &str) -> anyhow::Result<Self> {
        const SCRIPT: &str =
            "ip link set lo up && echo 1 >/proc/sys/net/ipv4/ip_forward && exec \"$0\" \"$@\"";
        Self::over(insula, (config, &[]), |insula, dir| {
            let mut command = Self::environment(Command::new("unshare"), dir);
            command.args(["--net", "sh", "-c", SCRIPT]).arg(insula).arg("--json");
            command
        })
    }

    fn over(
        insula: &Path,
        (config, images): (&str, &[(&str, PathBuf)]),
        command: impl FnOnce(&Path, &Path) -> Command,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("insula-bench").tempdir()?;
        // Tenants have ids of their own, and must reach the program.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        fs::copy(std::env::current_exe()?, dir.path().join("insula-bench"))?;
        fs::write(dir.path().join("server.js"), NODE)?;
        fs::write(dir.path().join("insula.toml"), config)?;
        let insula = fs::canonicalize(insula).with_context(|| format!("`{}`", insula.display()))?;
        for (name, path) in images {
            let mut load = Self::command(&insula, dir.path());
            let output = load.args(["image", "load", "--name", name]).arg(path).output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            anyhow::ensure!(output.status.success(), "image `{name}`: {}", said.trim());
        }
        let (daemon, port) = Self::serve(command(&insula, dir.path()), dir.path())?;
        Ok(Self { insula, dir, daemon, port })
    }

    fn serve(mut command: Command, dir: &Path) -> anyhow::Result<(Child, u16)> {
        let mut daemon = command
            .args(["serve", "--config"])
            .arg(dir.join("insula.toml"))
            .stdout(Stdio::piped())
            .stderr(fs::File::create(dir.join("insula.log"))?)
            .spawn()
            .context("cannot start insula")?;
        let mut line = String::new();
        BufReader::new(daemon.stdout.take().context("no output")?).read_line(&mut line)?;
        // The folder goes with this program, and the log with it.
        let log = || fs::read_to_string(dir.join("insula.log")).unwrap_or_default();
        let ready: Value =
            serde_json::from_str(&line).with_context(|| format!("insula did not start: {}", log().trim()))?;
        let port = ready["port"].as_u64().and_then(|port| u16::try_from(port).ok()).context("no port")?;
        Ok((daemon, port))
    }

    /// Ends it in order, does something to its home, and starts it again.
    pub(crate) fn restart(&mut self, change: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.end()?;
        change(&self.dir.path().join("home"))?;
        (self.daemon, self.port) =
            Self::serve(Self::command(&self.insula, self.dir.path()), self.dir.path())?;
        self.until_shells_wait()
    }

    fn command(insula: &Path, dir: &Path) -> Command {
        let mut command = Self::environment(Command::new(insula), dir);
        command.arg("--json");
        command
    }

    fn environment(mut command: Command, dir: &Path) -> Command {
        command.env("INSULA_HOME", dir.join("home")).env("INSULA_LOG", "warn").stdin(Stdio::null());
        command
    }

    /// A verb of the command line, answered as JSON.
    pub(crate) fn ask(&self, verb: &[&str]) -> anyhow::Result<Value> {
        let output = Self::command(&self.insula, self.dir.path()).args(verb).output()?;
        anyhow::ensure!(output.status.success(), "`{verb:?}`: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The socket of the control API.
    pub(crate) fn control(&self) -> PathBuf {
        self.dir.path().join("home/run/control.sock")
    }

    /// Waits until an instance is in a state.
    pub(crate) fn until(&self, name: &str, state: &str) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let detail = self.ask(&["inspect", name])?;
            if detail["status"]["observed"] == state {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < until, "`{name}` is not {state}: {}", detail["status"]);
            // The command line has no verb that waits for a state.
            thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Waits until the blank shells that a wake took are there again.
    pub(crate) fn until_shells_wait(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let health = self.ask(&["health"])?;
            // Two of each kind that was asked for.
            if health["shells"].as_u64().is_some_and(|n| n > 0 && n.is_multiple_of(2)) {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < until, "no blank shells: {health}");
            // The command line has no verb that waits for them.
            thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// The process of an instance that runs.
    pub(crate) fn app_pid(&self, name: &str) -> anyhow::Result<u32> {
        let detail = self.ask(&["inspect", name])?;
        let pid = detail["processes"]["app_pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        pid.with_context(|| format!("no process of `{name}`"))
    }

    /// Processes of the daemon alone: parent and worker, without agents and applications.
    pub(crate) fn pids(&self) -> anyhow::Result<Vec<u32>> {
        let worker = self.ask(&["health"])?["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        Ok(vec![self.daemon.id(), worker.context("no pid of the worker")?])
    }

    /// Where applications for comparison are found, too.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.terminate()?;
        let status = self.daemon.wait()?;
        anyhow::ensure!(status.success(), "insula ended with {status}");
        Ok(())
    }

    fn terminate(&self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.daemon.id()).ok().and_then(rustix::process::Pid::from_raw);
        Ok(rustix::process::kill_process(pid.context("no pid")?, rustix::process::Signal::TERM)?)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let runs = matches!(self.daemon.try_wait(), Ok(None));
        if runs && (self.terminate().is_err() || self.daemon.wait().is_err()) {
            crate::say("insula could not be ended").unwrap_or_default();
        }
    }
}
