//! The link's part in commands: what an agent tells of them is checked, and kept for whoever reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use insula_frames::{
    EXEC_INPUT_WINDOW, EXEC_MAX, EXEC_OUTPUT_WINDOW, Ended, ExecAsk, ExecNews, MAX_TO_AGENT, Step, ToAgent,
};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

use super::{Link, LinkLost, Outgoing, Wants};
use crate::exec::{ExecError, ExecOrder, ExecSession, TooMuchInput};

/// How long an agent may take to start a command.
const START: Duration = Duration::from_secs(10);

/// Why a command did not start.
#[derive(Debug)]
pub(crate) enum Refused {
    TooMany,
    Failed(Step, i32),
}

/// A command that somebody waits for.
#[derive(Debug)]
pub(super) struct Wanted {
    id: u64,
    flow: Arc<Flow>,
    started: oneshot::Sender<Result<(), Refused>>,
}

/// What comes from a command, between the task of the link and whoever reads it.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// Bytes of output that were told and not granted again.
    open: usize,
    /// Bytes of input under way.
    given: usize,
    taken: usize,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Ended(Ended),
    Cut,
}

/// What is taken from a flow.
#[derive(Debug)]
pub(crate) enum Piece {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Taken(usize),
    Ended(Ended),
    Cut,
}

impl Flow {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is there, and wakes whoever reads.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.notify_one();
        result
    }

    /// The next piece, if there is one.
    pub(crate) fn take(&self) -> Option<Piece> {
        let mut state = self.state();
        if state.taken > 0 {
            return Some(Piece::Taken(std::mem::take(&mut state.taken)));
        }
        if !state.stdout.is_empty() {
            return Some(Piece::Stdout(std::mem::take(&mut state.stdout)));
        }
        if !state.stderr.is_empty() {
            return Some(Piece::Stderr(std::mem::take(&mut state.stderr)));
        }
        state.end.map(|end| match end {
            End::Ended(ended) => Piece::Ended(ended),
            End::Cut => Piece::Cut,
        })
    }

    /// Waits until there may be another piece. For one reader.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The agent is told that so much was read.
    pub(crate) fn granted(&self, bytes: usize) {
        let mut state = self.state();
        state.open = state.open.saturating_sub(bytes);
    }

    /// So much input is about to be sent.
    pub(crate) fn given(&self, bytes: usize) -> Result<(), TooMuchInput> {
        let mut state = self.state();
        if state.given + bytes > EXEC_INPUT_WINDOW {
            return Err(TooMuchInput);
        }
        state.given += bytes;
        Ok(())
    }

    fn cut(&self) {
        self.change(|state| {
            state.end.get_or_insert(End::Cut);
        });
    }
}

/// Commands of one link that did not end yet.
#[derive(Debug, Default)]
pub(super) struct Execs {
    all: BTreeMap<u64, Entry>,
    /// Those of the last run that had not started at its end. The agent may not have known of them yet; then it
    /// refuses them after it told of the end, and before it tells anything of the next run.
    late: BTreeSet<u64>,
}

#[derive(Debug)]
struct Entry {
    flow: Arc<Flow>,
    started: Option<oneshot::Sender<Result<(), Refused>>>,
}

impl Execs {
    /// Takes in one that shall start, if there is room.
    pub(super) fn admit(&mut self, wanted: Wanted) -> bool {
        let Wanted { id, flow, started } = wanted;
        if self.all.len() >= EXEC_MAX {
            // Whoever asked may have gone.
            drop(started.send(Err(Refused::TooMany)));
            return false;
        }
        self.all.insert(id, Entry { flow, started: Some(started) });
        true
    }

    /// Takes in what an agent tells.
    pub(super) fn deliver(&mut self, news: ExecNews) -> Result<(), String> {
        let id = news.id();
        if matches!(news, ExecNews::Failed { .. }) && self.late.remove(&id) {
            return Ok(());
        }
        let entry = self.all.get_mut(&id).ok_or("nobody asked for this command")?;
        match news {
            ExecNews::Started { .. } => {
                let started = entry.started.take().ok_or("a command started twice")?;
                drop(started.send(Ok(())));
            }
            ExecNews::Failed { step, errno, .. } => {
                let started = entry.started.take().ok_or("a command that runs failed to start")?;
                drop(started.send(Err(Refused::Failed(step, errno))));
                self.all.remove(&id);
            }
            ExecNews::Taken { bytes, .. } => entry.taken(usize::try_from(bytes).unwrap_or(usize::MAX))?,
            ExecNews::Output { stderr, bytes, .. } => entry.output(stderr, &bytes)?,
            ExecNews::Ended { ended, .. } => {
                if entry.started.is_some() {
                    return Err("a command ended that had not started".to_owned());
                }
                entry.flow.change(|state| state.end = Some(End::Ended(ended)));
                self.all.remove(&id);
            }
        }
        Ok(())
    }

