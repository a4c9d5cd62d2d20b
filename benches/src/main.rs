//! `make bench`: Insula beside what a user would pick instead, in one run.
//!
//! ```text
//! peers there? ──► servers up ──► round 1: a b c, round 2: a b c, … ──► tables: median, ratio, every round
//! ```
//! The machine may be busy with other things, so absolute numbers mean little. Everything that is compared is
//! measured in turns, round by round, and told as a ratio beside the raw rounds and the load of the machine.
//! Nothing leaves the loopback.
#![forbid(unsafe_code)]

mod api;
mod app;
mod chatter;
mod cloud;
mod crash;
mod egress;
mod fleet;
mod floor;
mod goal;
mod http;
mod launch;
mod loader;
mod logs;
mod memory;
mod noise;
mod peers;
mod process;
mod proxy;
mod table;
mod wake;
mod wrk;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use goal::Tally;
use table::Table;

/// The word after which this program is the application that is measured, instead of the measurement.
const APP: &str = "app";

/// The same for the application that writes lines.
const CHATTER: &str = "chatter";

/// The same for the application that makes a load from behind walls.
const LOADER: &str = "loader";

/// The same for the process that starts peers.
const RUNNER: &str = "runner";

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Rounds of each comparison.
    rounds: usize,
    /// Seconds of load for each peer and round.
    seconds: u32,
    /// Wakes of each kind in each round.
    wakes: usize,
    /// Instances that run at once for the memory slope.
    instances: usize,
    /// Instances that sleep for the memory slope.
    sleeping: usize,
    /// Lines of captured output in each of the rounds of logs.
    lines: u64,
    /// Files of the big image.
    files: usize,
    /// Instances that are made at once.
    fleet: usize,
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let ended = match args.next().as_deref() {
        Some(APP) => app::serve(args.next().as_deref().map(Path::new)),
        Some(CHATTER) => chatter::serve(),
        Some(LOADER) => loader::serve(),
        Some(RUNNER) => launch::runner(),
        first => run(first.map(PathBuf::from), args.collect()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!("error: {error:#}\n");
            // There is no other place to tell it, either.
            if std::io::stderr().write_all(text.as_bytes()).is_err() {
                return ExitCode::from(2);
            }
            ExitCode::FAILURE
        }
    }
}

/// What can be measured by itself.
const PARTS: [&str; 9] = ["memory", "proxy", "noise", "wake", "crash", "logs", "launch", "egress", "fleet"];

/// Those of them that need no daemon but one of their own.
const APART: [&str; 3] = ["launch", "egress", "fleet"];

/// `insula-bench PATH-OF-INSULA [quick] [PART...]`; without a part, all of them.
fn run(insula: Option<PathBuf>, mut words: Vec<String>) -> anyhow::Result<()> {
    let insula = insula.context("usage: insula-bench PATH-OF-INSULA [quick] [PART...]")?;
    let quick = words.first().is_some_and(|word| word == "quick");
    let extent = if quick {
        Extent {
            rounds: 3,
            seconds: 1,
            wakes: 4,
            instances: 20,
            sleeping: 2_000,
            lines: 20_000,
            files: 5_000,
            fleet: 40,
        }
    } else {
        Extent {
            rounds: 4,
            seconds: 3,
            wakes: 10,
            instances: 200,
            sleeping: 10_000,
            lines: 100_000,
            files: 20_000,
            fleet: 200,
        }
    };
    words.drain(..usize::from(quick));
    if let Some(other) = words.iter().find(|word| !PARTS.contains(&word.as_str())) {
        anyhow::bail!("`{other}` is not a part; the parts are `{}`", PARTS.join("`, `"));
    }
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    peers::check(wanted)?;
    peers::versions()?;
    say(&format!("load before: {}", process::load()?))?;
    let mut told = Told::default();
    if PARTS.iter().any(|part| wanted(part) && !APART.contains(part)) {
        together(&insula, extent, wanted, &mut told)?;
    }
    if wanted("wake") {
        told.show(&launch::wakes(&insula, extent)?)?;
    }
    if wanted("launch") {
        told.show(&launch::measure(&insula, extent)?)?;
    }
    if wanted("egress") {
        told.show(&egress::measure(&insula, extent)?)?;
    }
    if wanted("fleet") {
        told.show(&fleet::measure(&insula, extent)?)?;
    }
    say(&format!("load after: {}", process::load()?))?;
    told.goals.close()
}

/// What the tables that were shown say of the goals.
#[derive(Default)]
struct Told {
    goals: Tally,
}

impl Told {
    fn show(&mut self, tables: &[Table]) -> anyhow::Result<()> {
        tables.iter().try_for_each(|table| {
            table.judge(&mut self.goals);
            say(&format!("\n{}", table.to_string().trim_end()))
        })
    }
}

/// The parts that share one daemon.
fn together(
    insula: &Path,
    extent: Extent,
    wanted: impl Fn(&str) -> bool,
    told: &mut Told,
) -> anyhow::Result<()> {
    let mut cloud = cloud::Cloud::start(insula)?;
    // First: what load leaves behind in an allocator would hide the growth.
    if wanted("memory") {
        told.show(&memory::measure(insula, &mut cloud, extent)?)?;
    }
    if wanted("proxy") {
        told.show(&proxy::measure(&cloud, extent)?)?;
    }
    if wanted("noise") {
        told.show(&noise::measure(&cloud, extent)?)?;
    }
    if wanted("wake") {
        told.show(&wake::measure(&cloud, extent)?)?;
    }
    if wanted("crash") {
        told.show(&crash::measure(&cloud, extent)?)?;
    }
    if wanted("logs") {
        told.show(&logs::measure(&cloud, extent)?)?;
    }
    cloud.stop()
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write the result")
}
