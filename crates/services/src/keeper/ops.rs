//! The operations on a sandbox that take time. Each owns the sandbox while it runs and gives it back.

use std::error::Error;
use std::time::Duration;

use insula_isolation::{Exit, ImageError, LaunchError, Sandbox, Unavailable};
use insula_spec::{Launch, Level, LevelChoice};
use insula_store::{Change, ChangeError, Event, EventKind, IdRangeError};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::machine::Why;
use crate::failure::Failure;
use crate::shared::{HostIdsError, Site};

/// How an operation ended.
#[derive(Debug)]
pub(super) enum Done {
    Launched { sandbox: Box<dyn Sandbox>, level: Level },
    LaunchFailed { why: Why, permanent: bool },
    Committed { sandbox: Box<dyn Sandbox>, result: Result<(), Why> },
    Froze { sandbox: Box<dyn Sandbox>, result: Result<(), Why> },
    Thawed { sandbox: Box<dyn Sandbox>, result: Result<(), Why> },
    Ended(Exit),
}

/// Why an instance was not started.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Level(#[from] Unavailable),
    #[error("cannot record its level")]
    Record(#[source] ChangeError),
    #[error("it has no host ids")]
    Ids(#[source] IdRangeError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("its walls were not up within {0:?} (`startup_timeout`)")]
    TimedOut(Duration),
    #[error("Insula is shutting down")]
    ShuttingDown,
}

impl From<HostIdsError> for StartError {
    fn from(error: HostIdsError) -> Self {
        match error {
            HostIdsError::Level(e) => Self::Level(e),
            HostIdsError::Range(e) => Self::Ids(e),
        }
    }
}

impl StartError {
    /// Whether another try would fail, too, until somebody changes something.
    fn is_permanent(&self) -> bool {
        match self {
            Self::Level(_) => true,
            Self::Launch(e) => matches!(
                e,
                LaunchError::Unavailable(_)
                    | LaunchError::Unenforceable { .. }
                    | LaunchError::Exec { .. }
                    | LaunchError::Filter { .. }
                    | LaunchError::Disk(ImageError::TooSmall { .. } | ImageError::Twice { .. })
            ),
            Self::Record(_) | Self::Ids(_) | Self::TimedOut(_) | Self::ShuttingDown => false,
        }
    }

    /// What to do about it, where the error knows.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Level(e) => Some(e.advice()),
            Self::Launch(e) => Some(e.hint()),
            Self::Record(e) => Some(e.hint()),
            Self::Ids(_) | Self::TimedOut(_) | Self::ShuttingDown => None,
        }
    }

    /// What the event log keeps of it.
    fn failure(&self) -> Failure {
        match self {
            Self::Launch(e @ LaunchError::Exec { program, source }) => {
                Failure::Exec { program: program.clone(), errno: source.raw_os_error(), hint: e.hint() }
            }
            _ => Failure::NotStarted { hint: self.hint() },
        }
    }

    fn done(&self) -> Done {
        let why = Why::of(chain(self), self.failure());
        Done::LaunchFailed { why, permanent: self.is_permanent() }
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Starts a workload in new walls.
pub(super) async fn launch(site: Site, stored: Option<Level>) -> Done {
    let limit = site.spec.startup_timeout;
    // Waiting for one's turn does not count.
    let Ok(_turn) = site.shared.launches.acquire().await else { return StartError::ShuttingDown.done() };
    let started = timeout(limit, try_launch(&site, stored)).await;
    match started.unwrap_or(Err(StartError::TimedOut(limit))) {
        Ok((sandbox, level)) => Done::Launched { sandbox, level },
        Err(error) => error.done(),
    }
}

async fn try_launch(site: &Site, stored: Option<Level>) -> Result<(Box<dyn Sandbox>, Level), StartError> {
    tracing::trace!(target: "insula::wake", at = "launch begun");
    let level = resolve(site, stored).await?;
    let backend = site.shared.registry.backend(level)?;
    let ids = site.shared.host_ids(&site.name, backend.as_ref()).await?;
    let placement = backend.place(&site.name, site.spec.network)?;
    let (net, net_given) = site.net();
    let launch = Launch { net, net_given, ..site.spec.launch(&site.name.id, &placement, ids) };
    Ok((backend.launch(&launch).await?, level))
}

/// The level of this start. `auto` is resolved once; from then on only the configuration changes it.
async fn resolve(site: &Site, stored: Option<Level>) -> Result<Level, StartError> {
    let asked = match (site.spec.isolation, stored) {
        (LevelChoice::Auto, Some(level)) => LevelChoice::Fixed(level),
        (asked, _) => asked,
    };
    let level = site.shared.registry.resolve(asked, site.spec.min_isolation)?;
    if stored != Some(level) {
        let event = Event::new(EventKind::Level, format!("`{}` is `{level}` here", site.spec.isolation));
        let change = Change::none().level(level);
        site.shared.store.transition(&site.name, change, event).await.map_err(StartError::Record)?;
    }
    Ok(level)
}

/// Starts the workload again in the walls that stand; in new ones if that does not work.
pub(super) async fn relaunch(site: Site, mut sandbox: Box<dyn Sandbox>, level: Level) -> Done {
    let again = async {
        let ids = site.shared.host_ids(&site.name, site.shared.registry.backend(level)?.as_ref()).await?;
        let launch = site.spec.launch(&site.name.id, &sandbox.record().placement, ids);
        let (net, net_given) = site.net();
        let launch = Launch { net, net_given, ..launch };
        sandbox.relaunch(&launch).await.map_err(StartError::from)
    };
    let limit = site.spec.startup_timeout;
    match timeout(limit, again).await.unwrap_or(Err(StartError::TimedOut(limit))) {
        Ok(()) => Done::Launched { sandbox, level },
        Err(error) => {
            tracing::debug!(instance = %site.name, %error, "cannot use the walls again, building new ones");
            sandbox.stop(Duration::ZERO).await;
            launch(site, Some(level)).await
        }
    }
}

/// Waits for the record to be written, then lets the sandbox outlive this process.
pub(super) async fn commit(
    mut sandbox: Box<dyn Sandbox>,
    recorded: oneshot::Receiver<Result<(), ChangeError>>,
) -> Done {
    let recorded = recorded.await;
    tracing::trace!(target: "insula::wake", at = "recorded");
    let result = match recorded {
        Ok(Ok(())) => sandbox.commit().await.map_err(|e| chain(&e).into()),
        Ok(Err(error)) => {
            let text = format!("cannot record the sandbox: {}", chain(&error));
            Err(Why::of(text, Failure::NotStarted { hint: Some(error.hint()) }))
        }
        Err(_) => Err("cannot record the sandbox: the store is closed".into()),
    };
    tracing::trace!(target: "insula::wake", at = "committed");
    Done::Committed { sandbox, result }
}

/// Freezes it.
pub(super) async fn freeze(mut sandbox: Box<dyn Sandbox>) -> Done {
    let result = sandbox.pause().await.map_err(|e| format!("cannot freeze it: {e}").into());
    Done::Froze { sandbox, result }
}

/// Thaws it.
pub(super) async fn thaw(mut sandbox: Box<dyn Sandbox>) -> Done {
    let result = sandbox.resume().await.map_err(|e| format!("cannot thaw it: {e}").into());
    Done::Thawed { sandbox, result }
}

/// Ends it. A frozen one is thawed first, so that it hears the request to end; if that fails it is killed.
pub(super) async fn stop(mut sandbox: Box<dyn Sandbox>, grace: Duration, frozen: bool) -> Done {
    let heard = !frozen || sandbox.resume().await.is_ok();
    Done::Ended(sandbox.stop(if heard { grace } else { Duration::ZERO }).await)
}
