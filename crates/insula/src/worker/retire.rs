//! The end of a worker that gives way to another one: its streams go on, nothing else does.
//!
//! ```text
//! Retire ──► control API ends ──► no more connects ──► keepers leave ──► holds told ──► store closed ──► Released
//!                                                                                                  │
//!                         exit 0 ◄── the last stream and the last connection have ended ◄──────────┘
//! ```
//! From here on the parent may be gone or replaced; that changes nothing. Requests that still come on
//! connections which are open already are served with leases of the next worker.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use insula_edge::observe::Observe;
use insula_services::Lingering;
use insula_spec::InstanceName;
use insula_store::{Event, EventKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::timeout;

use super::link::Link;
use super::rooms::Rooms;
use crate::fault;
use crate::heritage::{ToHeir, VERSION, line};
use crate::lifeline::ToParent;

/// How long commands of the operator that are under way may take to end.
const COMMANDS: Duration = Duration::from_secs(5);

/// Holds that are told over one connection. All of them must fit its buffer, because nobody reads yet.
const HOLDS: usize = 500;

/// Gives way, then lives on for the open streams.
pub(super) async fn run(link: &Link, mut rooms: Rooms) -> anyhow::Result<()> {
    tracing::info!("giving way to another worker");
    fault::point("retire.asked");
    rooms.end_control(COMMANDS).await;
    rooms.give_way().await;
    let services = rooms.services();
    services.detach().await;
    fault::point("retire.detached");
    let holds = bequeath(&rooms.heirs_socket(), services.lingering()).await;
    let mut holds = holds.context("cannot tell the next worker what goes on")?;
    let (mut public, observe) = rooms.let_go().await?;
    fault::point("retire.closed");
    link.send(&ToParent::Released).context("cannot tell the parent that the place is free")?;
    fault::point("retire.released");
    tracing::info!(streams = holds.len(), "gave way; open connections go on");
    while public.join_next().await.is_some() {}
    while holds.join_next().await.is_some() {}
    tokio::task::spawn_blocking(move || observe.close()).await.context("cannot close the access log")?;
    tracing::info!("the last connection has ended");
    Ok(())
}

impl Rooms {
    /// Ends the control API; commands under way get this long.
    async fn end_control(&mut self, limit: Duration) {
        self.quiet.cancel();
        let ended = timeout(limit, async { while self.control.join_next().await.is_some() {} });
        if ended.await.is_err() {
            tracing::warn!("a command of the operator was cut off by a planned restart");
            self.control.abort_all();
        }
    }

    /// Accepts nothing more. What is connected already goes on, with leases of the next worker.
    async fn give_way(&mut self) {
        self.stop_heirs.cancel();
        // This worker must not be its own heir: what it connects to from here on is the next one.
        if let Some(Err(error)) = join(self.heirs.take()).await {
            tracing::warn!(%error, "hearing of earlier workers broke off");
        }
        self.retiring.cancel();
        self.tenancy.give_way_to(self.heirs_socket());
        self.drain.cancel();
    }

    fn heirs_socket(&self) -> PathBuf {
        self.home.heirs_socket()
    }

    /// Closes what only one worker may have. What is left are the public connections and their access log.
    async fn let_go(mut self) -> anyhow::Result<(JoinSet<anyhow::Result<()>>, Arc<Observe>)> {
        self.engine.close().await;
        self.end_records().await;
        self.store.note(None, Event::new(EventKind::WorkerStopped, "gave way to another worker")).await?;
        self.store.close().await?;
        // The listeners are closed, so the lock may go, too: whoever has them now holds it as well.
        drop(self.lock.map(std::mem::ManuallyDrop::into_inner));
        Ok((self.public, self.observe))
    }
}

/// Waits for a task that is there.
async fn join(task: Option<JoinHandle<()>>) -> Option<Result<(), JoinError>> {
    match task {
        Some(task) => Some(task.await),
        None => None,
    }
}

/// Tells the next worker which instances have to stay awake. The tasks end with the streams.
async fn bequeath(socket: &Path, lingering: Vec<Lingering>) -> io::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    let mut lingering = lingering.into_iter().peekable();
    while lingering.peek().is_some() {
        let mut ends = JoinSet::new();
        let mut names = Vec::new();
        for one in lingering.by_ref().take(HOLDS) {
            let name = one.instance().clone();
            names.push(name.clone());
            ends.spawn(async move {
                one.ended().await;
                name
            });
        }
        let stream = introduce(socket, &names).await?;
        tasks.spawn(hold(socket.to_owned(), stream, names, ends));
    }
    Ok(tasks)
}

/// Names what is held. The connect waits in the listener's queue: the next worker answers later.
async fn introduce(socket: &Path, names: &[InstanceName]) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut bytes = line(&ToHeir::Hello { version: VERSION })?;
    for name in names {
        bytes.extend(line(&ToHeir::Hold(name.clone()))?);
    }
    bytes.extend(line(&ToHeir::Settled)?);
    stream.write_all(&bytes).await?;
    Ok(stream)
}

/// Says of each instance when its last stream has ended. A next worker that dies is followed by one that
/// is told again.
async fn hold(
    socket: PathBuf,
    mut stream: UnixStream,
    mut names: Vec<InstanceName>,
    mut ends: JoinSet<InstanceName>,
) {
    loop {
        let mut nothing = [0];
        let told = tokio::select! {
            ended = ends.join_next() => match ended {
                None => return,
                Some(Ok(name)) => {
                    names.retain(|known| *known != name);
                    tell_end(&mut stream, name).await
                }
                Some(Err(_)) => Ok(()),
            },
            _ = stream.read(&mut nothing) => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        if told.is_ok() {
            continue;
        }
        match introduce(&socket, &names).await {
            Ok(again) => stream = again,
            Err(error) => {
                tracing::warn!(%error, "nobody keeps the instances of open streams awake any more");
                return while ends.join_next().await.is_some() {};
            }
        }
    }
}

async fn tell_end(stream: &mut UnixStream, name: InstanceName) -> io::Result<()> {
    stream.write_all(&line(&ToHeir::Ended(name))?).await
}
