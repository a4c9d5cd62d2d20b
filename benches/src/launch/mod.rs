//! From the asking to the first act of a program, behind the walls of each level.
//!
//! ```text
//! asked ──► walls, root, exec ──► stamp.c looks at the clock ──► written (peers) or answered (Insula)
//!   └──────────── measured ─────────────┘
//! ```
//! The program is the same everywhere, one static file. Insula is asked by a request to a sleeping instance; others
//! by starting their program: that is what each of them is for. What is in favour of whom: Insula has blank shells
//! waiting, as it does a moment after any wake; crun has no user namespace to make, podman no network, runsc no
//! control group and no network of its own; the floor knows neither a system call filter nor captured output.

mod ground;
mod runner;
mod wakes;

use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;

use self::ground::Ground;
use self::runner::Runner;
use crate::cloud::Cloud;
use crate::floor::Floor;
use crate::goal::{Beside, Goal};
use crate::table::Table;
use crate::{Extent, http};

pub(crate) use self::runner::serve as runner;
pub(crate) use self::wakes::measure as wakes;

/// An instance that is woken.
struct Woken {
    instance: &'static str,
    host: &'static str,
}

const NAMESPACE: Woken = Woken { instance: "bare:a", host: "a.bare.localhost" };
const CONTAINER: Woken = Woken { instance: "small:a", host: "a.small.localhost" };
const BIG: Woken = Woken { instance: "big:a", host: "a.big.localhost" };
const GVISOR: Woken = Woken { instance: "sentry:a", host: "a.sentry.localhost" };

/// Milliseconds to the first act of a program.
pub(crate) fn measure(insula: &Path, extent: Extent) -> anyhow::Result<Vec<Table>> {
    let ground = Ground::lay(extent.files)?;
    let cloud = Cloud::with(insula, &ground.config(), &ground.images())?;
    let tables = vec![
        namespace(&cloud, &ground, extent)?,
        container(&cloud, &ground, extent)?,
        gvisor(&cloud, &ground, extent)?,
        sizes(&cloud, extent)?,
    ];
    cloud.stop()?;
    Ok(tables)
}

fn namespace(cloud: &Cloud, ground: &Ground, extent: Extent) -> anyhow::Result<Table> {
    let floor = Floor::build(ground.path())?;
    let mut table = titled("launch, level namespace", &["floor: same walls by hand", "insula"])
        .goal(Goal::at_most(1.3, 1).beside(Beside::Times(0)))
        .goal(Goal::at_most(3.0, 1));
    rounds(extent, |count| {
        let (floor, woken) = (floor.launch("namespace", &ground.stamp())?, wake(cloud, &NAMESPACE)?);
        if count {
            table.add(0, floor);
            table.add(1, woken);
        }
        Ok(())
    })?;
    Ok(table)
}

fn container(cloud: &Cloud, ground: &Ground, extent: Extent) -> anyhow::Result<Table> {
    let mut runner = Runner::start(ground.path())?;
    ground.import_into_podman(&mut runner)?;
    let mut table = titled("launch, level container", &["crun run", "podman run", "insula"])
        .goal(Goal::at_most(1.0, 2).beside(Beside::Times(0)))
        .goal(Goal::at_most(0.1, 2).beside(Beside::Times(1)))
        .goal(Goal::at_most(3.0, 2));
    rounds(extent, |count| {
        let crun = runner.first_output(&ground.crun())?;
        let podman = runner.first_output(&ground.podman())?;
        let woken = wake(cloud, &CONTAINER)?;
        if count {
            table.add(0, crun);
            table.add(1, podman);
            table.add(2, woken);
        }
        Ok(())
    })?;
    Ok(table)
}

fn gvisor(cloud: &Cloud, ground: &Ground, extent: Extent) -> anyhow::Result<Table> {
    let mut runner = Runner::start(ground.path())?;
    let mut table = titled("launch, level gvisor", &["runsc run", "insula"])
        .goal(Goal::at_most(1.1, 1).beside(Beside::Times(0)))
        .goal(Goal::at_most(20.0, 1));
    rounds(extent, |count| {
        let (runsc, woken) = (runner.first_output(&ground.runsc())?, wake(cloud, &GVISOR)?);
        if count {
            table.add(0, runsc);
            table.add(1, woken);
        }
        Ok(())
    })?;
    Ok(table)
}

/// The root of an instance must not cost more where its image has more in it.
fn sizes(cloud: &Cloud, extent: Extent) -> anyhow::Result<Table> {
    let big =
        format!("image of {} files, {} MiB", extent.files, extent.files * ground::FILE_SIZE / (1 << 20));
    let mut table = titled("launch, level container, by the size of the image", &["image of one file", &big])
        .goal(Goal::at_most(1.1, 1).beside(Beside::Times(0)));
    let mut turn = false;
    rounds(extent, |count| {
        // In turns also within a round.
        turn = !turn;
        let (first, second) = if turn { (&CONTAINER, &BIG) } else { (&BIG, &CONTAINER) };
        let (first, second) = (wake(cloud, first)?, wake(cloud, second)?);
        let (small, big) = if turn { (first, second) } else { (second, first) };
        if count {
            table.add(0, small);
            table.add(1, big);
        }
        Ok(())
    })?;
    Ok(table)
}

fn titled(what: &str, subjects: &[&str]) -> Table {
    Table::new(format!("{what}: to the first act of the program"), "ms", subjects)
}

/// All rounds, after one that only makes shells and pages known.
fn rounds(extent: Extent, mut each: impl FnMut(bool) -> anyhow::Result<()>) -> anyhow::Result<()> {
    (0..=extent.rounds * extent.wakes).try_for_each(|round| each(round > 0))
}

/// From the connect of a request to the first act of the program that it wakes.
fn wake(cloud: &Cloud, woken: &Woken) -> anyhow::Result<f64> {
    cloud.until(woken.instance, "asleep")?;
    cloud.until_shells_wait()?;
    let asked = clock()?;
    let body = http::body(cloud.port, woken.host)?;
    let took = since(asked, &body).with_context(|| format!("`{}`", woken.instance))?;
    // Its end shall not fall into what is measured next.
    cloud.until(woken.instance, "asleep")?;
    Ok(took)
}

/// Seconds since 1970, as the program tells them: the one clock that is the same on every kernel.
pub(crate) fn clock() -> anyhow::Result<f64> {
    Ok(SystemTime::UNIX_EPOCH.elapsed().context("the clock is before 1970")?.as_secs_f64())
}

/// Milliseconds from then to what the program told.
pub(crate) fn since(then: f64, told: &str) -> anyhow::Result<f64> {
    let line = told.lines().next().unwrap_or_default();
    let began: f64 = line.trim().parse().with_context(|| format!("the program told `{line}`"))?;
    anyhow::ensure!(
        began >= then,
        "the program began {} ms before it was asked for",
        (then - began) * 1000.0
    );
    Ok((began - then) * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_told_beside_the_asking() {
        assert!((since(10.0, "10.002500\n").unwrap() - 2.5).abs() < 1e-6);
        assert!(since(10.0, "9.9\n").is_err(), "it began before it was asked for");
        assert!(since(10.0, "hello\n").is_err() && since(10.0, "").is_err());
    }
}
