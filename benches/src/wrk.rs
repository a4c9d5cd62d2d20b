//! `wrk`, the client of the load.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::Context;

/// What is asked: a port of the loopback, under a name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) host: &'static str,
}

/// What it did.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) requests: f64,
    /// Requests for each second.
    pub(crate) rate: f64,
    /// Milliseconds within which 99 of 100 were answered.
    pub(crate) p99: f64,
}

/// Asks again and again, on so many connections, for so many seconds. Each answer must be 2xx.
pub(crate) fn load(target: &Target, connections: u32, seconds: u32) -> anyhow::Result<Load> {
    load_at((Ipv4Addr::LOCALHOST, target.port).into(), target.host, connections, seconds)
}

/// The same at any address.
pub(crate) fn load_at(to: SocketAddr, host: &str, connections: u32, seconds: u32) -> anyhow::Result<Load> {
    let output = Command::new("wrk")
        .args(["--latency", "-t1", &format!("-c{connections}"), &format!("-d{seconds}s")])
        .args(["-H", &format!("Host: {host}"), &format!("http://{to}/")])
        .output()
        .context("cannot run `wrk`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // Errors have lines of their own, which are there only when there were any.
    let clean = output.status.success() && !text.contains("Socket errors") && !text.contains("Non-2xx");
    anyhow::ensure!(clean, "`{host}` at {to}: requests failed:\n{text}");
    parse(&text).with_context(|| format!("`wrk` told something else:\n{text}"))
}

fn parse(text: &str) -> Option<Load> {
    let word = |line: &str, at: usize| line.split_whitespace().nth(at).map(str::to_owned);
    let line = |part: &str| text.lines().find(|line| line.contains(part));
    let requests = word(line(" requests in ")?, 0)?.parse().ok()?;
    let rate = word(line("Requests/sec:")?, 1)?.parse().ok()?;
    let p99 = text.lines().find(|line| line.trim_start().starts_with("99%"))?;
    Some(Load { requests, rate, p99: milliseconds(&word(p99, 1)?)? })
}

/// `812.00us`, `1.06ms`, `1.20s`, `1.00m`
fn milliseconds(text: &str) -> Option<f64> {
    [("us", 0.001), ("ms", 1.0), ("s", 1000.0), ("m", 60_000.0)]
        .into_iter()
        .find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_tells_is_understood() {
        let text = "Running 1s test @ http://127.0.0.1:1/\n  Latency Distribution\n     50%  104.00us\n     \
            99%    1.06ms\n  81234 requests in 1.10s, 90.00MB read\nRequests/sec:  73849.09\n";
        let load = parse(text).unwrap();
        assert_eq!((load.requests, load.rate, load.p99), (81234.0, 73849.09, 1.06));
        assert!(parse(&text.replace("99%", "98%")).is_none());
    }

    #[test]
    fn times_have_units() {
        let times = ["812.00us", "1.06ms", "1.50s", "1.00m"].map(milliseconds);
        assert_eq!(times, [Some(0.812), Some(1.06), Some(1500.0), Some(60_000.0)]);
        assert_eq!(milliseconds("12"), None);
    }
}
