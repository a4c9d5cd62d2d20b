//! `insula worker`: the process that does the work of `serve`.
//!
//! ```text
//! boot ──► lock ──► store ──► engine ──► services (adopt, sweep, wake) ──► listeners ──► ready
//!                                                                             │
//!     parent gone: detach, instances carry on  ◄──────────────────────────────┤
//!     Shutdown: drain, stop instances, exit 0  ◄──────────────────────────────┤
//!     Retire: leave all but the streams        ◄──────────────────────────────┘   (see `retire`)
//! ```
//! Whatever goes wrong ends this process with an error; the parent starts it again, and it finds its
//! instances by their records.

mod apex;
mod footprint;
mod gear;
mod heirs;
mod link;
mod records;
mod retire;
mod rooms;
mod settings;
mod tenancy;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use insula_linux::signals;
use tokio::time::timeout;

use crate::deed::{Deed, Ending};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fault;
use crate::lifeline::{Lifeline, ToParent, ToWorker};
use crate::parent::DRAIN;
use crate::slim::slim;
use crate::trace;

use gear::Gear;
use link::Link;
use rooms::Rooms;

/// How long connections may take to end after all instances were stopped.
const LAST_BYTES: Duration = Duration::from_secs(2);

/// Runs until the parent wants it to end, or is gone.
///
/// # Errors
/// When something that must be there is not.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    // The parent blocks signals to read them; that is inherited.
    signals::unblock_inherited().context("cannot unblock signals")?;
    let stray =
        |_| Failure::new(Exit::Usage, "the worker is started by `insula serve` alone", "run `insula serve`");
    let lifeline = Lifeline::from_stdin().map_err(stray)?;
    let Some((boot, fds)) = lifeline.recv_boot().context("cannot learn what to do")? else {
        return Ok(Exit::Ok.into());
    };
    let standby = boot.standby;
    let deed = boot.deed.clone();
    let gear = Gear::unpack(boot, fds)?;
    trace::init(&gear.config.observability)?;
    if standby {
        fault::point("standby.booted");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let ended = runtime.block_on(async {
        let mut link = Link::new(lifeline)?;
        if standby && !may_begin(&mut link).await? {
            return Ok(());
        }
        work(link, gear, (standby, deed)).await
    });
    // Blocking work under way, such as a wait for the lock, must not hold up the end.
    runtime.shutdown_background();
    ended.map(|()| Exit::Ok.into())
}

/// Stands by until the other worker has given way; `false` when that will not be.
async fn may_begin(link: &mut Link) -> anyhow::Result<bool> {
    link.send(&ToParent::Prepared).context("cannot tell the parent that all is prepared")?;
    fault::point("standby.prepared");
    let message = link.next().await.context("cannot hear the parent")?;
    fault::point("standby.going");
    Ok(message == Some(ToWorker::Go))
}

/// `deed` is why it is there, for the audit log.
async fn work(mut link: Link, gear: Gear, (standby, deed): (bool, Option<Deed>)) -> anyhow::Result<()> {
    let mut rooms = Rooms::open(gear).await?;
    if standby {
        fault::point("standby.open");
    }
    if let Some(deed) = deed {
        rooms.record(deed, Ending::done()).await.context("cannot write to the audit log")?;
    }
    link.send(&ToParent::Ready(rooms.report())).context("cannot tell the parent that it serves")?;
    rooms.restart_outdated();
    slim();
    let message = loop {
        let message = tokio::select! {
            message = link.next() => message.context("cannot hear the parent")?,
            error = rooms.broken() => return Err(error),
        };
        match message {
            Some(ToWorker::Ping) => link.send(&ToParent::Pong).context("cannot answer the parent")?,
            Some(ToWorker::Record(deed, ending)) => rooms.record_late(deed, ending).await,
            other => break other,
        }
    };
    match message {
        None => rooms.detach().await,
        Some(ToWorker::Retire) => retire::run(&link, rooms).await,
        Some(_) => shut_down(link, rooms).await,
    }
}

/// Drains and stops. A second request means not to wait for anybody's requests.
async fn shut_down(mut link: Link, mut rooms: Rooms) -> anyhow::Result<()> {
    rooms.stop_accepting();
    let services = rooms.services();
    let patient = services.shutdown(DRAIN);
    let mut patient = std::pin::pin!(patient);
    let hurried = tokio::select! {
        () = &mut patient => false,
        hurry = hurry(&mut link) => hurry,
    };
    if hurried {
        tokio::join!(services.shutdown(Duration::ZERO), patient);
    }
    if timeout(LAST_BYTES, rooms.drained()).await.is_err() {
        tracing::warn!("connections were cut: they did not end after their instances did");
    }
    rooms.close().await
}

/// Waits for a second request to stop; never comes back without one.
async fn hurry(link: &mut Link) -> bool {
    loop {
        match link.next().await {
            Ok(Some(ToWorker::Hurry)) => return true,
            Ok(Some(_)) => {}
            // The parent is gone; what was asked for is still done.
            Ok(None) | Err(_) => std::future::pending::<()>().await,
        }
    }
}
