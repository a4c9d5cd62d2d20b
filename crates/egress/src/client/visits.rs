//! What instances want of each other, passed to whoever wakes them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::os::fd::OwnedFd;

use insula_spec::InstanceName;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::judge::Reason;
use crate::sibling::Answer;
use crate::wire::ToEgress;

/// An instance wants to be connected to another one, or is already. Keep it as long as the stream is open: its
/// [`over`](Visit::over) tells.
#[derive(Debug)]
pub struct Visit {
    /// Who calls.
    pub from: InstanceName,
    /// Who is called.
    pub to: InstanceName,
    /// Whether the stream is open since an earlier worker.
    pub open: bool,
    answer: Option<oneshot::Sender<Answer>>,
    over: oneshot::Receiver<Infallible>,
}

impl Visit {
    /// Passes a connected stream socket on.
    pub fn connect(&mut self, socket: OwnedFd) {
        if let Some(answer) = self.answer.take() {
            // Whoever called may be gone.
            drop(answer.send(Ok(socket)));
        }
    }

    /// It is not to be, with the reason where a policy says so. A stream that is open ends.
    pub fn refuse(mut self, reason: Option<Reason>) {
        if let Some(answer) = self.answer.take() {
            drop(answer.send(Err(reason)));
        }
    }

    /// Resolves when the stream has ended, or nobody waits any more.
    pub async fn over(&mut self) {
        // Nothing is ever sent: it ends.
        drop((&mut self.over).await);
    }
}

/// Visits of the process that is connected now.
#[derive(Debug)]
pub(super) struct Visits {
    out: mpsc::Sender<Visit>,
    open: HashMap<u64, oneshot::Sender<Infallible>>,
    /// What comes of each, and whether it was open before; `None` where another worker will answer.
    answers: JoinSet<(u64, bool, Option<Answer>)>,
}

impl Visits {
    pub(super) fn new(out: mpsc::Sender<Visit>) -> Self {
        Self { out, open: HashMap::new(), answers: JoinSet::new() }
    }

    /// Passes one on.
    pub(super) fn begin(&mut self, call: u64, from: InstanceName, to: InstanceName, open: bool) {
        let (answer, answered) = oneshot::channel();
        let (hold, over) = oneshot::channel();
        let visit = Visit { from, to, open, answer: Some(answer), over };
        match self.out.try_send(visit) {
            Ok(()) => {
                self.open.insert(call, hold);
                self.answers.spawn(async move { (call, open, answered.await.ok()) });
            }
            Err(error) => {
                tracing::warn!(%error, "too many instances call each other at once");
                self.answers.spawn(async move { (call, open, Some(Err(None))) });
            }
        }
    }

    /// What to tell the process next, and what travels beside it. Cancel-safe.
    pub(super) async fn next(&mut self) -> (ToEgress, Option<OwnedFd>) {
        loop {
            if self.answers.is_empty() {
                std::future::pending::<()>().await;
            }
            match self.answers.join_next().await {
                Some(Ok((call, false, Some(Ok(socket))))) => {
                    return (ToEgress::Reached { call }, Some(socket));
                }
                Some(Ok((call, false, Some(Err(reason))))) => {
                    self.open.remove(&call);
                    return (ToEgress::Unreached { call, reason }, None);
                }
                Some(Ok((call, true, Some(Err(_))))) => {
                    self.open.remove(&call);
                    return (ToEgress::HangUp { call }, None);
                }
                _ => {}
            }
        }
    }

    /// A stream has ended.
    pub(super) fn over(&mut self, call: u64) {
        self.open.remove(&call);
    }

    /// The process is lost, and its streams with it, or it obeys another worker: nobody here holds them any more.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.answers.abort_all();
    }
}
