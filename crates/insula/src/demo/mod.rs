//! `insula demo`: does to a real server what its users would, and says what it measured.
//!
//! ```text
//! apps written to a folder ──► insula serve ──► steps, one row each ──► stays up, or ends
//!   (carried in the binary)     (own home)        (measured, wanted)      (and checks that nothing is left)
//! ```
//! The demo knows what any user knows: the public port, the control API, the signals of the kernel.

mod apps;
mod load;
mod report;
mod scene;
mod steps;
mod websocket;

use std::process::ExitCode;

use clap::Args;

use crate::printer::Printer;
use crate::stage::Server;
use apps::Folder;
use report::Report;
use scene::Scene;

/// `insula demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// End after the last step instead of staying up
    #[arg(long)]
    pub(crate) exit: bool,
    /// Keep the folder with apps, data and logs
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Runs the demo. The exit code is 1 when anything was not as it should be.
///
/// # Errors
/// When the server cannot be started at all.
pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let printer = Printer { json: false };
    let folder = Folder::create(args.keep)?;
    printer.talk(&format!("apps, data and the server's log are in {}", folder.path().display()));
    let server = Server::start(&folder.files()).await?;
    let scene = Scene::new(&server, folder.cache_port());
    let mut report = Report::begin(printer)?;
    steps::all(&scene, &mut report).await?;
    if !args.exit {
        stay_up(printer, &scene).await?;
    }
    steps::end(server, &mut report).await?;
    report.finish()
}

/// Shows where everything is, and waits for Ctrl-C.
async fn stay_up(printer: Printer, scene: &Scene) -> anyhow::Result<()> {
    printer.text(&scene.places())?;
    printer.talk("the server stays up; stop it with Ctrl-C");
    Ok(tokio::signal::ctrl_c().await?)
}
