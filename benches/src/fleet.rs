//! Many instances with a network each: how fast they are made, and that no two share what must be one's own.
//!
//! They are asked for all at once, over the control API, as a start of the machine would. What is on the clock: from
//! the first order to the last instance that runs. An instance's own are its network namespace and, at `routed`, its
//! address, as the kernel tells it. `routed` is measured on a host of its own, a network namespace that forwards packets,
//! so that the settings of this one stay what they are.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::Context;

use crate::Extent;
use crate::api::Api;
use crate::cloud::Cloud;
use crate::goal::Goal;
use crate::table::Table;

/// Orders that are on their way at once.
const AT_ONCE: usize = 8;
/// Kinds of networks that give each instance one of its own.
const NETWORKS: [&str; 2] = ["isolated", "routed"];

/// Instances made in each second, and how many share what they must not.
pub(crate) fn measure(insula: &Path, extent: Extent) -> anyhow::Result<Vec<Table>> {
    let many = extent.fleet;
    let mut tables = Vec::new();
    for network in NETWORKS {
        let cloud = match network {
            "routed" if !rustix::process::geteuid().is_root() => {
                crate::say(&format!("network `{network}` is not measured: it needs root"))?;
                continue;
            }
            "routed" => Cloud::forwarding(insula, &config(network))?,
            _ => Cloud::with(insula, &config(network), &[])?,
        };
        let title = format!("{many} instances, network `{network}`");
        let mut made = Table::new(format!("{title}: made in each second"), "1/s", &["insula"])
            .goal(Goal::at_least(50.0, 0));
        let mut shared =
            Table::new(format!("{title}: in common, of namespaces and addresses"), "number", &["insula"])
                .goal(Goal::at_most(0.0, 0));
        for _ in 0..extent.rounds {
            let began = Instant::now();
            each(&cloud, many, "spawn")?;
            made.add(0, count(many)? / began.elapsed().as_secs_f64());
            shared.add(0, count(in_common(&cloud, many, network)?)?);
            each(&cloud, many, "stop")?;
        }
        cloud.stop()?;
        tables.extend([made, shared]);
    }
    Ok(tables)
}

fn config(network: &str) -> String {
    format!(
        "[settings]\ndata_dir = \"./data\"\nport = 0\n[service.fleet]\ncommand = \"./insula-bench app\"\n\
         isolation = \"namespace\"\nnetwork = \"{network}\"\n"
    )
}

/// Gives an order to each instance, some at a time, each on a connection that is kept open.
fn each(cloud: &Cloud, many: usize, order: &str) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut api = Api::connect(cloud)?;
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                n if n < many => api.post(&format!("/v1/instances/fleet:i{n}/{order}"))?,
                _ => return anyhow::Ok(()),
            };
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let mut ended = workers.into_iter().map(|worker| worker.join());
        ended.try_for_each(|ended| ended.unwrap_or_else(|_| Err(anyhow::anyhow!("a worker panicked"))))
    })
}

/// How many have a network namespace or an address that another one has, too.
fn in_common(cloud: &Cloud, many: usize, network: &str) -> anyhow::Result<usize> {
    let (mut api, mut seen, mut twice) = (Api::connect(cloud)?, HashSet::new(), 0);
    for n in 0..many {
        let name = format!("fleet:i{n}");
        let detail = api.get(&format!("/v1/instances/{name}"))?;
        let pid =
            detail["processes"]["app_pid"].as_u64().with_context(|| format!("no process of `{name}`"))?;
        let namespace = fs::read_link(format!("/proc/{pid}/ns/net")).context("a process is gone")?;
        let addresses = addresses(pid)?;
        // Else nothing could be in common.
        anyhow::ensure!(network != "routed" || !addresses.is_empty(), "`{name}` has no address");
        let own = addresses.into_iter().chain([namespace.display().to_string()]);
        twice += own.filter(|own| !seen.insert(own.clone())).count();
    }
    Ok(twice)
}

/// The addresses of the network that a process is in, but for the loopback's.
fn addresses(pid: u64) -> anyhow::Result<HashSet<String>> {
    let path = format!("/proc/{pid}/net/fib_trie");
    Ok(own_addresses(&fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?))
}

/// Each own address stands in a line of its own, with a line behind it that says whose it is.
fn own_addresses(trie: &str) -> HashSet<String> {
    let lines: Vec<_> = trie.lines().map(str::trim).collect();
    let own = lines.windows(2).filter(|pair| pair[1] == "/32 host LOCAL");
    let addresses = own.filter_map(|pair| pair[0].strip_prefix("|-- "));
    addresses.filter(|address| !address.starts_with("127.")).map(str::to_owned).collect()
}

fn count(n: usize) -> anyhow::Result<f64> {
    Ok(f64::from(u32::try_from(n).context("too many instances")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_read_from_the_kernels_table() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
            Local:\n     |-- 10.1.0.2\n        /32 host LOCAL\n     |-- 10.1.0.3\n        /32 link BROADCAST\n\
                 |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.1.0.2\n        /32 host LOCAL\n";
        assert_eq!(own_addresses(trie), HashSet::from(["10.1.0.2".to_owned()]));
        assert!(own_addresses("").is_empty());
    }
}
