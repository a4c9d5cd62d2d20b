//! `insula usage`: what each tenant uses.

use std::time::Duration;

use insula_api::{Client, DiskUsage, TenantUsage, UsageQuery, Usages};

use crate::cli::UsageArgs;
use crate::exit::Exit;
use crate::format::{bytes, or_dash};
use crate::printer::{Printer, table};

const HEADINGS: [&str; 10] =
    ["NAME", "DISK", "LIMIT", "%", "BOUND", "MEMORY", "CPU", "RESTARTS", "WAKES", "REQUESTS"];

pub(super) async fn run(client: &Client, args: UsageArgs, printer: Printer) -> anyhow::Result<Exit> {
    let usages = client.usage(&UsageQuery { of: args.name }).await?;
    if usages.tenants.is_empty() && !printer.json {
        printer.talk("there are no instances");
        return Ok(Exit::Ok);
    }
    printer.either(&usages, text)?;
    Ok(Exit::Ok)
}

fn text(usages: &Usages) -> String {
    let mut text = table(&HEADINGS, usages.tenants.iter().map(row).collect());
    text.push_str(&format!("\nCPU time since {}", usages.since));
    let mut said: Vec<&str> = Vec::new();
    for why in usages.tenants.iter().filter_map(|tenant| Some(tenant.disk.bound.as_ref()?.why.as_str())) {
        if !why.is_empty() && !said.contains(&why) {
            said.push(why);
            text.push_str(&format!("\nsoft: {why}"));
        }
    }
    text
}

fn row(tenant: &TenantUsage) -> Vec<String> {
    let TenantUsage { disk, .. } = tenant;
    vec![
        tenant.name.to_string(),
        used(disk),
        or_dash(disk.limit_bytes.map(bytes)),
        or_dash(percent(disk)),
        or_dash(disk.bound.as_ref().map(|bound| &bound.mechanism)),
        or_dash(tenant.memory_bytes.map(bytes)),
        seconds(tenant.cpu_micros),
        tenant.restarts.to_string(),
        tenant.wakes.to_string(),
        tenant.requests.to_string(),
    ]
}

/// Part of it where not all could be counted.
fn used(disk: &DiskUsage) -> String {
    match disk.used_bytes {
        Some(used) if disk.complete => bytes(used),
        Some(used) => format!("> {}", bytes(used)),
        None => "-".to_owned(),
    }
}

fn percent(disk: &DiskUsage) -> Option<u128> {
    let (used, limit) = (disk.used_bytes?, disk.limit_bytes?);
    Some(u128::from(used) * 100 / u128::from(limit.max(1)))
}

fn seconds(micros: u64) -> String {
    format!("{:.1}s", Duration::from_micros(micros).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use insula_api::{DiskBound, Timestamp};

    use super::*;

    fn tenant(name: &str, disk: DiskUsage) -> TenantUsage {
        TenantUsage {
            name: name.parse().unwrap(),
            disk,
            memory_bytes: None,
            cpu_micros: 1_300_000,
            restarts: 0,
            wakes: 3,
            requests: 1200,
            open_requests: 0,
        }
    }

    #[test]
    fn each_tenant_is_one_line_and_each_reason_is_said_once() {
        let bound = |mechanism: &str, why: &str| {
            Some(DiskBound { mechanism: mechanism.to_owned(), why: why.to_owned() })
        };
        let disk = |used: Option<u64>, complete: bool, bound: Option<DiskBound>| DiskUsage {
            used_bytes: used,
            complete,
            limit_bytes: bound.is_some().then_some(64 << 20),
            bound,
            counted: None,
        };
        let soft = || bound("soft", "no image: mounting needs root");
        let tenants = vec![
            tenant("notes:a", disk(Some(16 << 20), true, bound("hard (image)", ""))),
            tenant("notes:b", disk(Some(65 << 20), false, soft())),
            tenant("notes:c", disk(None, false, soft())),
            tenant("notes:d", disk(Some(4096), true, None)),
        ];
        let since = Timestamp::from_micros(0);
        insta::assert_snapshot!(text(&Usages { since, tenants }), @r"
        NAME     DISK        LIMIT     %    BOUND         MEMORY  CPU   RESTARTS  WAKES  REQUESTS
        notes:a  16.0 MiB    64.0 MiB  25   hard (image)  -       1.3s  0         3      1200
        notes:b  > 65.0 MiB  64.0 MiB  101  soft          -       1.3s  0         3      1200
        notes:c  -           64.0 MiB  -    soft          -       1.3s  0         3      1200
        notes:d  4.0 KiB     -         -    -             -       1.3s  0         3      1200
        CPU time since 1970-01-01T00:00:00.000000Z
        soft: no image: mounting needs root
        ");
    }
}
