//! The least that something could take: `floor.c`, which does by hand what Insula does, behind the same walls.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::http;

const SOURCE: &str = include_str!("../floor.c");
/// What Insula gives a service that names no `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The words of a program, from its folder and its port.
type Argv<'a> = &'a dyn Fn(&Path, u16) -> Vec<String>;

/// Where a program is started, and what is around it there.
struct Walls<'a> {
    level: &'a str,
    port: u16,
    folder: &'a Path,
}

/// The program, built for this run.
#[derive(Debug)]
pub(crate) struct Floor {
    program: PathBuf,
    workdir: PathBuf,
}

impl Floor {
    /// Builds it in this folder, which is also where applications are found.
    pub(crate) fn build(dir: &Path) -> anyhow::Result<Self> {
        let (source, program) = (dir.join("floor.c"), dir.join("floor"));
        fs::write(&source, SOURCE)?;
        let built = Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(&source).status();
        anyhow::ensure!(built.context("cannot start `cc`")?.success(), "`floor.c` does not compile");
        Ok(Self { program, workdir: dir.to_owned() })
    }

    /// Milliseconds from the start of this program to the first byte, behind the walls of a level.
    pub(crate) fn wake(&self, level: &str, argv: Argv<'_>) -> anyhow::Result<f64> {
        self.wake_in(&self.workdir, level, argv)
    }

    /// The same in another folder, or with that as its root.
    pub(crate) fn wake_in(&self, folder: &Path, level: &str, argv: Argv<'_>) -> anyhow::Result<f64> {
        self.wake_at(http::free_port()?, folder, level, argv)
    }

    /// The same of a program that has its port from elsewhere.
    pub(crate) fn wake_at(
        &self,
        port: u16,
        folder: &Path,
        level: &str,
        argv: Argv<'_>,
    ) -> anyhow::Result<f64> {
        let all = self.run(&Walls { level, port, folder }, &["wake"], argv)?;
        all.first().copied().context("the floor told nothing")
    }

    /// Milliseconds from each kill to the next first byte.
    pub(crate) fn respawn(&self, level: &str, rounds: usize, argv: Argv<'_>) -> anyhow::Result<Vec<f64>> {
        self.run(&self.walls(level)?, &["respawn", &rounds.to_string()], argv)
    }

    /// Milliseconds from the fork to the first act of a program that tells when that was (`stamp.c`).
    pub(crate) fn launch(&self, level: &str, argv: &[String]) -> anyhow::Result<f64> {
        let all = self.run(&self.walls(level)?, &["launch"], &|_, _| argv.to_vec())?;
        let [began, forked] = all[..] else {
            anyhow::bail!("the floor told {} times instead of two", all.len())
        };
        Ok((began - forked) * 1000.0)
    }

    fn walls<'a>(&'a self, level: &'a str) -> anyhow::Result<Walls<'a>> {
        Ok(Walls { level, port: http::free_port()?, folder: &self.workdir })
    }

    /// Does what the first word says; what follows it are its own arguments.
    fn run(&self, walls: &Walls<'_>, what: &[&str], argv: Argv<'_>) -> anyhow::Result<Vec<f64>> {
        let (what, more) = what.split_first().context("nothing to do")?;
        let Walls { level, port, folder } = *walls;
        let output = Command::new(&self.program)
            .args([what, level, port.to_string().as_str()])
            .arg(folder)
            .args(more)
            .args(argv(folder, port))
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .output()
            .context("cannot start the floor")?;
        let told = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "the floor failed (it needs root): {}", told.trim());
        let text = String::from_utf8(output.stdout)?;
        text.lines().map(|line| line.parse().context("the floor told something else")).collect()
    }
}
