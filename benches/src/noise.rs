//! Whether what one tenant logs slows the requests of another: rounds of load in turns, with and without.

use std::time::Instant;

use anyhow::Context;

use crate::cloud::Cloud;
use crate::goal::{Beside, Goal};
use crate::logs::{self, Told};
use crate::table::Table;
use crate::wrk::{self, Target};
use crate::{Extent, http};

/// Lines that are written each second.
const RATE: u32 = 20_000;
/// Connections that clients keep open at once.
const CONNECTIONS: u32 = 16;
/// Rounds of each kind: the slowest of a hundred vary more than the middle.
const ROUNDS: usize = 2;
/// Names these rounds among those of other measurements.
const FIRST_ROUND: u64 = 1000;
const HOST: &str = "a.hot.localhost";

/// The slowest of a hundred requests, and what became of the lines.
pub(crate) fn measure(cloud: &Cloud, extent: Extent) -> anyhow::Result<Vec<Table>> {
    http::first_answer(cloud.port, HOST, http::SELDOM)?;
    http::first_answer(cloud.port, "a.chatter.localhost", http::SELDOM)?;
    let target = Target { port: cloud.port, host: HOST };
    let title = format!("slowest of 100 requests, {CONNECTIONS} connections");
    let mut slow = Table::new(title, "ms", &["without", "with 20,000 lines a second"])
        .goal(Goal::at_most(1.5, 1).beside(Beside::Times(0)).known(6.4));
    let mut lines =
        Table::new("lines meanwhile", "", &["written for each second", "lost"]).goal(Goal::at_most(0.0, 1));
    // The writer goes on a little longer than the load.
    let (seconds, count) = (extent.seconds, RATE * (extent.seconds + 1));
    let mut before = logs::count(cloud)?;
    for round in 0..extent.rounds * ROUNDS {
        slow.add(0, wrk::load(&target, CONNECTIONS, seconds)?.p99);
        let round = FIRST_ROUND + u64::try_from(round)?;
        let told = Told::after_this(cloud, round)?;
        let started = Instant::now();
        let _request = logs::chat(cloud, round, u64::from(count), Some(RATE))?;
        slow.add(1, wrk::load(&target, CONNECTIONS, seconds)?.p99);
        told.wait()?;
        lines.add(0, f64::from(count) / started.elapsed().as_secs_f64());
        let stored = logs::count(cloud)?;
        let wanted = before + u64::from(count) + 1;
        lines.add(1, f64::from(u32::try_from(wanted.saturating_sub(stored)).context("lost")?));
        before = stored;
    }
    Ok(vec![slow, lines])
}
