//! Starts the peers in a mount namespace of its own.
//!
//! crun does not start where version 1 control groups are mounted together with an empty version 2 (systemd calls it
//! hybrid). There the latter is covered, for the peers alone, and once: what that costs is on nobody's clock.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context;

const COVER: &str = "if [ -d /sys/fs/cgroup/unified ]; then mount --bind \"$1\" /sys/fs/cgroup/unified; fi; \
                     shift; exec \"$@\"";

/// The process in there. Each line that it gets is a command; each line that it answers is what came of it.
#[derive(Debug)]
pub(super) struct Runner {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Runner {
    /// Starts it; `dir` is where it may make an empty directory.
    pub(super) fn start(dir: &Path) -> anyhow::Result<Self> {
        let empty = dir.join("empty");
        std::fs::create_dir_all(&empty)?;
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", COVER, "sh"])
            .arg(&empty)
            .arg(std::env::current_exe()?)
            .arg(crate::RUNNER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start `unshare`")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, input, output })
    }

    /// Milliseconds from the start of a command to the first act of the program that it launches.
    pub(super) fn first_output(&mut self, command: &[String]) -> anyhow::Result<f64> {
        let (asked, told) = self.ask(command)?;
        super::since(asked, &told).with_context(|| format!("`{}`", command.join(" ")))
    }

    /// Runs a command whose output does not matter.
    pub(super) fn run(&mut self, command: &[String]) -> anyhow::Result<()> {
        self.ask(command).map(|_| ())
    }

    /// When it was started, and what it wrote.
    fn ask(&mut self, command: &[String]) -> anyhow::Result<(f64, String)> {
        let input = self.input.as_mut().context("no input")?;
        writeln!(input, "{}", serde_json::to_string(command)?)?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let answer: Result<(f64, String), String> =
            serde_json::from_str(&line).context("the runner ended")?;
        answer.map_err(|why| anyhow::anyhow!("`{}`: {why}", command.join(" ")))
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.input.take());
        if self.child.wait().is_err() {
            crate::say("the runner of the peers could not be ended").unwrap_or_default();
        }
    }
}

/// The other side: carries out one command after another until there is no more input.
pub(crate) fn serve() -> anyhow::Result<()> {
    for line in std::io::stdin().lines() {
        let command: Vec<String> = serde_json::from_str(&line?)?;
        let outcome = carry_out(&command).map_err(|error| format!("{error:#}"));
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&outcome)?)?;
    }
    Ok(())
}

/// When it was started, and what it wrote. Its end is waited for, too: the next one begins on clean ground.
fn carry_out(command: &[String]) -> anyhow::Result<(f64, String)> {
    let (program, arguments) = command.split_first().context("no command")?;
    let asked = super::clock()?;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
    let (said, told) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    anyhow::ensure!(output.status.success(), "{}: {}", output.status, said.trim());
    Ok((asked, told.into_owned()))
}
