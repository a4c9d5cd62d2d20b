//! One command, from its first frame to its last.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use insula_api::{ExecEnd, ExecFrame, ExecFrames, ExecRequest};
use insula_services::{ExecPiece, ExecSession, Exit, Lease};
use insula_spec::InstanceName;
use insula_store::AuditEntry;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::order;
use crate::control::error::ControlError;
use crate::control::handlers::Shared;
use crate::control::operations::Operations;
use crate::control::trail::Trail;

/// Time until a client has said what to run.
const BEGIN: Duration = Duration::from_secs(10);

/// How long a client may take to read how its command ended.
const LAST_WORD: Duration = Duration::from_secs(5);

/// How often a client is told that the daemon is there. One that vanished is found out by this.
const ALIVE: Duration = Duration::from_secs(30);

/// A client that may run a command.
pub(super) struct Session<O> {
    pub(super) app: Arc<Shared<O>>,
    pub(super) name: InstanceName,
    /// What is written down, but for the command.
    pub(super) entry: AuditEntry,
}

/// How a command came to its end.
#[derive(Debug)]
enum Over {
    Ended(Exit),
    Problem(ControlError),
    /// Nobody is there to be told.
    ClientGone,
}

impl From<ControlError> for Over {
    fn from(error: ControlError) -> Self {
        Self::Problem(error)
    }
}

impl Over {
    /// Status and word for the audit log.
    fn outcome(&self) -> (u16, String) {
        match self {
            Self::Ended(Exit::Code(code)) => (200, format!("exited {code}")),
            Self::Ended(Exit::Signal(signal)) => (200, format!("signal {signal}")),
            Self::Ended(Exit::Oom | Exit::Lost) => (200, "lost".to_owned()),
            Self::Problem(error) => {
                let problem = error.problem();
                (problem.status, problem.code.into_owned())
            }
            Self::ClientGone => (499, "client_gone".to_owned()),
        }
    }

    fn end(&self) -> Option<ExecEnd> {
        match self {
            Self::Ended(Exit::Code(code)) => Some(ExecEnd::Exited(*code)),
            Self::Ended(Exit::Signal(signal)) => Some(ExecEnd::Signal(*signal)),
            // An agent tells neither of a command.
            Self::Ended(Exit::Oom | Exit::Lost) => None,
            Self::Problem(error) => Some(ExecEnd::Problem(error.problem())),
            Self::ClientGone => None,
        }
    }
}

/// The connection to a client.
struct Wire {
    from: ReadHalf<TokioIo<Upgraded>>,
    to: WriteHalf<TokioIo<Upgraded>>,
    frames: ExecFrames,
    /// Whether a frame was sent in part only.
    torn: bool,
}

impl Wire {
    /// The next frame; `None` when the client has gone, or speaks something else. Cancel-safe.
    async fn next(&mut self) -> Option<(ExecFrame, Vec<u8>)> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            if let Some(frame) = self.frames.next_frame().ok()? {
                return Some(frame);
            }
            match self.from.read(&mut buffer).await.ok()? {
                0 => return None,
                n => self.frames.push(&buffer[..n]),
            }
        }
    }

    /// Sends one whole frame, unless that fails or is cancelled.
    async fn send(&mut self, frame: ExecFrame, content: &[u8]) -> io::Result<()> {
        let bytes = frame.with(content).ok_or(io::ErrorKind::InvalidData)?;
        self.torn = true;
        self.to.write_all(&bytes).await?;
        self.to.flush().await?;
        self.torn = false;
        Ok(())
    }
}

impl<O: Operations> Session<O> {
    /// Serves it to its end.
    pub(super) async fn serve(self, stream: Upgraded) {
        let (from, to) = tokio::io::split(TokioIo::new(stream));
        let mut wire = Wire { from, to, frames: ExecFrames::default(), torn: false };
        let over = match timeout(BEGIN, wire.next()).await {
            Ok(Some((ExecFrame::Begin, content))) => self.begin(&mut wire, &content).await,
            _ => Over::ClientGone,
        };
        if let Over::Problem(error) = &over {
            tracing::debug!(instance = %self.name, %error, "a command was not run to its end");
        }
        let end = over.end().filter(|_| !wire.torn).and_then(|end| serde_json::to_vec(&end).ok());
        if let Some(end) = end {
            let told = async {
                wire.send(ExecFrame::End, &end).await?;
                wire.to.shutdown().await
            };
            let told = timeout(LAST_WORD, told).await.unwrap_or_else(|late| Err(late.into()));
            if let Err(error) = told {
                tracing::debug!(%error, "a client did not hear how its command ended");
            }
        }
    }

