//! `insula egress`: the process that judges what leaves the walls, and the worker's way to it.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use insula_egress::{Denial, Egress, EgressConfig, Heard, TestInternet};
use insula_store::{Event, EventKind, Store};
use tokio::sync::mpsc;

use crate::cli::EgressArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::home::Home;

/// The verb under which the process is started. Not for people.
pub(crate) const VERB: &str = "egress";

/// Names a file with a made-up internet. Only a program built for tests (with debug assertions) looks at it.
const TEST_INTERNET: &str = "INSULA_TEST_INTERNET";

/// Serves until nobody needs it any more.
///
/// # Errors
/// When it was not started by a worker, or cannot begin.
pub(crate) fn run(args: &EgressArgs) -> anyhow::Result<ExitCode> {
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin().as_fd(), 3)
        .context("cannot take the socket of the worker")?;
    let test = args.test_internet.as_deref().map(test_internet).transpose()?;
    insula_egress::serve(control, test).map_err(|error| {
        let hint = error.hint();
        Failure::new(Exit::Usage, error.to_string(), hint)
    })?;
    Ok(Exit::Ok.into())
}

/// A made-up internet lets a policy be tried without a network. A program that is not built for tests refuses
/// it: nothing in it could lead around a policy, but nothing shall come near.
fn test_internet(path: &Path) -> anyhow::Result<TestInternet> {
    if !cfg!(debug_assertions) {
        let hint = "leave `--test-internet` away";
        return Err(Failure::new(Exit::Usage, "this program is not built for tests", hint).into());
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("`{}` is no internet", path.display()))
}

/// The worker's way to the process, which is started when it is needed, and what comes from there.
pub(crate) fn open(home: &Home, epoch: u64) -> (Egress, Heard) {
    // It inherits no environment; and whoever looks for what belongs to this home finds it by its name.
    let mut arguments = vec![VERB.to_owned(), format!("--home={}", home.path().display())];
    if cfg!(debug_assertions)
        && let Ok(file) = std::env::var(TEST_INTERNET)
    {
        arguments.push(format!("--test-internet={file}"));
    }
    let program = (PathBuf::from("/proc/self/exe"), arguments);
    Egress::new(EgressConfig { socket: home.egress_socket(), program, epoch })
}

/// Writes down what is refused, until there is no more.
pub(crate) async fn record(store: Store, mut denials: mpsc::Receiver<(Denial, u64)>) {
    while let Some((denial, times)) = denials.recv().await {
        let detail = serde_json::json!({
            "name": denial.name,
            "address": denial.address,
            "port": denial.port,
            "reason": denial.reason,
            "rule": denial.rule(),
            "times": times,
        });
        let event = Event::new(EventKind::NetDenied, denial.to_string()).detail(detail);
        if let Err(error) = store.note(Some(&denial.instance), event).await {
            tracing::warn!(instance = %denial.instance, %error, "cannot record that something was refused");
        }
    }
}
