//! The first request to something that sleeps at the levels of images, beside the least that it could take there.
//!
//! The floor of `container` makes the same root and namespaces by hand (`floor.c`); that of `gvisor` runs runsc in a network
//! namespace and control groups made by hand. Both connect again and again until the program answers.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::ground::Ground;
use super::{CONTAINER, GVISOR, Woken, rounds};
use crate::cloud::Cloud;
use crate::floor::Floor;
use crate::goal::Goal;
use crate::table::Table;
use crate::wake::above;
use crate::{Extent, http};

/// The big image is not used here.
const NO_FILES: usize = 0;
/// Places of subjects in the tables.
const FLOOR: usize = 0;
const INSULA: usize = 1;

/// Milliseconds to the first byte.
pub(crate) fn measure(insula: &Path, extent: Extent) -> anyhow::Result<Vec<Table>> {
    let ground = Ground::lay(NO_FILES)?;
    let cloud = Cloud::with(insula, &ground.config(), &ground.images())?;
    let floor = Floor::build(ground.path())?;
    let container = compare(&cloud, extent, "container", &CONTAINER, || {
        floor.wake_in(&ground.rootfs(), "container", &|_, _| vec!["/stamp".to_owned()])
    })?;
    let gvisor = compare(&cloud, extent, "gvisor", &GVISOR, || {
        let port = http::free_port()?;
        let (run, remove) = ground.runsc_serving(port)?;
        let took = floor.wake_at(port, ground.path(), "gvisor", &|_, _| run.clone());
        // What was killed from outside is still in runsc's own list.
        let (program, words) = remove.split_first().context("no command")?;
        let removed = Command::new(program).args(words).output()?;
        let said = String::from_utf8_lossy(&removed.stderr);
        anyhow::ensure!(removed.status.success(), "`{}`: {}", remove.join(" "), said.trim());
        took
    })?;
    cloud.stop()?;
    Ok(vec![container, gvisor])
}

fn compare(
    cloud: &Cloud,
    extent: Extent,
    level: &str,
    woken: &Woken,
    floor: impl Fn() -> anyhow::Result<f64>,
) -> anyhow::Result<Table> {
    let title = format!("cold wake, static server, level {level}");
    let near = above(1.0, FLOOR, INSULA);
    let mut table = Table::new(title, "ms", &["floor: same walls by hand", "insula"])
        .goal(if level == "container" { near.known(1.7) } else { near })
        .goal(above(5.0, FLOOR, INSULA).p90());
    if level == "container" {
        table = table.goal(Goal::at_most(2.0, INSULA).known(4.2));
    }
    rounds(extent, |count| {
        cloud.until(woken.instance, "asleep")?;
        cloud.until_shells_wait()?;
        let took = http::first_byte(cloud.port, woken.host)?;
        // Its end shall not fall into what is measured next.
        cloud.until(woken.instance, "asleep")?;
        let by_hand = floor()?;
        if count {
            table.add(FLOOR, by_hand);
            table.add(INSULA, took);
        }
        Ok(())
    })?;
    Ok(table)
}