    /// Writes the command down, runs it, writes down how it ended.
    async fn begin(&self, wire: &mut Wire, content: &[u8]) -> Over {
        let malformed =
            |e: serde_json::Error| ControlError::Malformed { part: "command", why: e.to_string() };
        let request: ExecRequest = match serde_json::from_slice(content) {
            Ok(request) => request,
            Err(e) => return malformed(e).into(),
        };
        let limit = request.timeout_ms.map(Duration::from_millis);
        let order = match order::order(request) {
            Ok(order) => order,
            Err(error) => return error.into(),
        };
        let target = Some(format!("{} {}", self.name, order::text(&order)));
        let trail =
            match Trail::begin(&self.app.keys.store, AuditEntry { target, ..self.entry.clone() }).await {
                Ok(trail) => trail,
                Err(error) => return ControlError::from(error).into(),
            };
        let over = match self.start(wire, order).await {
            Ok((lease, command)) => self.carry(wire, (lease, command), limit).await,
            Err(over) => over,
        };
        let (status, code) = over.outcome();
        trail.finish(status, &code).await;
        over
    }

    async fn start(
        &self,
        wire: &mut Wire,
        order: insula_services::ExecOrder,
    ) -> Result<(Lease, ExecSession), Over> {
        let start = async {
            let lease = self.app.operations.enter(&self.name).await?;
            let command = lease.exec(order).await.map_err(ControlError::from)?;
            Ok::<_, ControlError>((lease, command))
        };
        let started = tokio::select! {
            started = start => started?,
            () = self.app.stop.cancelled() => return Err(ControlError::ShuttingDown.into()),
            // It has nothing to say before it is told that the command runs.
            _ = wire.next() => return Err(Over::ClientGone),
        };
        wire.send(ExecFrame::Started, &[]).await.map_err(|_| Over::ClientGone)?;
        Ok(started)
    }

    /// Carries bytes both ways until something ends it.
    async fn carry(
        &self,
        wire: &mut Wire,
        (lease, mut command): (Lease, ExecSession),
        limit: Option<Duration>,
    ) -> Over {
        let out_of_time = async {
            match limit {
                Some(limit) => {
                    sleep(limit).await;
                    limit
                }
                None => std::future::pending().await,
            }
        };
        let name = || self.name.clone();
        let mut cut = std::pin::pin!(async {
            tokio::select! {
                () = lease.over() => ControlError::Ended { name: name() },
                () = self.app.stop.cancelled() => ControlError::ShuttingDown,
                limit = out_of_time => ControlError::OutOfTime { limit },
            }
        });
        let mut alive = interval_at(Instant::now() + ALIVE, ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (frame, content) = tokio::select! {
                piece = command.next() => match piece {
                    ExecPiece::Stdout(bytes) => (ExecFrame::Stdout, bytes),
                    ExecPiece::Stderr(bytes) => (ExecFrame::Stderr, bytes),
                    ExecPiece::Taken(n) => (ExecFrame::Taken, count(n)),
                    ExecPiece::Ended(exit) => return Over::Ended(exit),
                    ExecPiece::Cut => return ControlError::Ended { name: name() }.into(),
                },
                said = wire.next() => {
                    if !hear(&mut command, said).await {
                        return Over::ClientGone;
                    }
                    continue;
                }
                why = &mut cut => return why.into(),
                _ = alive.tick() => (ExecFrame::Alive, Vec::new()),
            };
            tokio::select! {
                sent = wire.send(frame, &content) => if sent.is_err() {
                    return Over::ClientGone;
                },
                why = &mut cut => return why.into(),
            }
        }
    }
}

fn count(n: usize) -> Vec<u8> {
    u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes().to_vec()
}

/// Passes on what a client says. `false` when it has gone, or breaks the protocol.
async fn hear(command: &mut ExecSession, said: Option<(ExecFrame, Vec<u8>)>) -> bool {
    match said {
        Some((ExecFrame::Input, bytes)) => command.input(&bytes, false).await.is_ok(),
        Some((ExecFrame::InputEnd, _)) => command.input(&[], true).await.is_ok(),
        Some(_) | None => false,
    }
}
