//! `insula verify`: tries on this host what a hostile app would, at every level, and reports what stopped it.
//!
//! ```text
//! a server of its own ──► LEVEL:spy makes each attempt on LEVEL:neighbour and on the host ──┐
//! the same attempt without a wall (the control) ────────────────────────────────────────────┴─► verdict
//! ```
//! An attempt that would not get through without the wall either proves nothing, and is told as `not shown`.

mod attempts;
mod controls;
mod inside;
mod probes;
mod report;
mod scene;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context;
use clap::{Args, ValueEnum};
use insula_isolation::DiskProbe;
use insula_spec::{Level, Levels};

pub(crate) use inside::{Outcome, ProbeArgs, VERB as PROBE_VERB, run as probe};
pub(crate) use probes::{By, Probe};

use crate::doctor::{self, LevelFound};
use crate::exit::Exit;
use crate::home::Home;
use crate::printer::Printer;
use report::{Absent, Cell, Report, Row, Verdict};
use scene::{Scene, Tried};

/// `insula verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Only this level; may be given several times [default: every level that works here]
    #[arg(long, value_name = "LEVEL")]
    level: Vec<Level>,
}

/// Verifies this host. The exit code is 1 when a level does not keep what it promises.
///
/// # Errors
/// When nothing could be tried at all.
pub(crate) async fn run(home: &Home, args: VerifyArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let found = doctor::levels(home, Levels::default())?.0;
    let (tried, absent) = choose(&found, &args.level)?;
    let folder = Folder::make()?;
    let scene = Scene::set(&folder.0, &tried).await?;
    let (mut rows, mut sane) = (Vec::new(), Vec::new());
    for level in &tried {
        scene.wake(level.level).await.with_context(|| format!("cannot start an app at `{}`", level.level))?;
        sane.push(scene.sane(level.level).await?);
    }
    let all = Probe::value_variants();
    for (n, probe) in all.iter().enumerate() {
        printer.talk(&format!("{:>2} of {}: {}", n + 1, all.len(), probe.what()));
        rows.push(row(&scene, *probe, &tried).await?);
    }
    scene.end().await?;
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        kernel: kernel(),
        user: if rustix::process::geteuid().is_root() { "root" } else { "user" },
        time: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
        probes: rows,
        sane,
        absent,
    };
    printer.either(&report, Report::text)?;
    Ok(if report.holds() { Exit::Ok } else { Exit::Failed }.into())
}

/// Which levels to try, and which cannot be.
fn choose(found: &[LevelFound], asked: &[Level]) -> anyhow::Result<(Vec<Tried>, Vec<Absent>)> {
    let (mut tried, mut absent) = (Vec::new(), Vec::new());
    let disk = DiskProbe::of(&std::env::temp_dir());
    let hard = disk.project.is_ok() || disk.image.is_ok();
    for one in found {
        let level: Level = one.level.parse()?;
        if !asked.is_empty() && !asked.contains(&level) {
            continue;
        }
        match &one.why_not {
            None => {
                let disk = hard && level.satisfies(Level::Namespace);
                tried.push(Tried { level, limits: one.limits.is_some(), disk });
            }
            Some(why) => {
                absent.push(Absent { level: one.level.clone(), why: why.clone(), hint: one.hint.clone() })
            }
        }
    }
    anyhow::ensure!(!tried.is_empty(), "no level that was asked for works on this host; run `insula doctor`");
    Ok((tried, absent))
}

async fn row(scene: &Scene, probe: Probe, levels: &[Tried]) -> anyhow::Result<Row> {
    let mut cells = Vec::new();
    for tried in levels {
        cells.push(cell(scene, probe, *tried).await.with_context(|| format!("`{}`", probe.id()))?);
    }
    Ok(Row::new(probe, cells))
}

async fn cell(scene: &Scene, probe: Probe, tried: Tried) -> anyhow::Result<Cell> {
    let level = tried.level;
    let skipped =
        |why: &str| Ok(Cell { level, verdict: Verdict::Skipped, detail: why.to_owned(), control: None });
    if probe.needs_limits() && !tried.limits {
        return skipped("limits cannot be set here; one that is asked for refuses the start");
    }
    if probe == Probe::DiskFill && level.satisfies(Level::Namespace) && !tried.disk {
        return skipped("what a tenant keeps is only counted here, as `insula doctor` tells");
    }
    let root = rustix::process::geteuid().is_root();
    if probe == Probe::SetUserId && !root {
        return skipped("only root can make a set-user-id file of root");
    }
    let Some(target) = scene.target(probe, level).await? else {
        return skipped("this host has no such thing");
    };
    let control = scene.control(probe, level, &target);
    let Some(behind) = scene.behind(probe, level, &target).await? else {
        return skipped("the host does not see the processes of this level");
    };
    let verdict = Verdict::of(&behind, &control, probe.is_stopped_at(level, root));
    let detail = match verdict {
        Verdict::NotShown => format!("{}; without a wall: {}", behind.detail, control.detail),
        _ => behind.detail,
    };
    Ok(Cell { level, verdict, detail, control: Some(control) })
}

fn kernel() -> String {
    let name = rustix::system::uname();
    format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy())
}

/// A folder of its own; removed at the end.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("insula-verify-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make the folder `{}`", path.display()))?;
        let folder = Self(path);
        // Apps run under other user ids, which must be able to come by.
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755))
            .context("cannot open the folder")?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the folder could not be removed");
        }
    }
}
