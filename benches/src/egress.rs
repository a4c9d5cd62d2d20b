//! What it costs to pass on what leaves the walls: the egress process beside haproxy in TCP mode.
//!
//! ```text
//! wrk behind the walls ──► egress process ──┐
//!                                           ├──► the same application, at an address of this host
//! wrk on the host ───────► haproxy ─────────┘
//! ```
//! The application is at an address that is not the loopback's, because that of an instance is its own. Nothing
//! leaves the machine: the kernel carries packets to its own addresses over the loopback.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::cloud::Cloud;
use crate::goal::{Beside, Goal};
use crate::peers::{self, Running};
use crate::table::Table;
use crate::wrk::{self, Load, Target};
use crate::{Extent, http, process};

/// Connections that are open at once.
const CONNECTIONS: [u32; 2] = [16, 64];
/// An address that no machine has (RFC 5737): the way to it shows which of its own this host would use.
const FAR: &str = "203.0.113.1:9";

/// CPU time for each request in whoever passes it on, and requests for each second.
pub(crate) fn measure(insula: &Path, extent: Extent) -> anyhow::Result<Vec<Table>> {
    let backend = SocketAddr::new(own_address()?, http::free_port()?);
    let cloud = Cloud::with(insula, &config(backend), &[])?;
    let program = cloud.dir().join("insula-bench");
    let mut app = Command::new(&program);
    app.arg(crate::APP).env("PORT", backend.port().to_string()).env("ADDRESS", backend.ip().to_string());
    let _app = Running::start(&mut app)?;
    let haproxy = peers::haproxy(&cloud.dir().join("haproxy"), backend)?;
    // The egress process is there from the first connection on.
    inside(&cloud, backend, 1, 1)?;
    let egress = find(&cloud.dir().join("home"))?;
    let mut tables = Vec::new();
    for connections in CONNECTIONS {
        let subjects = ["haproxy, TCP mode", "insula egress"];
        let title = |what: &str| format!("{what}, {connections} connections out");
        let mut cpu = Table::new(title("CPU per request"), "us", &subjects)
            .goal(Goal::at_most(1.3, 1).beside(Beside::Times(0)));
        let mut rate = Table::new(title("requests per second"), "1/s", &subjects);
        for _ in 0..extent.rounds {
            let through = |pid: u32, load: &dyn Fn() -> anyhow::Result<Load>| {
                let before = process::cpu_seconds(&[pid])?;
                let load = load()?;
                let used = process::cpu_seconds(&[pid])? - before;
                anyhow::Ok((used * 1_000_000.0 / load.requests, load.rate))
            };
            let target = Target { port: haproxy.port, host: "app" };
            let peer = through(haproxy.pid(), &|| wrk::load(&target, connections, extent.seconds))?;
            let own = through(egress, &|| inside(&cloud, backend, connections, extent.seconds))?;
            for (at, (used, per_second)) in [peer, own].into_iter().enumerate() {
                cpu.add(at, used);
                rate.add(at, per_second);
            }
        }
        tables.extend([cpu, rate]);
    }
    cloud.stop()?;
    Ok(tables)
}

/// One service, which may reach the application and nothing else.
fn config(backend: SocketAddr) -> String {
    format!(
        "[settings]\ndata_dir = \"./data\"\nport = 0\n[service.out]\ncommand = \"./insula-bench loader\"\n\
         isolation = \"namespace\"\nnet = [\"{backend}\"]\n[instances]\nout = [\"a\"]\n"
    )
}

/// An address of this host that is not the loopback's. No packet is sent.
fn own_address() -> anyhow::Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(FAR).context("this host has no address but the loopback's, and egress needs one")?;
    Ok(socket.local_addr()?.ip())
}

/// Has the service load the application from behind its walls.
fn inside(cloud: &Cloud, to: SocketAddr, connections: u32, seconds: u32) -> anyhow::Result<Load> {
    let path = format!("/{to}/{connections}/{seconds}");
    let told = http::body_at(cloud.port, "a.out.localhost", &path)?;
    let mut numbers = told.split_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok();
    let load = (|| Some(Load { requests: next()?, rate: next()?, p99: next()? }))();
    load.with_context(|| format!("the load told something else: {told}"))
}

/// The egress process of a home, found by its name.
fn find(home: &Path) -> anyhow::Result<u32> {
    let mark = format!("--home={}", home.display());
    let named = |pid: &u32| {
        let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
        let mut words = line.split(|byte| *byte == 0);
        words.any(|word| word == b"egress") && words.any(|word| word == mark.as_bytes())
    };
    let numbers = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.into_iter().find(named).context("there is no egress process")
}
