//! `insula pool status`: the walls that wait for the next start.

use insula_api::{Client, HealthAnswer, ShellPool};

use crate::cli::pool::PoolVerb;
use crate::exit::Exit;
use crate::format::{bytes, or_dash};
use crate::printer::{Printer, table};

const HEADINGS: [&str; 6] = ["LEVEL", "NETWORK", "MADE BY", "WAITING", "KEPT", "MEMORY"];

pub(super) async fn run(client: &Client, verb: PoolVerb, printer: Printer) -> anyhow::Result<Exit> {
    let PoolVerb::Status = verb;
    let HealthAnswer::Full(health) = client.daemon().await? else {
        anyhow::bail!("only an administrator sees what waits; use a token of scope `admin`");
    };
    printer.either(&health.footprint.pools, |pools| text(pools))?;
    Ok(Exit::Ok)
}

fn text(pools: &[ShellPool]) -> String {
    let rows = pools.iter().map(row).collect();
    format!(
        "{}\n\neach is used by one instance until its walls are taken down, and never by another",
        table(&HEADINGS, rows)
    )
}

fn row(pool: &ShellPool) -> Vec<String> {
    let levels: Vec<_> = pool.levels.iter().map(|level| level.as_str()).collect();
    vec![
        levels.join(", "),
        pool.network.as_str().to_owned(),
        pool.driver.clone().unwrap_or_else(|| "insula".to_owned()),
        pool.waiting.to_string(),
        pool.kept.to_string(),
        or_dash(pool.memory_bytes.map(bytes)),
    ]
}

#[cfg(test)]
mod tests {
    use insula_spec::{Level, Network};

    use super::*;

    #[test]
    fn each_kind_has_a_line() {
        let pool = |levels: &[Level], driver: Option<&str>, memory_bytes| ShellPool {
            levels: levels.to_vec(),
            network: Network::Isolated,
            driver: driver.map(str::to_owned),
            waiting: 1,
            kept: 2,
            memory_bytes,
        };
        let pools = [
            pool(&[Level::Namespace, Level::Container], None, Some(614_400)),
            pool(&[Level::Container], Some("crun"), None),
        ];
        insta::assert_snapshot!(text(&pools), @r"
        LEVEL                 NETWORK   MADE BY  WAITING  KEPT  MEMORY
        namespace, container  isolated  insula   1        2     600.0 KiB
        container             isolated  crun     1        2     -

        each is used by one instance until its walls are taken down, and never by another
        ");
    }
}
