//! The end of the server, and what it leaves behind.

use std::fs;
use std::path::Path;

use crate::demo::report::{Finding, Report, time};
use crate::stage::Server;

/// Ends the server; afterwards nothing of it may run.
///
/// # Errors
/// Only when nobody reads the table any more.
pub(in crate::demo) async fn end(server: Server, report: &mut Report) -> anyhow::Result<()> {
    let folder = server.folder().to_owned();
    let found = server.stop().await.map(|took| {
        let left = left_behind(&folder);
        let measured = format!("{}, {left} processes left", time(took));
        Finding::new(measured, "0 processes left", left == 0)
    });
    report.row("SIGTERM ends the server and all tenants", found)
}

/// Live processes that work for this home: their command line, working directory or control group says so.
fn left_behind(folder: &Path) -> usize {
    let folder_name = folder.to_string_lossy();
    let id = fs::read_to_string(folder.join("home/id")).unwrap_or_default();
    let id = id.trim();
    let ours = |process: &Path| {
        let file = |name: &str| {
            String::from_utf8_lossy(&fs::read(process.join(name)).unwrap_or_default()).into_owned()
        };
        let alive = !file("stat").rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
        let in_group = !id.is_empty() && file("cgroup").contains(id);
        let inside = fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
        alive && (file("cmdline").contains(&*folder_name) || in_group || inside)
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = |name: &str| name.bytes().all(|b| b.is_ascii_digit());
    entries.filter(|e| e.file_name().to_str().is_some_and(numbered)).filter(|e| ours(&e.path())).count()
}