    /// The workload ended, and every command with it.
    pub(super) fn over(&mut self) {
        self.late.clear();
        for (id, entry) in std::mem::take(&mut self.all) {
            entry.flow.cut();
            if entry.started.is_some() {
                self.late.insert(id);
            }
        }
    }
}

impl Drop for Execs {
    fn drop(&mut self) {
        self.over();
    }
}

impl Entry {
    fn taken(&self, bytes: usize) -> Result<(), String> {
        self.flow.change(|state| {
            state.given = state.given.checked_sub(bytes).ok_or("a command took more than it was given")?;
            state.taken += bytes;
            Ok(())
        })
    }

    fn output(&self, stderr: bool, bytes: &[u8]) -> Result<(), String> {
        self.flow.change(|state| {
            state.open += bytes.len();
            if state.open > EXEC_OUTPUT_WINDOW {
                return Err("a command told more than may be under way".to_owned());
            }
            let stream = if stderr { &mut state.stderr } else { &mut state.stdout };
            stream.extend_from_slice(bytes);
            Ok(())
        })
    }
}

/// Room for one frame.
#[derive(Debug)]
pub(crate) struct Room<'a>(mpsc::Permit<'a, Outgoing>);

impl Room<'_> {
    /// Sends it.
    pub(crate) fn send(self, ask: &ExecAsk) {
        self.0.send(outgoing(ask));
    }
}

fn outgoing(ask: &ExecAsk) -> Outgoing {
    Outgoing { bytes: ToAgent::Exec(ask.clone()).encode(), fds: Vec::new(), wants: Wants::Nothing }
}

impl Link {
    /// Runs a command beside the workload. `id` must never be used again.
    pub(crate) async fn exec(&self, id: u64, order: ExecOrder) -> Result<ExecSession, ExecError> {
        let (program, cwd) = (order.program().to_owned(), order.cwd.clone().unwrap_or_default());
        let bytes = ToAgent::Exec(ExecAsk::Start(order.plan(id))).encode();
        if bytes.len() > MAX_TO_AGENT {
            return Err(ExecError::TooLong { length: bytes.len(), limit: MAX_TO_AGENT });
        }
        let flow = Arc::new(Flow::default());
        let (to, started) = oneshot::channel();
        let wants = Wants::Exec(Wanted { id, flow: Arc::clone(&flow), started: to });
        let gone = |_: LinkLost| ExecError::Gone;
        self.queue(Outgoing { bytes, fds: Vec::new(), wants }).await.map_err(gone)?;
        let session = ExecSession::new(id, self.clone(), flow);
        let refused = match timeout(START, started).await {
            Ok(Ok(Ok(()))) => return Ok(session),
            Ok(Ok(Err(refused))) => refused,
            Ok(Err(_)) => {
                session.forget();
                return Err(ExecError::Gone);
            }
            // Dropping the session kills it, whenever it comes to be.
            Err(_) => return Err(ExecError::TimedOut),
        };
        session.forget();
        Err(why(refused, program, cwd))
    }

    /// Waits for room for one frame. Cancel-safe.
    pub(crate) async fn room(&self) -> Result<Room<'_>, LinkLost> {
        self.out.reserve().await.map(Room).map_err(|_| LinkLost)
    }

    /// Sends something that must arrive if anything does, without waiting.
    pub(crate) fn tell_in_time(&self, ask: ExecAsk) {
        if let Err(mpsc::error::TrySendError::Full(out)) = self.out.try_send(outgoing(&ask))
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let to = self.out.clone();
            // A link that has gone has told the agent by that.
            runtime.spawn(async move { drop(to.send(out).await) });
        }
    }
}

fn why(refused: Refused, program: String, cwd: String) -> ExecError {
    match refused {
        Refused::TooMany => ExecError::TooMany { limit: EXEC_MAX },
        Refused::Failed(Step::Exec, libc::ESRCH) => ExecError::Gone,
        Refused::Failed(Step::Exec, libc::EAGAIN) => ExecError::TooMany { limit: EXEC_MAX },
        Refused::Failed(Step::Exec, errno) => {
            ExecError::Program { program, source: io::Error::from_raw_os_error(errno) }
        }
        Refused::Failed(Step::Cwd, errno) => {
            ExecError::Cwd { cwd, source: io::Error::from_raw_os_error(errno) }
        }
        Refused::Failed(step, errno) => {
            ExecError::Walls { step: step.as_str(), source: io::Error::from_raw_os_error(errno) }
        }
    }
}

#[cfg(test)]
mod tests;
