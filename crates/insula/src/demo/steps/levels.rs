//! The same app at every level of this host: one word of the configuration is changed, and nothing else.
//!
//! ```text
//! isolation = "process" ──► config apply ──► asleep ──► first request, all notes so far, one more note ──┐
//!        ▲                                                                                               │
//!        └────────────────────────────────── the next level ◄────────────────────────────────────────────┘
//! ```

use std::fs;
use std::process::Stdio;

use anyhow::{Context, bail};
use insula_api::Observed;
use tokio::process::Command;
use tokio::time::timeout;

use crate::demo::apps::THE_WORD;
use crate::demo::report::{Finding, Report, time};
use crate::demo::scene::Scene;
use crate::doctor;
use crate::home::Home;
use crate::stage::http::PATIENCE;

/// The instance that goes from level to level, with its notes.
const NAME: &str = "word:dora";

/// One row for each level, weakest first. One that this host does not have is a row that says why.
pub(in crate::demo) async fn levels(scene: &Scene, report: &mut Report) -> anyhow::Result<()> {
    let home = Home::locate(Some(scene.folder().join("home")))?;
    let mut notes = 0;
    for found in doctor::levels(&home, insula_spec::Levels::default())?.0 {
        let step = format!("the same app at level `{}`", found.level);
        if let Some(why) = found.why_not {
            report.skipped(&step, &why)?;
            continue;
        }
        let finding = at(scene, &found.level, notes).await;
        notes += usize::from(finding.is_ok());
        report.row(&step, finding)?;
    }
    Ok(())
}

/// Wakes the app at this level, where `before` notes should be there, and writes one more.
async fn at(scene: &Scene, level: &str, before: usize) -> anyhow::Result<Finding> {
    change_the_word(scene, level).await?;
    scene.wait(NAME, Observed::Asleep).await?;
    let place = scene.tenant(NAME)?;
    let woken = place.get("/notes").await?.good()?;
    let notes = woken.body.matches("\"text\"").count();
    place.post("/notes", &format!("{{\"text\": \"written at {level}\"}}")).await?.good()?;
    let is_at = scene.inspect(NAME).await?.summary.level.map(|level| level.to_string()).unwrap_or_default();
    let measured = format!("{}, {notes} notes, level {is_at}", time(woken.first_byte));
    let wanted = format!("{before} notes, level {level}");
    Ok(Finding::new(measured, wanted, notes == before && is_at == level))
}

/// Changes the word in the file, and has the server read it again.
async fn change_the_word(scene: &Scene, level: &str) -> anyhow::Result<()> {
    let path = scene.folder().join("insula.toml");
    let text = fs::read_to_string(&path).context("cannot read the demo's configuration")?;
    let changed: Vec<_> = text
        .lines()
        .map(|line| match line.ends_with(THE_WORD) {
            true => format!("isolation = \"{level}\"{THE_WORD}"),
            false => line.to_owned(),
        })
        .collect();
    fs::write(&path, changed.join("\n")).context("cannot write the demo's configuration")?;
    let mut command = Command::new("/proc/self/exe");
    command.args(["config", "apply", "--home"]).arg(scene.folder().join("home"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output =
        timeout(PATIENCE, command.output()).await.context("the configuration is not taken over")??;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
